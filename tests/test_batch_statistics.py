"""Batch normalisation's statistics are those of the training side, for the very weights that predict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.batches import Batches
from bench.data.joined import InMemory
from bench.features.device.cast import ToFloat32
from bench.losses.kl import kl
from bench.metrics import KL
from bench.models.rocket import Rocket
from bench.runs.run import Fold
from bench.spec import InputSpec
from bench.training import batch_statistics, loop, schedules
from bench.training.batch_statistics import along, measuring, once

CPU = torch.device("cpu")
SETTINGS = loop.Settings(epochs=3, batch_size=16, eval_batch_size=32, seed=1)


def rows(n: int = 70, length: int = 12, seed: int = 0, **more: Any) -> Batches:
    """Signals (1, length) far from 0, of three classes that differ in a step."""
    rng = np.random.default_rng(seed)
    x = rng.normal(5, 2, size=(n, 1, length)).astype(np.float32)
    x[:, 0, :4] += 3 * (np.arange(n) % 3)[:, None]
    target = np.eye(3, dtype=np.float32)[np.arange(n) % 3]
    given = {"weight": None, **more}
    return Batches(InMemory(x), np.arange(n), target, device=CPU, **given)


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(40, 8),
        nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def parts(model: nn.Module | None = None, lr: float = 0.01, **changes: Any) -> loop.Parts:
    model = model or network()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    return replace(loop.Parts(model, ToFloat32(), kl, optimizer, schedules.constant, KL), **changes)


def fit(folder: Path, settings: loop.Settings = SETTINGS, made: loop.Parts | None = None, **more: Any) -> loop.Parts:
    made = made or parts()
    loop.fit(made, rows(**more), rows(30, seed=1), settings, Fold(folder, 0), lambda event: None)
    return made


def all_of(batches: Batches) -> Tensor:
    return torch.cat([batch.x for batch in batches.in_order(1000)])


def measured(model: nn.Module, batches: Batches, size: int = 32, at_most: int | None = None) -> None:
    batch_statistics.measure(model, along(model), ToFloat32(), batches, size, "float32", (0,), at_most)


def test_statistics_are_those_of_all_rows_whatever_the_batches() -> None:
    model, batches = network(), rows(71)
    seen = model[0](all_of(batches)).detach().double()
    for size in (71, 32, 7):
        measured(model, batches, size)
        torch.testing.assert_close(model[1].running_mean.double(), seen.mean((0, 2)), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            model[1].running_var.double(), seen.transpose(0, 1).flatten(1).var(1), rtol=1e-5, atol=0
        )


def test_a_layer_behind_others_sees_what_it_will_see_in_predicting() -> None:
    """In one batch all layers before it are normalised as they will be, and nothing is dropped."""
    model, batches = network(), rows(64)
    measured(model, batches, 64)
    with torch.no_grad():
        answer = model[:7].eval()(all_of(batches))
    spread = answer.std(0)[answer.std(0) > 0.05]  # a unit may be silent for all rows
    torch.testing.assert_close(answer.mean(0), torch.zeros(8), atol=2e-3, rtol=0)
    torch.testing.assert_close(spread, torch.ones_like(spread), atol=2e-2, rtol=0)


def test_measuring_leaves_all_but_the_statistics_as_it_was() -> None:
    model = network()
    model(all_of(rows()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    draws = torch.get_rng_state()
    measured(model, rows())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{i}.running_{what}" for i in (1, 6) for what in ("mean", "var")}
    assert all(module.training for module in model.modules())
    assert (model[1].momentum, len(model[1]._forward_hooks)) == (0.1, 0)
    assert torch.equal(torch.get_rng_state(), draws)


def test_frozen_layers_and_such_that_nothing_goes_through_keep_what_they_have() -> None:
    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> Frozen:
            return super().train(False)

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.frozen, self.unused = nn.BatchNorm1d(1), Frozen(1), nn.BatchNorm1d(1)
            self.untracked = nn.BatchNorm1d(1, track_running_stats=False)

        def forward(self, x_bct: Tensor) -> Tensor:
            answer: Tensor = self.untracked(self.frozen(self.used(x_bct)))
            return answer

    model: Any = Half()
    for layer in (model.frozen, model.unused):
        layer.running_mean += 7
    measured(model, rows())
    assert float(model.used.running_mean) == pytest.approx(float(all_of(rows()).mean()), rel=1e-5)
    assert (float(model.frozen.running_mean), float(model.unused.running_mean)) == (7, 7)


def test_statistics_that_were_no_numbers_are_numbers_again() -> None:
    model = network()
    model[1].running_var.fill_(float("inf"))
    model[1].running_mean.fill_(float("nan"))
    measured(model, rows(), 16)
    assert torch.isfinite(torch.stack([model[1].running_var, model[1].running_mean])).all()


def test_rows_are_those_that_an_epoch_draws_and_no_more_than_asked_for() -> None:
    seen: list[Tensor] = []
    model: Any = nn.Sequential(nn.BatchNorm1d(1))
    model.register_forward_hook(lambda module, given, answer: seen.append(given[0].clone()))

    def drawn(batches: Batches, at_most: int | None = None) -> Tensor:
        seen.clear()
        measured(model, batches, 8, at_most)
        return torch.cat(seen)[:, 0, 0]

    weight = np.where(np.arange(70) < 10, 0, 0.5).astype(np.float32)
    first = drawn(rows(weight=weight))
    assert sorted(first.tolist()) == sorted(all_of(rows())[10:, 0, 0].tolist())
    assert torch.equal(first, drawn(rows(weight=weight)))  # in the same order each time
    turns = drawn(rows(example=np.arange(70) // 2))
    assert len(turns) == 35
    assert sorted(drawn(rows(), 24).tolist()) != sorted(all_of(rows())[:24, 0, 0].tolist())
    assert [len(batch) for batch in seen] == [8, 8, 8]
    balanced = rows(70, balanced=True)
    assert len(drawn(balanced)) == 70


def test_windows_of_open_examples_are_drawn_by_the_seed_alone() -> None:
    class Open(InMemory):
        open = True

        @property
        def lengths(self) -> np.ndarray:
            return np.full(len(self), 12)

        def windows(self, positions: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
            return np.stack([self.array[p, :, s : s + size] for p, s in zip(positions, starts, strict=True)])

    whole = rows()
    assert isinstance(whole.store, InMemory)
    batches = Batches(Open(whole.store.array), whole.rows, whole.target.numpy(), None, CPU, window=6)
    twice = []
    for _ in range(2):
        model: Any = nn.Sequential(nn.BatchNorm1d(1))
        torch.rand(1)  # whatever else draws
        measured(model, batches, 16)
        twice.append(float(model[0].running_mean))
    assert twice[0] == twice[1]


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("keep", ["last", "loss"])
def test_what_is_judged_is_what_is_kept_and_gone_on_from(tmp_path: Path, ema: float | None, keep: Any) -> None:
    settings = replace(SETTINGS, ema=ema, keep=keep)
    made = fit(tmp_path, settings)
    history = Fold(tmp_path, 0).history()
    best = loop.best_epoch(history, settings, KL)
    judged = loop.evaluate(made, rows(30, seed=1), settings)
    assert judged["valid/loss"] == history[best]["valid/loss"]
    kept = {name: value.clone() for name, value in made.model.state_dict().items()}
    loop._measure(made, made.model, rows(), settings, Fold(tmp_path, 0))
    assert all(torch.equal(value, kept[name]) for name, value in made.model.state_dict().items())


def test_few_steps_predict_as_well_as_they_have_learned(tmp_path: Path) -> None:
    """Four steps: running averages are still two thirds of what they began with, 0 and 1."""
    ways: tuple[Any, ...] = ("exact", "running")
    settings = replace(SETTINGS, epochs=4, batch_size=64)
    losses = {}
    for way in ways:
        made = fit(tmp_path / way, replace(settings, batch_stats=way), n=64)
        losses[way] = Fold(tmp_path / way, 0).history()[-1]["valid/loss"]
        weights = [p.detach().clone() for p in made.model.parameters()]
        losses[f"{way} weights"] = float(sum(p.sum() for p in weights))
    assert losses["exact weights"] == losses["running weights"]  # training never looks at them
    assert losses["exact"] < losses["running"] - 0.05


def test_an_average_of_weights_is_measured_for_itself(tmp_path: Path) -> None:
    made: Any = fit(tmp_path, replace(SETTINGS, ema=0.95))
    seen = made.model[0](all_of(rows())).detach()
    torch.testing.assert_close(made.model[1].running_mean, seen.mean((0, 2)), rtol=1e-4, atol=1e-5)


def test_a_compiled_model_is_measured_alike() -> None:
    plain, compiled = network(), network()
    compiled.compile(backend="eager")
    compiled(all_of(rows()))
    for model in (plain, compiled):
        measured(model, rows())
    assert all(torch.equal(a, b) for a, b in zip(along(plain)[1].buffers(), along(compiled)[1].buffers(), strict=True)
               if a.ndim)  # fmt: skip


def rocket() -> Any:
    torch.manual_seed(0)
    return Rocket(InputSpec(1, (12,), ("a", "b", "c")), kernels=20)


@pytest.mark.parametrize("stats", ["exact", "running"])
def test_rocket_standardises_once_and_exactly(tmp_path: Path, stats: Any) -> None:
    model = rocket()
    made = fit(tmp_path, replace(SETTINGS, batch_stats=stats, ema=0.9), parts(model))
    number = model.numbers(all_of(rows())).double()
    torch.testing.assert_close(model.norm.running_mean.double(), number.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.norm.running_var.double(), number.var(0), rtol=1e-4, atol=1e-6)
    x = all_of(rows(5, seed=3))
    training, predicting = (made.model.train(mode)(x) for mode in (True, False))
    assert torch.equal(training, predicting)


@pytest.mark.slow
def test_rocket_that_died_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", made=parts(rocket()))
    fit(tmp_path / "resumed", replace(SETTINGS, epochs=1), parts(rocket()))
    anew = rocket()
    assert float(anew.norm.running_mean.abs().sum()) == 0
    resumed = fit(tmp_path / "resumed", made=parts(anew))
    assert len(once(anew)) == 1
    states = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_one_row_at_once_is_enough_for_what_is_measured_before_training(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1, batch_size=1, eval_batch_size=1)
    fit(tmp_path, settings, parts(rocket()), n=5)
    assert len(Fold(tmp_path, 0).history()) == 1


def test_a_block_measures_what_goes_through_within_it() -> None:
    model, x = network(), all_of(rows())
    with measuring(model, along(model)):
        for chunk in x.split(35):
            model(chunk)
    mean = model[0](x).mean((0, 2)).detach()
    torch.testing.assert_close(model[1].running_mean, mean, rtol=1e-5, atol=1e-6)


def test_the_network_that_stacks_predicts_as_well_as_it_has_learned() -> None:
    """Two steps on 300 rows: by running averages its answers would still be those of the start."""
    from bench.ensembling.stacking import Network

    rng = np.random.default_rng(0)
    target = np.eye(3)[rng.integers(3, size=300)]
    p_mnk = 0.2 / 3 + 0.8 * target[None]
    blend = Network([16], epochs=2, lr=0.05).fit(p_mnk, target, KL)
    assert KL.score(target, blend.apply(p_mnk)) < 0.5
