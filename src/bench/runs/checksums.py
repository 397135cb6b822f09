"""Checksums of the files that a fold and a run leave, and the files held against them.

A fold's are in its done.json, those of a run's predictions in scores.json, and those of its other files in
checksums.json, which a person who edits such a file deletes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.atomic import read_json, write_json
from bench.runs.records import AGAIN
from bench.spec import UserError

FILE = "checksums.json"
"""Name → checksum of a run's other files; absent where an earlier version made the run."""


def of(path: Path) -> str:
    """32 hex digits of a hash of the file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def of_json(content: Any) -> str:
    """The same of what JSON holds, whatever the order of its keys."""
    text = json.dumps(json.loads(json.dumps(content)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


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


def recorded(folder: Path) -> dict[str, str]:
    """The checksums of a run's other files; UserError where checksums.json is not whole."""
    path = folder / FILE
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise UserError(f"{path} is no mapping of names to checksums; delete it, and {AGAIN}")
    return content


@contextmanager
def writing(folder: Path, *names: str) -> Iterator[None]:
    """Files of a run are written in the block; a kill within leaves them without checksums, not with wrong ones."""
    try:
        others = {name: value for name, value in recorded(folder).items() if name not in names}
    except UserError:  # it is damaged, and written again now
        others = {}
    write_json(folder / FILE, others)
    yield
    write_json(folder / FILE, others | of_files(folder, names))


def held(path: Path) -> Path:
    """The path of one of a run's other files; UserError where its content is not what was written."""
    if reason := trouble(path, recorded(path.parent)):
        raise UserError(f"{reason}; {AGAIN}. Where the change is yours, delete {path.parent / FILE}")
    return path
