"""A machine as bench sees it: whether a training would end well here, in lines for a bug report."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import bench
from bench.addresses import public
from bench.cli.schema import Doctor
from bench.data import building
from bench.runs.selection import everything, problem
from bench.spec import UserError
from bench.tell import duration, figure
from bench.tracking import address
from bench.tracking.waiting import SQLITE

PACKAGES = (
    *("torch", "timm", "numpy", "scipy", "pandas", "scikit-learn", "librosa", "pyarrow", "numba"),
    *("hydra-core", "omegaconf", "mlflow", "optuna"),
)
WITHIN_S = 5.0
"""Seconds that a server has to answer."""
SELF_TEST_S = 180.0
LITTLE_GB = 2.0
SELF_TEST = ("+debug=quick", "dataset=heartbeat", "model=mlp", "dataset.simulator.n_train=200", "device=cpu")


class Unwell(Exception):
    """What would keep a training from ending well; its text says what to do."""


def examine(keys: Doctor) -> None:
    """Prints a line for each check; UserError naming those that failed."""
    outputs, store = Path(keys.outputs), Path(keys.store)
    checks: dict[str, Callable[[], str]] = {
        "bench": _bench,
        "python": lambda: f"{platform.python_version()} on {platform.platform()}",
        "packages": _packages,
        "machine": _machine,
        "gpu": _gpu,
        "disk": lambda: _disk(outputs, store),
        "stores": lambda: _stores(store),
        "runs": lambda: _runs(outputs),
        "tracking": lambda: _tracking(keys.tracking.uri, outputs),
    }
    if keys.self_test:
        checks["self-test"] = _self_test
    failed = [name for name, check in checks.items() if not _told(name, check)]
    if failed:
        raise UserError(f"{', '.join(failed)}: not as a training needs it; the lines above say what to do")


def _told(name: str, check: Callable[[], str]) -> bool:
    """Prints what a check finds; whether all is well."""
    well = True
    try:
        text = check()
    except Unwell as error:
        well, text = False, f"PROBLEM: {error}"
    except Exception as error:  # a report that ends early is worth less than one with a hole
        well, text = False, f"PROBLEM: {type(error).__name__}: {error}"
    print(f"{name:10}{anonymous(text)}", flush=True)
    return well


def anonymous(text: str) -> str:
    """The text without the home folder, the user's name or the machine's."""
    names = {str(Path.home()): "~"}
    for ask, word in ((getpass.getuser, "<user>"), (socket.gethostname, "<host>")):
        try:
            names[ask()] = word
        except OSError:  # no such entry
            continue
    for name, word in names.items():
        if len(name) > 1:
            text = text.replace(name, word)
    return text


def _bench() -> str:
    folder = Path(bench.__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
        commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return f"{bench.__version__} in {folder}"
    return f"{bench.__version__}, commit {commit}, in {folder}"


def _packages() -> str:
    from importlib.metadata import PackageNotFoundError, version

    def one(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} –"

    return ", ".join(map(one, PACKAGES))


def _machine() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.1f} GB of memory"
    return f"{usable} of {os.cpu_count()} cores{memory}"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        return f"none that torch can use ({built})"
    cards = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    kinds = Counter(f"{card.name}, {card.total_memory / 1e9:.0f} GB" for card in cards)
    precise = "bf16 and fp16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return f"{'; '.join(f'{n} × {kind}' for kind, n in kinds.items())}; CUDA {torch.version.cuda}; {precise}"


def _disk(*folders: Path) -> str:
    lines = []
    for folder in folders:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not os.access(there, os.W_OK):
            raise Unwell(f"{there} can't be written to; set outputs= and store= to folders of yours")
        free = shutil.disk_usage(there).free / 1e9
        if free < LITTLE_GB:
            raise Unwell(f"{there} has {free:.1f} GB left; free some space, or set outputs= and store= elsewhere")
        lines.append(f"{folder}: {free:.1f} GB free")
    return ", ".join(lines)


def _stores(root: Path) -> str:
    manifests = sorted(root.glob("*/*/manifest.json"))
    broken = [path.parent for path in manifests if not building.whole(path.parent)]
    if broken:
        raise Unwell(f"{', '.join(map(str, broken))} lacks bytes; delete it, the next training computes it anew")
    size = sum((path.parent / "data.bin").stat().st_size for path in manifests)
    left = len(list(root.glob("*/*.building")))
    return f"{len(manifests)} whole, {size / 1e9:.2f} GB" + (f"; {left} begun, by a build or a killed one" * bool(left))


def _runs(outputs: Path) -> str:
    states = Counter[str]()
    for run in everything(outputs):
        try:
            states["finished" if problem(run) is None else str(run.state().get("status", "unknown"))] += 1
        except UserError:
            states["unreadable"] += 1
    return ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or f"none in {outputs}"


def _tracking(uri: str | None, outputs: Path) -> str:
    try:
        chosen = address.chosen(uri, outputs)
    except UserError as error:
        raise Unwell(str(error)) from error
    if chosen.startswith(SQLITE):
        return _database(Path(chosen.removeprefix(SQLITE).partition("?")[0]))
    if not chosen.startswith(("http://", "https://")):
        return f"{public(chosen)} (not asked)"
    parts = urlsplit(chosen)
    try:
        with urlopen(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/health", timeout=5):
            return f"{public(chosen)} answers"
    except HTTPError as error:
        return f"{public(chosen)} answers ({error.code})"
    except OSError as error:
        raise Unwell(
            f"{public(chosen)} does not answer ({error}); runs are kept in their folders, and python -m bench.track "
            "<run> sends them later"
        ) from error


def _database(path: Path) -> str:
    if not path.exists():
        return f"{path}, not there yet"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WITHIN_S)) as connection:
            state = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            runs = connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0]
    except sqlite3.Error as error:
        raise Unwell(f"{path}: {error}; move it away, and python -m bench.track <run> fills a new one") from error
    if state != "ok":
        raise Unwell(f"{path} is damaged ({state}); move it away, and python -m bench.track <run> fills a new one")
    return f"{path}, {runs} runs and folds"


def _self_test() -> str:
    """A quick training in a process of its own, as a person starts one."""
    from bench.runs.run import Run

    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-doctor-") as folder:
        here = [f"outputs={folder}/outputs", f"data={folder}/data"]
        command = [sys.executable, "-m", "bench.train", *SELF_TEST, *here]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SELF_TEST_S)
        except subprocess.TimeoutExpired as error:
            raise Unwell(f"a small training did not end within {SELF_TEST_S:.0f} s") from error
        if done.returncode:
            raise Unwell(f"a small training failed: {' '.join(_last(done.stderr))}")
        scores = Run.open(done.stdout.splitlines()[-1].removeprefix("run ")).scores()
    assert scores is not None
    return f"passed in {duration(time.monotonic() - start)} ({scores.metric} {figure(scores.oof)} on a simulated fold)"


def _last(text: str) -> Iterator[str]:
    yield from [line for line in text.splitlines() if line.strip()][-3:]
