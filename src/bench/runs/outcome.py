"""The outcome of a command that works on a run."""

from __future__ import annotations

from dataclasses import dataclass

from bench.runs.run import Run
from bench.runs.scores import Scores


@dataclass(frozen=True)
class Outcome:
    """A command's result: the run, its scores (None where no fold is done), the failed folds and a sentence.

    ``dropped`` is the fold, if any, that a search gave up, and when.
    """

    run: Run
    scores: Scores | None
    failed: list[int]
    sentence: str | None
    dropped: str | None = None
