"""How long a fold trains where nobody typed it, and batches of one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench.crossval import checks, length, progress
from bench.crossval.lifecycle import Life
from bench.crossval.plan import make_plan
from bench.crossval.settle import settle, sized
from bench.runs.recipe import Recipe, Tracking
from bench.runs.run import Run
from bench.runs.scores import Scores
from bench.spec import Direction, InputSpec, UserError
from bench.training import parts
from conftest import Composed, compose, train_here

Small = Callable[..., Composed]


def rows(n: int, folds: int = 5, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"id": np.arange(n), "fold": np.arange(n) % folds, **columns})


def untyped(*overrides: str) -> Recipe:
    return compose("dataset=heartbeat", "model=mlp", *overrides)[0]


@pytest.mark.parametrize(
    ("n", "overrides", "epochs"),
    [
        (100, [], 200),  # 80 rows, 3 steps an epoch
        (100, ["train.min_steps=100"], 34),
        (100, ["train.min_steps=null"], 10),
        (100, ["train.batch_size=80"], 600),
        (100, ["train.accumulate=2"], 300),
        (2400, [], 10),  # 60 steps an epoch are 600
        (2390, [], 10),  # 59.75
        (2350, [], 11),
        (100_000, [], 10),
        (100, ["train.epochs=3"], 3),
        (100, ["model=resnet1d"], 200),
        (2000, ["model=resnet1d"], 40),
        (2000, ["model=resnet1d", "train.epochs=2"], 2),
        (2000, ["model=resnet1d", "recipe=none"], 12),
    ],
)
def test_epochs_that_nobody_typed_are_as_many_as_the_steps_need(n: int, overrides: list[str], epochs: int) -> None:
    recipe, raised = length.settled(untyped(*overrides), rows(n))
    assert recipe.train.epochs == epochs
    assert bool(raised) == (epochs > length.intended(untyped(*overrides)))
    if raised:
        assert raised.startswith(f"{epochs} in place of ")
        assert "train.epochs=" in raised


def test_the_fold_with_the_fewest_examples_decides() -> None:
    uneven = pd.DataFrame({"id": range(100), "fold": [0] * 60 + [1] * 40})
    assert length.trained_examples(uneven) == {0: 40, 1: 60}
    turns = rows(100, 2, example=np.arange(100) // 10, weight=np.where(np.arange(100) < 20, 0.0, 1.0))
    assert length.trained_examples(turns) == {0: 8, 1: 8}
    one_sided = rows(100, 2, trained=np.arange(100) < 30)
    assert length.trained_examples(one_sided) == {0: 15, 1: 15}


@pytest.mark.slow
def test_a_run_knows_its_epochs_and_they_alone_decide(small: Small, capfd: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(*small("train.epochs=null"))  # 80 rows a fold
    assert plan.recipe.train.epochs == 200
    assert "epochs    200 in place of 10: 80 rows to train on are 3 steps an epoch" in capfd.readouterr().err
    assert make_plan(*small("train.epochs=200")).run.folder == plan.run.folder
    assert make_plan(*small("train.epochs=null", "train.min_steps=90")).run.folder != plan.run.folder


def test_a_fold_takes_the_steps(small: Small) -> None:
    run = train_here(*small("train.epochs=null", "train.min_steps=34", "folds.only=[0]"))
    assert run.fold(0).history()[-1]["step"] == 36  # 12 epochs of 3


@pytest.mark.parametrize(("key", "value"), [("min_steps", "0"), ("epochs", "0")])
def test_none_is_no_number_of_steps(small: Small, key: str, value: str) -> None:
    with pytest.raises(UserError, match=f"train.{key}=0 must be 1 or more"):
        make_plan(*small(f"train.{key}={value}"))


def test_batches_of_one_row_are_refused_where_a_model_normalises_by_them(small: Small) -> None:
    with pytest.raises(UserError, match=r"train\.batch_size=1: ResNet1D normalises by batches .* give 2 or more"):
        make_plan(*small("model=resnet1d", "train.batch_size=1"))
    run = train_here(*small("train.batch_size=1", "folds.only=[0]", "train.epochs=1"))  # mlp does not
    assert run.fold(0).history()[-1]["step"] == 79  # the last batch has two rows


def test_a_training_side_of_one_row_is_refused_where_a_model_normalises_by_batches() -> None:
    spec = InputSpec(1, (64,), ("a", "b"))
    for name in ("resnet1d", "rocket"):
        recipe = untyped(f"model={name}")
        with pytest.raises(UserError, match=r"fold 0 has one row to train on, and \w+ normalises by batches of two"):
            checks.single_rows(recipe, spec, rows(2, 2))
        checks.single_rows(recipe, spec, rows(4, 2))
    checks.single_rows(untyped(), spec, rows(2, 2))
    checks.single_rows(replace(untyped("train.batch_size=1"), model=untyped("model=rocket").model), spec, rows(4, 2))


@pytest.mark.parametrize(
    ("direction", "oof", "told"),
    [
        *(("min", 0.5, False), ("min", 0.7, True), ("min", 0.8, True), ("min", float("nan"), False)),
        *(("max", 0.8, False), ("max", 0.6, True)),
    ],
)
def test_a_run_no_better_than_the_training_means_is_told_in_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], direction: Any, oof: float, told: bool
) -> None:
    scores = Scores(
        metric="kl", direction=Direction(direction), oof=oof, folds=(oof,), fold_numbers=(0,), mean=oof, std=0.0,
        baseline=0.7, rows=9, accuracy=0.5, complete=True, simulated=False, identity="x",
    )  # fmt: skip
    Life(Run(tmp_path), Tracking(enabled=False), None, {}).conclude(scores, [], ["kl"])
    assert ("no better than always predicting the training means" in capfd.readouterr().err) == told


@pytest.mark.parametrize(("epochs", "told"), [(3, [1, 2, 3]), (100, list(range(1, 101))), (250, [1, 4, 7])])
def test_a_log_has_a_line_an_epoch_and_at_most_a_hundred_a_fold(
    capfd: pytest.CaptureFixture[str], epochs: int, told: list[int]
) -> None:
    lines = progress.Lines("kl", epochs)
    figures = {"train/loss": 1.0, "valid/loss": 1.0, "valid/kl": 1.0, "valid/accuracy": 0.5, "seconds": 0.1}
    for epoch in range(1, epochs + 1):
        lines.event(0, {"kind": "epoch", "epoch": epoch, **figures})
    said = [int(line.split("epoch ")[1].split("/")[0]) for line in capfd.readouterr().err.splitlines()]
    assert said[: len(told)] == told
    assert said[-1] == epochs
    assert len(said) <= 100


@pytest.mark.parametrize(
    ("overrides", "real", "simulated"),
    [
        (["dataset=hms", "model=wavenet"], (32, "steps"), (2, "one_cycle")),
        (["dataset=hms", "model=wavenet", "train.batch_size=8", "scheduler=cosine"], (8, "cosine"), (8, "cosine")),
        (["+experiments=hms_wavenet_starter"], (32, "steps"), (32, "steps")),
        (["dataset=hms", "model=mlp"], (32, "constant"), (32, "constant")),
        (["dataset=hms", "model=mlp", "train.batch_size=null"], (32, "constant"), (32, "constant")),
    ],
)
def test_the_pairs_small_batch_and_its_schedule_are_for_simulated_files_alone(
    overrides: list[str], real: tuple[int, str], simulated: tuple[int, str]
) -> None:
    recipe, _ = settle(*compose(*overrides))
    for is_simulated, (batch_size, schedule) in ((False, real), (True, simulated)):
        chosen = sized(recipe, is_simulated)
        assert chosen.train.batch_size == batch_size
        assert chosen.scheduler["_target_"] == f"bench.training.schedules.{schedule}"


@pytest.mark.parametrize(
    ("overrides", "eps"),
    [
        (["dataset=hms", "model=wavenet"], 1e-7),
        (["dataset=freesound", "model=cnn1d"], 1e-7),
        (["dataset=freesound", "model=cnn2d"], 1e-7),
        (["dataset=freesound", "model=cnn2d", "+optimizer.eps=0.5"], 0.5),
        (["dataset=freesound", "model=cnn2d", "optimizer=sgd"], None),
        (["dataset=freesound", "model=cnn2d", "recipe=none"], None),
        (["dataset=heartbeat", "model=resnet1d"], None),
    ],
)
def test_pairs_of_keras_write_ups_have_its_eps_in_adam(overrides: list[str], eps: float | None) -> None:
    recipe, _ = settle(*compose(*overrides))
    assert recipe.optimizer.get("eps") == eps
    parts.bound("optimizer", recipe.optimizer)


def test_auto_is_mixed_precision_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = compose("dataset=hms", "model=mlp", "train.precision=auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert settle(*auto)[0].train.precision == "float32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for has_bf16, precision in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_bf16: has)
        assert settle(*auto)[0].train.precision == precision
    assert settle(replace(auto[0], device="cpu"), auto[1])[0].train.precision == "float32"
