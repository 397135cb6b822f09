"""What a run's folder may hold and say, since it may come from anybody: its own files, and names that are names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bench.spec import UserError

LONGEST_NAME = 120


def refuse_links(folder: Path) -> None:
    """UserError for a link that leads out of the folder, and for what is neither a file nor a folder."""
    folders = [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as listed:
                entries = list(listed)
        except FileNotFoundError:  # another command has just removed it
            continue
        for entry in entries:
            if entry.is_symlink():
                if _leads_out(Path(entry.path), folder):
                    raise UserError(
                        f"{entry.path} is a link that leads out of the run's folder; put the file itself there"
                    )
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif not entry.is_file(follow_symlinks=False) and os.path.exists(entry.path):
                raise UserError(f"{entry.path} is no regular file; take it out of the run's folder")


def _leads_out(link: Path, folder: Path) -> bool:
    try:
        return not link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links in a circle
        return True


def within(path: Path, *roots: Path) -> bool:
    """Whether a path lies under one of the roots, links followed."""
    return any(path.resolve().is_relative_to(root.resolve()) for root in roots)


def outputs_of(folder: Path) -> Path:
    """The outputs folder of the run in ``<outputs>/<dataset>/<model>/<identity>``."""
    return folder.resolve().parents[2] if len(folder.resolve().parents) > 2 else folder.resolve().parent


def elsewhere(folder: Path, outputs: Path) -> str | None:
    """Why paths that a run's folder says are not followed, in a sentence; None for a run in the person's outputs."""
    if within(folder, outputs):
        return None
    return f"{folder} does not lie in {outputs}, so the paths that it names are not followed"


def is_name(value: str) -> bool:
    """Whether a text can be a folder's name and be shown: no separator, nothing invisible, no way up."""
    return (
        0 < len(value) <= LONGEST_NAME
        and value == value.strip()
        and value.isprintable()
        and not set(value) & set("/\\:*?|[]")
        and value[0] not in ".-=+@~"
    )


def refuse_no_names(values: Mapping[str, str], source: str) -> None:
    """UserError naming ``source`` and the key of the first value that is no name."""
    for key, value in values.items():
        if not is_name(value):
            raise UserError(
                f"{source}: {key} is no name ({value!r:.80}); a name has no slash, dot in front or invisible sign"
            )
