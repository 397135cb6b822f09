"""Where a competition's files are: the folder given, the usual one, or simulated files in a folder of their own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.atomic import read_json, write_json

MARK = "SIMULATED.json"


def is_simulated(root: Path) -> bool:
    """Whether the files below ``root`` came from a simulator, wherever the folder has been moved to."""
    return (root / MARK).exists()


def find(
    name: str,
    given: str | None,
    data: Path,
    settings: Mapping[str, Any],
    simulate: Callable[[Path], None],
    say: Callable[[str], None],
) -> Path:
    """``given`` as it is; else <data>/<name> where it is there; else simulated files, made now if they are not yet.

    Other ``settings`` of the simulator than the ones on disk go to a folder of their own. A folder under its final
    name is whole: it is made under another and renamed, under a lock.
    """
    from filelock import FileLock

    if given is not None:
        return Path(given)
    usual = data / name
    if usual.is_dir():
        return usual
    root = data / "simulated" / name
    if is_simulated(root) and read_json(root / MARK) != dict(settings):
        key = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()[:8]
        root = root.with_name(f"{name}-{key}")
    say(f"data      no files in {usual} and no dataset.root: SIMULATED data in {root}")
    if not is_simulated(root):
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root}.lock"):
            if not is_simulated(root):
                building = root.with_name(root.name + ".building")
                shutil.rmtree(building, ignore_errors=True)
                building.mkdir()
                simulate(building)
                write_json(building / MARK, dict(settings))
                shutil.rmtree(root, ignore_errors=True)  # without the mark it is not ours to keep
                os.replace(building, root)
    return root
