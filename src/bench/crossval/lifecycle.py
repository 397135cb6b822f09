"""A run while a command works on it: its lock, its status, its tracking and the summary at its end.

Training and ensembling share it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.addresses import word_without_secrets
from bench.atomic import remove_leftovers, write_json
from bench.runs import inside
from bench.runs.facts import CLAIM, HOLDER, content, holder, is_locked
from bench.runs.recipe import Tracking, sweep_of
from bench.runs.run import Run
from bench.runs.scores import Scores
from bench.spec import UserError
from bench.tell import console, figure, say
from bench.tracking import address
from bench.tracking.follower import start_mirror
from bench.tracking.where import tell_where

if TYPE_CHECKING:
    from rich.table import Table

Rows = Sequence[tuple[str, ...]]
PATIENCE = 0.5
"""Seconds that the lock is asked for: who looks whether the run is held holds it for a moment."""
IMPATIENT = 10.0
"""Seconds that a person who pressed Ctrl-C waits for the mirror at most."""


@dataclass
class Work:
    """How a block of ``working`` ended, unless it raised: the status and the failed folds."""

    status: str = "finished"
    failed: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Life:
    """A run that this command holds. ``before`` is the state that an earlier one left."""

    run: Run
    tracking: Tracking
    uri: str | None
    before: dict[str, Any]

    @property
    def mirrored(self) -> bool:
        """Whether nothing is left to send: all is with this very server, or nobody wants it."""
        if self.uri is None:
            return True
        return self.before.get("tracked") == self._tracked and address.still_has(self.uri, self.run)

    @property
    def _tracked(self) -> str:
        """What the run's state says once all is sent: a hash of where to, and of the sweep that it is there part of."""
        sweep = sweep_of(self.run.folder)
        return content(f"{self.uri} {sweep}".encode() if sweep else str(self.uri).encode())

    @contextmanager
    def working(self) -> Iterator[Work]:
        """The run is marked as running, and mirrored, until the block ends; then as what the block says.

        A block that raises leaves it marked as failed, or as killed where it was interrupted.
        """
        run, wait_s = self.run, self.tracking.wait
        command = shlex.join(map(word_without_secrets, sys.orig_argv))
        run.write_state(status="running", pid=os.getpid(), host=os.uname().nodename, command=command, failed=[])
        mirror = start_mirror(run, self.uri, wait_s) if self.uri is not None else None
        work = Work()
        try:
            yield work
            run.write_state(status=work.status, failed=work.failed)
        except KeyboardInterrupt:
            run.write_state(status="killed")
            wait_s = min(wait_s, IMPATIENT)
            raise
        except BaseException:
            run.write_state(status="failed")
            raise
        finally:
            sent = mirror is not None and mirror.finish(wait_s)
            run.write_state(tracked=self._tracked if sent else None)
            how = " --uri run" if self.tracking.uri else ""
            if mirror is not None and not sent:
                say(f"tracking  MLflow has not taken everything; later: python -m bench.track {run.folder}{how}")

    def conclude(self, scores: Scores | None, rows: Rows, heads: Sequence[str], *sentences: str) -> None:
        """A table of ``rows`` below ``heads`` and of what every run has; sentences; last, where everything is."""
        screen = console()
        if scores:
            part, mark = f", {scores.part}" if scores.part else "", "  SIMULATED data" if scores.simulated else ""
            screen.print(f"{scores.metric} ({scores.direction.sentence}{part}){mark}")
            screen.print(_table(scores, rows, heads))
        for sentence in sentences:
            say(sentence)
        if scores and scores.no_better:
            say(
                f"score     out of fold, this is no better than always predicting the training means: {scores.metric} "
                f"{figure(scores.oof)} against {figure(scores.baseline)}"
            )
        tell_where(self.run, self.uri, screen)


@contextmanager
def held(
    run: Run, tracking: Tracking, outputs: str, doing: str, instead: str, patience: float = PATIENCE
) -> Iterator[Life]:
    """Creates the run's folder if needed and locks it until the block ends.

    UserError where another command holds it for more than ``patience`` seconds (-1: waits until it ends): ``doing`` it,
    and what a person can do ``instead``.
    """
    from filelock import FileLock, Timeout

    run.folder.mkdir(parents=True, exist_ok=True)
    inside.refuse_links(run.folder)
    lock = FileLock(run.folder / ".lock", timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{run.folder} is being {doing} by {holder(run.folder)}; wait for it{instead}") from None
    try:
        remove_leftovers(run.folder, lambda folder: is_locked(folder / CLAIM))
        write_json(run.folder / HOLDER, {"pid": os.getpid(), "host": os.uname().nodename})
        uri = address.chosen(tracking.uri, Path(outputs)) if tracking.enabled else None
        yield Life(run, tracking, uri, run.state())
    finally:
        (run.folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _table(scores: Scores, rows: Rows, heads: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(box=None)
    for head in ("", *heads):
        table.add_column(head, justify="right" if head else "left")
    for row in rows:
        table.add_row(*row)
    if len(scores.folds) > 1:
        table.add_row(*scores.over_folds)
    table.add_row("baseline (training means)", figure(scores.baseline))
    table.add_row("accuracy", f"{scores.accuracy:.4f}")
    for name, score in scores.also.items():
        table.add_row(name, figure(score))
    return table
