"""Which command trains which fold: several commands may work on one run side by side, fold by fold.

The command that holds the run writes its files, mirrors it and collects. One that comes while it is held trains folds
that nobody works on, and then waits for its turn to hold the run: whichever ends last collects all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bench.runs.facts import CLAIM
from bench.runs.run import Run


@contextmanager
def claimed(run: Run, numbers: Sequence[int]) -> Iterator[list[int]]:
    """The folds among ``numbers`` that no other command works on; none will, until the block ends."""
    from filelock import FileLock, Timeout

    with ExitStack() as held:
        mine = []
        for number in numbers:
            folder = run.fold(number).folder
            folder.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(FileLock(folder / CLAIM, timeout=0))
            except Timeout:
                continue
            mine.append(number)
        yield mine
