"""What lies in a data set's folders: files where files are expected, and which of them have a row."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.spec import UserError

IGNORED = ("__MACOSX", "Thumbs.db", "desktop.ini")
"""What operating systems leave in folders, besides names that begin with a dot."""


def names(folder: Path, expected: Iterable[str] = ()) -> set[str]:
    """Names of a folder's files, in one look: thousands of questions are slow on a network. None where it is not there.

    ``expected`` names with a folder in them (``chirp/00.wav``) have their files there. Raises UserError where any other
    folder lies among the files: an archive that was unpacked one level too deep.
    """
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        kept = [entry for entry in entries if not (entry.name.startswith(".") or entry.name in IGNORED)]
    named: dict[str, list[str]] = {}
    for name in expected:
        if "/" in name:
            first, _, rest = name.partition("/")
            named.setdefault(first, []).append(rest)
    if inner := sorted(entry.name for entry in kept if entry.is_dir() and entry.name not in named):
        name = folder.name if folder.name in inner else inner[0]
        raise UserError(
            f"{folder} holds the folder {name} where files are expected; move what is in {folder / name} one level up, "
            f"into {folder}, and remove the empty folder"
        )
    files = {entry.name for entry in kept if not entry.is_dir()}
    below = [entry.name for entry in kept if entry.is_dir()]
    return files | {f"{name}/{file}" for name in below for file in names(folder / name, named[name])}


def unmatched(expected: Iterable[str], present: set[str]) -> tuple[list[str], list[str]]:
    """Wanted names without a file, in their order, and files that nobody wants, sorted."""
    expected = dict.fromkeys(expected)
    return [name for name in expected if name not in present], sorted(present.difference(expected))


def layout_problem(root: Path, needed: Sequence[str], key: str, layout: str) -> str | None:
    """What to say of a root that is not a data set's: nothing there, the wrong kind of thing, or one level up."""
    if not root.is_dir():
        return f"{key}={root} is not a folder; give the folder that holds {needed[0] if needed else 'the test files'}"
    missing = [name for name in needed if not (root / name).exists()]
    if missing:
        inner = [p for p in sorted(root.iterdir()) if p.is_dir() and all((p / name).exists() for name in needed)]
        inner = [p for p in inner if p.name == layout] or inner
        where = f"; the {layout} layout needs {', '.join(needed)} there"
        if len(inner) == 1:
            where = f"; they are in {key}={inner[0]}"
        return f"{key}={root} lacks {', '.join(missing)}{where}"
    for name in needed:
        path = root / name
        if path.suffix and path.is_dir():
            return f"{path} is a folder, expected a file; move {path / path.name} one level up in its place"
        if not path.suffix and not path.is_dir():
            return f"{path} is a file, expected a folder; unpack it there"
    return None
