"""What a terminal shows of the folds."""

from __future__ import annotations

import io
import re

import pytest

from bench.crossval import progress
from bench.tell import console


@pytest.mark.parametrize("columns", [80, 120])
def test_all_folds_and_the_whole_fit_a_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    stream = io.StringIO()
    screen = Console(file=stream, width=columns, force_terminal=True, color_system=None)
    monkeypatch.setattr(progress, "console", lambda **_: screen)
    bars = progress.Bars("l1_20k", 20, [0, 2])
    with bars as shown:
        shown.start(0)
        shown.event(0, {"kind": "note", "text": "training on 3,200 rows (2 MB) gathered from the store " * 3})
        figures = {"train/loss": 1.0, "valid/loss": 1.2345, "valid/l1_20k": 17302.3, "valid/accuracy": 0.9}
        shown.event(0, {"kind": "step", "epoch": 1, "step": 2, "steps": 4})
        shown.event(0, {"kind": "epoch", "epoch": 5, **figures})
    text = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", stream.getvalue().replace("\r", "\n"))
    lines = [line for line in text.splitlines() if line.strip()][-3:]
    assert "17,302.3" in lines[0]
    assert "epoch 5/20" in lines[0]
    assert "waiting" in lines[1]
    assert "fold 2" in lines[1]
    assert "all" in lines[2]
    assert lines[0].count("━") == {80: 3, 120: 6}[columns], "a quarter of 12 or 24"
    assert "…" not in "".join(lines)
    assert bars.progress.tasks[bars.all].completed == 5
    assert bars.progress.tasks[bars.all].total == 40


def test_no_color_leaves_no_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = console()
    screen.file, screen._force_terminal = io.StringIO(), True
    screen.print("[bold red]failed")
    assert screen.file.getvalue() == "failed\n"
