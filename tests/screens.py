"""A display of folds for tests of what starts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class Screen:
    """A display that remembers what it is told, and hands each event to ``react`` first."""

    def __init__(self, react: Callable[[int, dict[str, Any]], None] = lambda fold, event: None) -> None:
        self.react, self.started, self.finished, self.failed = react, list[int](), list[int](), dict[int, str]()

    def start(self, fold: int) -> None:
        self.started.append(fold)

    def event(self, fold: int, event: dict[str, Any]) -> None:
        self.react(fold, event)

    def finish(self, fold: int) -> None:
        self.finished.append(fold)

    def fail(self, fold: int, why: str, last_lines: list[str], log: Path) -> None:
        self.failed[fold] = why
