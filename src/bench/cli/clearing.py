"""The cleaning command: a table of what would go and why others stay, a question, the deletion."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.cli.schema import Clean
from bench.mistake import UserError
from bench.runs import cleaning, trash
from bench.runs.cleaning import Doomed, Plan, Waiting
from bench.runs.leaderboard import size
from bench.tell import console, say

MOST, MOST_KEPT = 40, 10
"""Lines of a list; of more the number is said."""


def clean(keys: Clean, outputs: Path, waiting: Waiting) -> None:
    """Deletes what ``keys`` ask for once a person agrees; UserError where nobody can, and where some could not go."""
    plan = cleaning.plan(keys.runs, keys.what, outputs, waiting)
    half = trash.leftovers(outputs)
    bytes_ = _show(plan, half, outputs)
    if not plan.doomed and not half:
        print(f"nothing to delete in {outputs} (what={keys.what})", flush=True)
        return
    what = _count(plan.doomed, bytes_) + (f", and the rest of {len(half)} deleted before" if half else "")
    if keys.dry_run:
        print(f"would delete {what}; nothing was (dry_run=true)", flush=True)
        return
    if not keys.yes:
        if not _agreed(what):
            print("nothing was deleted", flush=True)
            return
        again = cleaning.plan(keys.runs, keys.what, outputs, waiting)  # a run may have been started from one meanwhile
        plan.doomed = {folder: doomed for folder, doomed in plan.doomed.items() if folder in again.doomed}
    _delete(plan.doomed.values(), half, outputs)


def _delete(doomed: Iterable[Doomed], half: Sequence[Path], outputs: Path) -> None:
    deleted, troubles = 0, [trouble for trouble in map(trash.remove, half) if trouble]
    # what starts from others goes first, so that a kill between two leaves none without its source
    for one in sorted(doomed, key=lambda one: -one.changed):
        why = trash.throw_away(one.run, outputs, lambda: cleaning.seen(one.run) == one.seen)  # noqa: B023
        deleted += why is None
        if why:
            troubles.append(f"{one.run.folder} {why}")
    say("MLflow    is not touched: pages of deleted runs stay there")
    print(f"deleted {deleted} run{'s' * (deleted != 1)}", flush=True)
    for trouble in troubles[1:MOST_KEPT]:
        say(f"left      {trouble}")
    if troubles:
        raise UserError(f"{len(troubles)} could not be deleted: {troubles[0]}")


def _agreed(what: str) -> bool:
    """Whether a person at the terminal says yes; UserError where there is no terminal."""
    if not (sys.stdin and sys.stdin.isatty()):
        raise UserError(f"this would delete {what}, and there is no terminal to ask at; add yes=true, or dry_run=true")
    print(f"delete {what}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(plan: Plan, half: Sequence[Path], outputs: Path) -> int:
    """Prints the table and what is kept; returns the bytes."""
    from rich.table import Table
    from rich.text import Text

    sizes = {folder: size(folder) for folder in plan.doomed}
    if plan.doomed:
        table = Table("run", "is", "folds trained", "changed", box=None)
        table.add_column("MB", justify="right", no_wrap=True)
        ordered = sorted(plan.doomed.values(), key=lambda one: (one.kind, one.run.folder))
        for one in ordered[:MOST]:
            name = str(one.run.folder.relative_to(outputs.resolve()))
            day = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.changed))
            cells = name, one.kind, one.trained, day, f"{sizes[one.run.folder] / 1e6:.1f}"
            table.add_row(*map(Text, cells))
        screen = console(120, markup=False)
        screen.print(table)
        if len(ordered) > MOST:
            screen.print(f"and {len(ordered) - MOST} more")
    kept = [f"{folder} {why}" if folder.is_absolute() else why for folder, why in plan.kept.items()]
    for line in kept[:MOST_KEPT]:
        say(f"kept      {line}")
    if len(kept) > MOST_KEPT:
        say(f"kept      {len(kept) - MOST_KEPT} more")
    return sum(sizes.values()) + sum(size(folder) for folder in half)


def _count(doomed: Iterable[Path], n_bytes: int) -> str:
    n = len(list(doomed))
    return f"{n} run{'s' * (n != 1)} ({n_bytes / 1e6:,.1f} MB)"
