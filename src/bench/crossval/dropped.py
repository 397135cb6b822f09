"""A fold that a search gives up before its last epoch; it goes on from there where the run is trained again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.crossval.progress import Display

Judge = Callable[[int, Mapping[str, Any]], bool]
"""(fold, an epoch's figures) → whether the fold is worth going on with."""


class Dropped(Exception):
    """What ends the run's folds; its text says which one was given up, and when."""


class Judged:
    """A display that raises Dropped after an epoch that the judge finds not worth going on from."""

    def __init__(self, display: Display, judge: Judge) -> None:
        self.display, self.judge = display, judge
        self.start, self.finish = display.start, display.finish

    def event(self, fold: int, event: dict[str, Any]) -> None:
        self.display.event(fold, event)
        if event["kind"] == "epoch" and not self.judge(fold, event):
            raise Dropped(f"fold {fold} at epoch {event['epoch']}")

    def fail(self, fold: int, why: str, last_lines: list[str], log: Path) -> None:
        self.display.fail(fold, why, last_lines, log)
