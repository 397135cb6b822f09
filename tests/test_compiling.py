"""compile=auto: a model is compiled where that pays in what is left, which a fold decides once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.data.batches import Batch
from bench.training import compiling
from bench.training.step import Ask, Step
from conftest import Composed, compose, train_here

Small = Callable[..., Composed]


class Net(nn.Module):
    """Counts how often it is compiled, and gets ``faster`` by it; the clock is its own."""

    clock = 0.0

    def __init__(self, faster: float = 1.0, fails: bool = False) -> None:
        super().__init__()
        self.layer, self.seconds, self.faster, self.fails = nn.Linear(4, 2), 1.0, faster, fails

    def compile(self, *_: Any, **__: Any) -> None:
        if self.fails:
            raise RuntimeError("no C++ compiler\nand a long trace")
        self.seconds /= self.faster

    def forward(self, x: Tensor) -> Tensor:
        Net.clock += self.seconds
        out: Tensor = self.layer(x.flatten(1))
        return out


def ask(net: nn.Module) -> Ask:
    def loss(answer: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        return (answer - target).square().mean()

    step = Step(net, loss, "float32", torch.amp.GradScaler("cpu", enabled=False), False)
    return Ask(step, Batch(torch.ones(3, 1, 4), torch.ones(3, 2)), None)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(perf_counter=lambda: Net.clock)
    monkeypatch.setattr("bench.training.together.time", now)
    monkeypatch.setattr("bench.training.compiling.time", now)


@pytest.mark.parametrize(
    ("net", "left", "pays", "told"),
    [
        (Net(faster=2.0), 1000.0, True, "a step 1000 ms, compiled 500 ms"),
        (Net(faster=1.0), 1000.0, False, "not compiled"),
        (Net(faster=0.5), 1000.0, False, "compiled 2000 ms"),
        (Net(fails=True), 1000.0, False, "can't be compiled here: no C++ compiler"),
        (Net(faster=2.0), 599.0, False, None),
    ],
)
def test_it_pays_where_the_compiled_step_saves_more_than_compiling_takes(
    net: Net, left: float, pays: bool, told: str | None
) -> None:
    decided, measured = compiling.pays(ask(net), left)
    assert decided is pays
    assert (told in measured) if told and measured else (measured is told)
    assert (net.seconds, net.layer.weight.grad) == (1.0, None), "the trial is made on copies"


def test_a_fold_decides_once_and_a_resumed_one_abides_by_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, compiled = list[float](), list[nn.Module]()

    def pays(ask: Ask, left: float) -> tuple[bool, str]:
        trials.append(left)
        return True, "it pays"

    monkeypatch.setattr("bench.training.compiling.pays", pays)
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    run = train_here(*small("train.epochs=2", "train.min_steps=1"), folds=[0], compiled="auto")
    assert (len(trials), len(compiled)) == (1, 1)
    assert json.loads((run.fold(0).folder / "compiled.json").read_text()) is True
    assert "it pays" in run.fold(0).log.read_text()
    train_here(*small("train.epochs=2", "train.min_steps=1"), folds=[0], compiled="auto")
    assert (len(trials), len(compiled)) == (1, 1), "nothing is left to train"
    run.fold(0).checkpoint.unlink()
    train_here(*small("train.epochs=2", "train.min_steps=1"), folds=[0], compiled="auto")
    assert (len(trials), len(compiled)) == (2, 2), "begun anew, it decides anew"


def test_auto_is_a_way_to_compile() -> None:
    recipe, _ = compose("dataset=heartbeat", "model=mlp", "compile=auto")
    assert recipe.compile == "auto"
