"""Which command trains which fold: several commands may work on one run side by side, fold by fold.

The command that holds the run writes its files, mirrors it and collects. One that comes while it is held trains folds
that nobody works on, and then waits for its turn to hold the run: whichever ends last collects all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bench.crossval.tickets import alive
from bench.runs.facts import CLAIM
from bench.runs.run import Run
from bench.spec import UserError


@contextmanager
def claimed(run: Run, numbers: Sequence[int], queued: bool = False) -> Iterator[list[int]]:
    """The folds among ``numbers`` that no other command works on; none will, until the block ends.

    ``queued``: for the job that a fold waits for; others leave it to that job.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as held:
        mine = []
        for number in numbers:
            folder = run.fold(number).folder
            if not queued and alive(run.fold(number)):
                continue
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(folder / CLAIM, timeout=0))
            except Timeout:
                continue
            except OSError as error:
                raise UserError(
                    f"{folder}: the fold can't be claimed there ({error}); see who may write there"
                ) from error
            mine.append(number)
        yield mine
