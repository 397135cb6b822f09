"""Learning rates by epoch, beside the write-ups' and torch's own; a moving average, accumulation, early ends."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.metrics import KL
from bench.runs.run import Fold
from bench.training import loop, schedules
from bench.training.ema import Ema
from tiny_fold import SETTINGS, fit, parts, sides, weights


def test_schedules_are_the_write_ups() -> None:
    listed = [schedules.steps(e, 5, 1e-3, factors=[1, 1, 0.1, 0.1, 0.01]) for e in (0, 0.9, 1.5, 2, 3.99, 4, 7)]
    assert listed == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])
    warm = [schedules.cosine(e, 10, 1.0, warmup=0.1, start=0.1, end=0.01) for e in (0, 0.5, 1, 5.5, 10)]
    assert warm == pytest.approx([0.1, 0.55, 1.0, 0.505, 0.01])


def test_one_cycle_is_torchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10_001)
    ours = []
    rates = []
    for step in range(10_001):
        rates.append(optimizer.param_groups[0]["lr"])
        ours.append(schedules.one_cycle(step / 1000, 10, 0.1))
        optimizer.step()
        if step < 10_000:
            theirs.step()
    assert ours == pytest.approx(rates, abs=5e-5)
    assert max(ours) == pytest.approx(0.1)


@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_is_torchs(patience: int) -> None:
    losses = [1.0, 0.9, 0.95, 0.91, 0.90, 0.9, 0.899999, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.4]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience)
    for n, loss in enumerate(losses):
        here = schedules.plateau(n, 20, 0.1, losses[:n], factor=0.5, patience=patience)
        assert here == pytest.approx(optimizer.param_groups[0]["lr"])
        theirs.step(loss)
    assert optimizer.param_groups[0]["lr"] < 0.1


def test_plateau_sees_the_validation_losses_of_the_fold(tmp_path: Path) -> None:
    stuck = parts(schedule=partial(schedules.plateau, patience=0, factor=0.5, threshold=0.99))
    fit(tmp_path, replace(SETTINGS, epochs=4), stuck)
    assert [entry["lr"] for entry in Fold(tmp_path / "fold", 0).history()] == pytest.approx([0.01, 0.01, 0.005, 0.0025])


def flat(x: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([part.flatten().float() for part in x])


def linear() -> loop.Parts:
    torch.manual_seed(1)
    made = parts(model=nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), schedule=schedules.constant)
    made.optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
    return made


@pytest.mark.parametrize("clip", [None, 0.05])
def test_accumulated_batches_step_as_one_large_one(tmp_path: Path, clip: float | None) -> None:
    """41 rows: 3 batches of 8 make a step of 24, the 17 that are left (8 and 9) the last."""
    small = fit(tmp_path / "a", replace(SETTINGS, batch_size=8, accumulate=3, clip=clip), linear())
    large = fit(tmp_path / "b", replace(SETTINGS, batch_size=24, clip=clip), linear())
    torch.testing.assert_close(flat(weights(small)), flat(weights(large)))
    assert [e["step"] for e in Fold(tmp_path / "a/fold", 0).history()] == [2, 4, 6, 8]


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_the_average_follows_its_formula_and_is_what_is_judged_and_kept(tmp_path: Path, every: str) -> None:
    settings = replace(SETTINGS, ema=0.7, ema_every=every, epochs=3, batch_size=64)  # type: ignore[arg-type]
    made, seen = linear(), []
    train, valid = sides(tmp_path / "store")
    fold = Fold(tmp_path / "fold", 0)
    kept = lambda event: seen.append(flat(weights(made))) if event["kind"] == "epoch" else None  # noqa: E731
    loop.fit(made, train, valid, settings, fold, kept)
    average = seen[0]  # one step an epoch
    for n, later in enumerate(seen[1:], 1):
        decay = min(0.7, (1 + n) / (10 + n)) if every == "step" else 0.7
        average = decay * average + (1 - decay) * later
    torch.testing.assert_close(flat(weights(made)), average)
    assert loop.evaluate(made, valid, settings)["valid/loss"] == pytest.approx(fold.history()[-1]["valid/loss"])


def test_the_average_takes_batchnorms_statistics_along() -> None:
    model = nn.BatchNorm1d(2)
    ema = Ema(model, 0.5, warmup=False)
    for mean in (2.0, 4.0):
        model.running_mean.fill_(mean)  # type: ignore[union-attr]
        ema.update(model)
    assert ema.model.state_dict()["running_mean"].tolist() == [3.0, 3.0]


def test_a_fold_ends_when_nothing_got_better_for_its_patience(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=30, keep="loss", patience=2)
    made = parts(schedule=lambda epoch, epochs, base, losses: base if epoch < 3 else 0.0)
    fit(tmp_path, settings, made)
    history = Fold(tmp_path / "fold", 0).history()
    best = loop.best_epoch(history, settings, KL)
    assert len(history) == best + 3 < 30
    before = weights(made)
    again = fit(tmp_path, settings)  # the same command: not an epoch more
    assert len(Fold(tmp_path / "fold", 0).history()) == len(history)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(again), strict=True))
