"""Atomic writing of files: written under a temporary name, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import bounded


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` that takes its place when the block ends well.

    The content is on the disk before the name is, so a power cut leaves the old file or the new one. A block that
    raises (a full disk, Ctrl-C) leaves what was there before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, in_use: Callable[[Path], bool] = lambda folder: False) -> None:
    """Deletes the temporary files of writers that were killed; the caller holds the folder's lock.

    Others may write beside the lock's holder, such as a mirror: a file whose writer lives is left, and so are those in
    a folder that is ``in_use``, perhaps by a process of another machine.
    """
    for path in folder.rglob(".*.tmp"):
        pid = path.name.split(".")[-2]
        if pid.isdigit() and not in_use(path.parent) and not _lives(int(pid)):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=True) + "\n")


def read_json(path: Path) -> Any:
    """Reads a file of ``write_json``; UserError where it is not valid JSON any more."""
    return bounded.read_json(path)
