"""The outcome of a command that works on a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.runs.run import Run


@dataclass(frozen=True)
class Outcome:
    """What a door tells: the run, its scores (None where no fold is done), the folds that failed and a sentence."""

    run: Run
    scores: dict[str, Any] | None
    failed: list[int]
    sentence: str | None
