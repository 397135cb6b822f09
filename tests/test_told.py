"""What a training tells besides its folds: how long it takes, where the time went, and what to do next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.crossval.progress import Lines
from bench.crossval.told import Estimated, Spent, next_command
from bench.runs.run import Run
from bench.tell import duration
from fake_run import rewrite, write_member

EPOCH = {"train/loss": 1.0, "seconds": 60.0}


def estimated(epochs: int, folds: int, running: int) -> Estimated:
    display = Estimated(Lines("kl", epochs), epochs, folds)
    for fold in range(running):
        display.start(fold)
    return display


def test_a_first_epoch_tells_how_long_all_takes(capsys: pytest.CaptureFixture[str]) -> None:
    display = estimated(epochs=10, folds=5, running=2)
    display.event(0, {"kind": "epoch", "epoch": 1, **EPOCH})
    display.event(1, {"kind": "epoch", "epoch": 1, **EPOCH})
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("time")]
    assert lines == ["time      about 30 min for 10 epochs of 5 folds, 2 side by side"], "once, in three rounds"


def test_the_steps_of_a_long_epoch_tell_it_before_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("bench.crossval.told.time.monotonic", lambda: now[0])
    display = estimated(epochs=2, folds=1, running=1)
    for step, seconds in ((10, 5.0), (20, 15.0), (60, 55.0)):
        now[0] = seconds
        display.event(0, {"kind": "step", "epoch": 1, "step": step, "steps": 1000})
    assert "about 33 min for 2 epochs of 1 folds" in capsys.readouterr().err


def test_what_ends_soon_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    estimated(epochs=2, folds=2, running=2).event(0, {"kind": "epoch", "epoch": 1, **EPOCH, "seconds": 3.0})
    assert "time" not in capsys.readouterr().err


def test_the_slowest_part_is_named() -> None:
    spent = Spent()
    spent.seconds = {"preparing": 200.0, "training": 90.0}
    assert spent.sentence() == "time      5 min: preparing 3 min (the slowest part), training 90 s"
    assert [duration(s) for s in (0.4, 99.0, 100.0, 7500.0)] == ["0 s", "99 s", "2 min", "2 h 05 min"]


def made(outputs: Path, identity: str, oof: float, n_splits: int = 3) -> Run:
    target = np.eye(2)[np.arange(12) % 2]
    run = write_member(outputs, np.full((12, 2), 0.5), target, np.arange(12) % n_splits, identity=identity)
    return rewrite(run, "scores.json", oof=oof)


def test_a_run_is_to_be_held_against_the_best_other_of_its_folds(tmp_path: Path) -> None:
    first = made(tmp_path, "a" * 12, 0.5)
    scores = first.scores()
    assert scores is not None
    assert "bench.catalog dataset=hms" in next_command(first, scores)
    made(tmp_path, "b" * 12, 0.4)
    made(tmp_path, "c" * 12, 0.6)
    assert next_command(first, scores) == f"next      python -m bench.compare runs={'b' * 12},{'a' * 12}"
    made(tmp_path, "d" * 12, 0.1, n_splits=4)
    assert "bench.catalog" in next_command(first, scores), "the best one was split otherwise"
