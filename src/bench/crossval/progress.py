"""Progress of the folds: one bar per fold on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bench.tell import console, figure, say

MOST_LINES = 100
"""Of a fold: epochs of one step are told by the hundreds otherwise."""
WIDE = 110
"""Columns of a terminal from which on all figures of an epoch fit."""


class Display(Protocol):
    """Hooks of a fan-out of folds; ``event`` is what a fold's process reported."""

    def start(self, fold: int) -> None: ...
    def event(self, fold: int, event: dict[str, Any]) -> None: ...
    def finish(self, fold: int) -> None: ...
    def fail(self, fold: int, why: str, last_lines: list[str], log: Path) -> None: ...


def describe(event: dict[str, Any], metric: str, wide: bool = True) -> str:
    """An epoch's figures on one line; where it is not ``wide``, the most telling one."""
    if "valid/loss" not in event:
        return f"loss {event['train/loss']:.4f}"
    if not wide:
        return f"{metric} {figure(event[f'valid/{metric}'])}"
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
    """A progress bar a fold, those that wait too, with the last epoch's figures beside it; one for all folds below."""

    def __init__(self, metric: str, epochs: int, folds: Sequence[int]) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.table import Column

        screen = console(stderr=True)
        self.metric, self.epochs, self.wide = metric, epochs, screen.width >= WIDE
        self.quiet = _without_echo()
        whole, rest = Column(no_wrap=True, min_width=7), Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self.progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=6)),
            BarColumn(bar_width=24 if self.wide else 12),
            TextColumn("{task.fields[epoch]}", table_column=Column(no_wrap=True, justify="right")),
            TimeElapsedColumn(table_column=whole),
            TimeRemainingColumn(table_column=whole),
            TextColumn("{task.fields[figures]}", table_column=rest, markup=False),
            console=screen,
            expand=True,
        )
        add = partial(self.progress.add_task, figures="")
        self.tasks = {k: add(f"fold {k}", total=epochs, epoch="waiting", start=False) for k in folds}
        self.all = add("all", total=epochs * len(folds), epoch="", visible=len(folds) > 1)

    def __enter__(self) -> Display:
        self.quiet.__enter__()
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
        self.quiet.__exit__(None, None, None)

    def start(self, fold: int) -> None:
        self.progress.start_task(self.tasks[fold])
        self.progress.update(self.tasks[fold], epoch="starting")

    def event(self, fold: int, event: dict[str, Any]) -> None:
        if event["kind"] == "step":
            self._done(fold, event["epoch"] - 1 + event["step"] / event["steps"], event["epoch"])
        elif event["kind"] == "epoch":
            self._done(fold, event["epoch"], event["epoch"])
            self.progress.update(self.tasks[fold], figures=describe(event, self.metric, self.wide))
        elif event["kind"] == "note":
            self.progress.update(self.tasks[fold], figures=event["text"])

    def _done(self, fold: int, epochs: float, epoch: int) -> None:
        self.progress.update(self.tasks[fold], completed=epochs, epoch=f"epoch {epoch}/{self.epochs}")
        total = sum(self.progress.tasks[task].completed for task in self.tasks.values())
        self.progress.update(self.all, completed=total)

    def finish(self, fold: int) -> None:
        self._done(fold, self.epochs, self.epochs)
        self.progress.update(self.tasks[fold], epoch="done")

    def fail(self, fold: int, why: str, last_lines: list[str], log: Path) -> None:
        self.progress.update(self.tasks[fold], epoch="[red]failed")
        _say_failure(fold, why, last_lines, log)


@contextmanager
def _without_echo() -> Iterator[None]:
    """Ctrl-C leaves no ``^C`` between the bars: it would move them a line down, and one would be seen twice."""
    try:
        import termios

        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
        if not _in_front(number):
            raise OSError("who changes the terminal in the background is stopped")
    except Exception:  # there is no terminal to type on, or no such module
        yield
        return
    flags = [*before]
    flags[3] &= ~termios.ECHOCTL
    termios.tcsetattr(number, termios.TCSANOW, flags)
    try:
        yield
    finally:
        if _in_front(number):
            termios.tcsetattr(number, termios.TCSANOW, before)


def _in_front(number: int) -> bool:
    """Whether this process is what the terminal's keys go to."""
    return os.tcgetpgrp(number) == os.getpgrp()


def display(metric: str, epochs: int, folds: Sequence[int]) -> Bars | Lines:
    return Bars(metric, epochs, folds) if sys.stderr.isatty() else Lines(metric, epochs)


def _say_failure(fold: int, why: str, last_lines: list[str], log: Path) -> None:
    say(f"fold {fold} {why}; the end of {log}:")
    for line in last_lines:
        say(f"    {line}")
