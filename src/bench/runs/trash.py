"""Runs thrown away: a folder is renamed into ``<outputs>/.trash`` while it is held, then its files are deleted.

A kill leaves it there whole or in part, where nothing takes it for a run; the next cleaning deletes the rest.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.runs.facts import CLAIM, LOCKS
from bench.runs.run import Run
from bench.spec import UserError

TRASH = ".trash"
ENTRY = re.compile(r"[0-9a-f]{12}\.[0-9a-f]{8}")


def leftovers(outputs: Path) -> list[Path]:
    """What an earlier cleaning has not deleted to its end; nothing else in the trash is touched."""
    trash = outputs / TRASH
    if trash.is_symlink() or not trash.is_dir():
        return []
    return [path for path in sorted(trash.iterdir()) if ENTRY.fullmatch(path.name) and not path.is_symlink()]


def throw_away(run: Run, outputs: Path, unchanged: Callable[[], bool]) -> str | None:
    """Deletes a run that no process holds and that is ``unchanged``; returns why not, in words that follow its name."""
    from filelock import FileLock, Timeout

    trash = outputs / TRASH
    if trash.is_symlink() or (trash.exists() and not trash.is_dir()):
        raise UserError(f"{trash} has to be a folder of this name: move away what is there")
    claims = [path / CLAIM for path in (run.folder / "folds").glob("*") if path.is_dir()]
    locks = [*(run.folder / name for name in LOCKS), run.folder / ".tracking.lock", *claims]
    target = trash / f"{run.identity}.{secrets.token_hex(4)}"
    with ExitStack() as held:  # until it is deleted: who waits for a lock must not get that of a folder thrown away
        try:
            for lock in locks:
                held.enter_context(FileLock(lock, timeout=0))
            if not unchanged():
                return "has changed meanwhile"
            trash.mkdir(exist_ok=True)
            os.rename(run.folder, target)
        except Timeout:
            return "is being worked on by now"
        except OSError as error:
            return f"can't be moved to {trash} ({error.strerror}); see who may write in both folders"
        return remove(target)


def remove(folder: Path) -> str | None:
    """Deletes a folder of the trash; links in it are deleted, not followed. Returns why not, if it could not."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        if not folder.exists():  # another cleaning has been quicker
            return None
        return f"is left in part in {folder}: {error.filename} can't be deleted ({error.strerror})"
    return None
