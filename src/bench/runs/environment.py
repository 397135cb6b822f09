"""The versions, the machine, the code and the command that made a run."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from bench.addresses import word_without_secrets
from bench.atomic import write_json
from bench.runs.run import Run


def write_environment(run: Run) -> None:
    """Versions, machine, code and command of this call, for whoever reads the run later."""
    import platform
    import subprocess
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    packages = (
        "torch",
        "numpy",
        "scipy",
        "pandas",
        "scikit-learn",
        "imbalanced-learn",
        "pyarrow",
        "mlflow",
        "hydra-core",
        "timm",
    )
    changed = git("status", "--porcelain")
    write_json(
        run.folder / "environment.json",
        {
            "command": shlex.join(map(word_without_secrets, sys.orig_argv)),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "packages": {name: of(name) for name in packages},
            "git": {"commit": git("rev-parse", "HEAD"), "changed": bool(changed) if changed is not None else None},
        },
    )
