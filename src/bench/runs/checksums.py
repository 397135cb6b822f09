"""Checksums of the files that a fold and a run leave, and the files held against them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.runs.records import AGAIN
from bench.spec import UserError


def of(path: Path) -> str:
    """32 hex digits of a hash of the file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def of_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Name → checksum of the named files that are in the folder."""
    return {name: of(folder / name) for name in names if (folder / name).is_file()}


def trouble(path: Path, recorded: Mapping[str, str]) -> str | None:
    """What is wrong with a file, as a sentence that begins with its path; None for one that is whole.

    A file without a recorded checksum, as earlier versions left, is taken as it is.
    """
    expected = recorded.get(path.name)
    try:
        if expected is None or of(path) == expected:
            return None
    except FileNotFoundError:
        return f"{path} is not there any more"
    except OSError as error:
        return f"{path} can't be read ({error.strerror})"
    return f"{path} is damaged: its content is not what was written"


def hold(path: Path, recorded: Mapping[str, str]) -> Path:
    """The path; UserError where its content is not what was recorded."""
    if reason := trouble(path, recorded):
        raise UserError(f"{reason}; {AGAIN}")
    return path
