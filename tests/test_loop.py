"""One fold's training, from objects."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.augment.mixup import Mixup
from bench.augment.specaugment import SpecAugment
from bench.data.ranges import cut
from bench.losses.kl import kl
from bench.metrics import KL
from bench.runs.run import Fold
from bench.training import loop, schedules, together
from bench.training.checkpoint import load_weights
from tiny_fold import SETTINGS, fit, parts, sides, weights


def test_training_learns(tmp_path: Path) -> None:
    fit(tmp_path, replace(SETTINGS, epochs=10))
    history = Fold(tmp_path / "fold", 0).history()
    assert [entry["epoch"] for entry in history] == list(range(1, 11))
    assert history[-1]["train/loss"] < 0.7 * history[0]["train/loss"]
    assert history[-1]["valid/accuracy"] > 0.6


CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "augmented, average, accumulated, plateau, weights by epoch": {
        "schedule": partial(schedules.plateau, patience=0, factor=0.3),
        "settings": replace(SETTINGS, ema=0.8, accumulate=2, clip=1.0),
        "augment": [SpecAugment(column_share=0.4), Mixup(until=0.6)],
        "row_weights": lambda epoch: np.linspace(0.1 + epoch, 1, 41, dtype=np.float32),
    },
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("stop_at", [(1, 2), (2, 1), (3, 3)])
def test_a_fold_that_died_at_any_step_ends_with_the_same_bits(
    tmp_path: Path, stop_at: tuple[int, int], changes: dict[str, Any]
) -> None:
    settings = changes.get("settings", SETTINGS)
    changes = {key: change for key, change in changes.items() if key != "settings"}
    whole = fit(tmp_path / "whole", settings, parts(**changes))
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(fit(tmp_path / "plain")), strict=True)) == (
        not changes
    )

    class Killed(BaseException): ...

    calls = 0

    def dying_loss(*args: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == (stop_at[0] - 1) * 4 + stop_at[1]:  # three training steps and one validation an epoch
            raise Killed
        return kl(*args)

    with pytest.raises(Killed):
        fit(tmp_path / "resumed", settings, parts(loss=dying_loss, **changes))
    resumed = fit(tmp_path / "resumed", settings, parts(**changes))
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


def test_two_seeds_differ_and_one_seed_does_not(tmp_path: Path) -> None:
    a, b, c = (fit(tmp_path / str(i), replace(SETTINGS, seed=s)) for i, s in enumerate((1, 1, 2)))
    assert all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))
    assert not torch.equal(weights(a)[0], weights(c)[0])


def test_a_nan_loss_stops_the_fold_and_says_where(tmp_path: Path) -> None:
    calls = 0

    def bad(*args: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return kl(*args) * (float("nan") if calls == 6 else 1.0)

    with pytest.raises(loop.LossIsNaN, match=r"nan in epoch 2, step 2 of 3; try a smaller optimizer.lr"):
        fit(tmp_path, made=parts(loss=bad))


@pytest.mark.parametrize("keep", ["last", "loss", "metric", "train_loss"])
def test_the_kept_weights_are_those_of_the_epoch_that_was_asked_for(tmp_path: Path, keep: Any) -> None:
    settings = replace(SETTINGS, keep=keep, epochs=6)
    made = parts()
    seen: list[list[Tensor]] = []
    loop.fit(
        made,
        *sides(tmp_path / "store"),
        settings,
        fold := Fold(tmp_path / "fold", 0),
        lambda event: seen.append(weights(made)) if event["kind"] == "epoch" else None,
    )
    history = fold.history()
    key = {"loss": "valid/loss", "metric": "valid/kl", "train_loss": "train/loss"}.get(keep)
    best = 5 if key is None else int(np.argmin([e[key] for e in history]))
    assert loop.best_epoch(history, settings, KL) == best
    fresh = parts()
    load_weights(fold.weights, fresh.model)
    assert all(torch.equal(a, b) for a, b in zip(weights(fresh), seen[best], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights(made), seen[best], strict=True))


def test_rows_of_weight_zero_do_not_train(tmp_path: Path) -> None:
    weight = np.ones(61, np.float32)
    weight[40:] = 0
    made = parts(model=nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    made.optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
    train, _ = sides(tmp_path / "a", weight=weight)
    batch = next(train.in_order(41))
    loss = kl(made.model(batch.x.float()), batch.target, batch.weight)
    kept = kl(made.model(batch.x.float())[:20], batch.target[:20])
    torch.testing.assert_close(loss, kept)


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    made = parts(model=nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    made.optimizer = torch.optim.SGD(made.model.parameters(), lr=1.0)
    before = weights(made)
    made.schedule = schedules.constant
    fit(tmp_path, replace(SETTINGS, epochs=1, batch_size=64, clip=1e-3), made)
    steps = [(a - b).flatten() for a, b in zip(before, weights(made), strict=True)]
    moved = torch.cat(steps).norm()
    torch.testing.assert_close(moved, torch.tensor(1e-3), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (1, 4, [1]), (0, 4, []), (8, 4, [4, 4]), (5, 1, [1, 1, 1, 2])],
)
def test_no_batch_of_one_row_is_left_at_the_end(n: int, size: int, sizes: list[int]) -> None:
    assert [b - a for a, b in cut(n, size)] == sizes


def test_an_epoch_sees_every_row_once(tmp_path: Path) -> None:
    train, _ = sides(tmp_path)
    seen = torch.cat([batch.x for batch in train.shuffled(8, (0, 1))]).flatten(1)
    rows = torch.from_numpy(train.store.gather(train.rows)).flatten(1)
    assert sorted(seen.tolist()) == sorted(rows.tolist())


def test_the_training_loss_is_the_mean_over_rows(tmp_path: Path) -> None:
    made = parts(model=nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    made.optimizer = torch.optim.SGD(made.model.parameters(), lr=0.0)
    train, valid = sides(tmp_path / "store")
    expected = loop.evaluate(made, train, SETTINGS)["valid/loss"]
    loop.fit(made, train, valid, replace(SETTINGS, epochs=1), fold := Fold(tmp_path / "f", 0), lambda event: None)
    assert fold.history()[0]["train/loss"] == pytest.approx(expected, rel=1e-5)


def test_a_row_that_counts_little_steps_little_whatever_its_batch(tmp_path: Path) -> None:
    """Batches of one: a weighted mean over each alone would give every row its full step."""
    weight = np.where(np.arange(61) % 2, 1.0, 1e-6).astype(np.float32)
    light, _ = sides(tmp_path / "store", weight)
    made = parts(schedule=schedules.constant)
    made.model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    made.optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
    before = [p.detach().clone() for p in made.model.parameters()]
    light = light.weighted(np.where(np.arange(len(light)) == 0, 1.0, 1e-6).astype(np.float32))
    settings = replace(SETTINGS, batch_size=1, epochs=1)
    fold, backward = Fold(tmp_path / "fold", 0), loop._backward(made, settings, light.device, print)
    together.alone(loop._train_epoch(made, light, settings, fold, 0, [lambda at: 0.1], None, print, backward))
    moved = [p.detach() - b for p, b in zip(made.model.parameters(), before, strict=True)]
    row = next(light.in_order(1))
    made.model.load_state_dict(dict(zip(made.model.state_dict(), before, strict=True)))
    loss = kl(made.model(row.x.float()), row.target)
    alone = torch.autograd.grad(loss, list(made.model.parameters()))
    scale = 1 / light.shuffled(1, (0,)).mean_weight
    for step, gradient in zip(moved, alone, strict=True):
        torch.testing.assert_close(step, -0.1 * scale * gradient, rtol=1e-2, atol=1e-3 * scale)


def test_validation_counts_every_row_where_training_leaves_doubtful_ones_out(tmp_path: Path) -> None:
    _, valid = sides(tmp_path / "store", np.full(61, 0.5, np.float32))
    made = parts(loss=partial(kl, mask_above=0.9), valid_loss=kl)
    masked = replace(made, valid_loss=None)
    assert loop.evaluate(made, valid, SETTINGS)["valid/loss"] > loop.evaluate(masked, valid, SETTINGS)["valid/loss"]


def test_an_epoch_without_a_score_is_never_the_best() -> None:
    keep = replace(SETTINGS, keep="metric")
    history = [{"valid/kl": value} for value in (float("nan"), 2.0, 1.0, float("nan"))]
    assert loop.best_epoch(history, keep, KL) == 2
    assert loop.best_epoch(history[:1] * 3, keep, KL) == 2
