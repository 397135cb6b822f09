"""Progress of the folds: one bar per fold on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Protocol

from bench.tell import figure, say

MOST_LINES = 100
"""Of a fold: epochs of one step are told by the hundreds otherwise."""


class Display(Protocol):
    """Hooks of a fan-out of folds; ``event`` is what a fold's process reported."""

    def start(self, fold: int) -> None: ...
    def event(self, fold: int, event: dict[str, Any]) -> None: ...
    def finish(self, fold: int) -> None: ...
    def fail(self, fold: int, why: str, last_lines: list[str], log: Path) -> None: ...


def describe(event: dict[str, Any], metric: str) -> str:
    """An epoch's figures on one line."""
    if "valid/loss" not in event:
        return f"loss {event['train/loss']:.4f}"
    return (
        f"loss {event['train/loss']:.4f}  valid {event['valid/loss']:.4f}  "
        f"{metric} {figure(event[f'valid/{metric}'])}  accuracy {event['valid/accuracy']:.3f}"
    )


class Lines:
    """One line per epoch (per several where there are many), for logs, pipes and CI."""

    def __init__(self, metric: str, epochs: int) -> None:
        self.metric, self.epochs, self.every = metric, epochs, -(-epochs // MOST_LINES)

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None: ...

    def start(self, fold: int) -> None: ...

    def event(self, fold: int, event: dict[str, Any]) -> None:
        if event["kind"] == "note":
            say(f"fold {fold}  {event['text']}")
        elif event["kind"] == "epoch" and event["epoch"] % self.every == self.epochs % self.every:
            epoch = f"epoch {event['epoch']}/{self.epochs}"
            say(f"fold {fold}  {epoch}  {describe(event, self.metric)}  {event['seconds']:.1f} s")

    def finish(self, fold: int) -> None:
        say(f"fold {fold}  finished")

    def fail(self, fold: int, why: str, last_lines: list[str], log: Path) -> None:
        _say_failure(fold, why, last_lines, log)


class Bars:
    """A progress bar a fold, with the last epoch's figures beside it."""

    def __init__(self, metric: str, epochs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.metric, self.epochs = metric, epochs
        self.progress = Progress(
            TextColumn("fold {task.fields[fold]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[epoch]}", justify="right"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )
        self.tasks: dict[int, Any] = {}

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def start(self, fold: int) -> None:
        self.tasks[fold] = self.progress.add_task("", total=self.epochs, fold=fold, epoch="starting", figures="")

    def event(self, fold: int, event: dict[str, Any]) -> None:
        task = self.tasks[fold]
        if event["kind"] == "step":
            done = event["epoch"] - 1 + event["step"] / event["steps"]
            self.progress.update(task, completed=done, epoch=f"epoch {event['epoch']}/{self.epochs}")
        elif event["kind"] == "epoch":
            self.progress.update(
                task,
                completed=event["epoch"],
                epoch=f"epoch {event['epoch']}/{self.epochs}",
                figures=describe(event, self.metric),
            )
        elif event["kind"] == "note":
            self.progress.update(task, figures=event["text"])

    def finish(self, fold: int) -> None:
        self.progress.update(self.tasks[fold], completed=self.epochs, epoch="done")

    def fail(self, fold: int, why: str, last_lines: list[str], log: Path) -> None:
        self.progress.update(self.tasks[fold], epoch="[red]failed")
        _say_failure(fold, why, last_lines, log)


def display(metric: str, epochs: int) -> Bars | Lines:
    return Bars(metric, epochs) if sys.stderr.isatty() else Lines(metric, epochs)


def _say_failure(fold: int, why: str, last_lines: list[str], log: Path) -> None:
    say(f"fold {fold} {why}; the end of {log}:")
    for line in last_lines:
        say(f"    {line}")
