"""Folds that train together end where each alone does: same rows, same chance, same early end, same resuming."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from bench.crossval import fused, processes
from bench.crossval.fold import _sentence
from bench.crossval.fold_training import Options
from bench.crossval.plan import make_plan
from bench.data.batches import Batch
from bench.runs import frames
from bench.runs.run import Run
from bench.spec import UserError
from bench.training import together
from bench.training.batched import Batched, CantBeBatched
from bench.training.step import Ask, Step, Training
from bench.training.together import Together
from conftest import Composed, train_here
from screens import Screen

Small = Callable[..., Composed]
pytestmark = pytest.mark.usefixtures("one_thread")


def written(composed: Composed) -> Run:
    plan = make_plan(*composed)
    plan.run.folder.mkdir(parents=True, exist_ok=True)
    plan.write()
    return plan.run


def train(run: Run, numbers: list[int], always: bool = True, events: Any = None) -> list[dict[str, Any]]:
    """Trains the folds in this process; returns the events."""
    told = events or io.StringIO()
    fused.train_folds(Options(run.folder, numbers[0], device="cpu"), numbers, always, told, _sentence)
    return [json.loads(line) for line in told.getvalue().splitlines()]


def predicted(run: Run) -> np.ndarray:
    return np.concatenate([frames.predictions(pd.read_parquet(fold.oof)) for fold in run.folds])


MODELS = {
    "mlp": ("model.dropout=0.3", "model.hidden=[8]"),
    "resnet1d": ("model.width=8", "model.out_width=16"),
    "cnn1d": ("model.filters=[4,4,4,8]", "model.hidden=[8]"),
    "wavenet": ("model.filters=[4,8]", "model.layers=[3,2]"),
    "heartbeat_net1": ("model.hidden=[16,8]",),
}
SETTINGS = (
    *("split.n_splits=3", "train.epochs=3", "train.min_steps=1", "train.batch_size=8", "train.keep=loss"),
    *("augment=[gaussian_noise,mixup]", "train.patience=1", "train.clip=1.0", "optimizer.lr=1e-4"),
)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_folds_as_one_batched_model_learn_what_each_learns_alone(small: Small, tmp_path: Path, model: str) -> None:
    more = (f"model={model}", *MODELS[model], *SETTINGS)
    single = train_here(*small(*more, f"outputs={tmp_path / 'alone'}"))
    run = written(small(*more))
    events = train(run, [0, 1, 2])
    assert run.identity == single.identity
    assert "as one batched model" in next(event["text"] for event in events if "ms" in event.get("text", ""))
    assert {event["fold"] for event in events if event["kind"] == "ended" and not event["failed"]} == {0, 1, 2}
    assert np.abs(predicted(run) - predicted(single)).max() < 2e-4
    for fold, other in zip(run.folds, single.folds, strict=True):
        history, wanted = fold.history(), other.history()
        assert [entry["step"] for entry in history] == [entry["step"] for entry in wanted], "early stopping"
        assert [e["valid/loss"] for e in history] == pytest.approx([e["valid/loss"] for e in wanted], rel=1e-3)
        assert json.loads(fold.done.read_text())["kept_epoch"] == json.loads(other.done.read_text())["kept_epoch"]
        sizes = fold.checkpoint.stat().st_size, other.checkpoint.stat().st_size
        assert sizes[0] < 1.1 * sizes[1] + 4096, "a checkpoint holds its own fold's weights alone"


class _Cut(io.StringIO):
    """Events of which the ``n``-th epoch interrupts."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left = n

    def write(self, text: str) -> int:
        self.left -= '"kind": "epoch"' in text
        if self.left == 0:
            raise KeyboardInterrupt
        return super().write(text)


@pytest.mark.slow
def test_folds_together_go_on_from_their_checkpoints(small: Small, tmp_path: Path) -> None:
    more = ("split.n_splits=3", "train.epochs=3", "train.batch_size=8", "train.min_steps=1")
    whole, run = written(small(*more, f"outputs={tmp_path / 'whole'}")), written(small(*more))
    train(whole, [0, 1, 2])
    with pytest.raises(KeyboardInterrupt):
        train(run, [0, 1, 2], events=_Cut(5))
    assert [fold.done.exists() for fold in run.folds] == [False] * 3
    events = train(run, [0, 1, 2])
    assert sum(event["kind"] == "epoch" for event in events) == 3 * 3 - 5, "an epoch in a checkpoint is not repeated"
    assert predicted(run) == pytest.approx(predicted(whole), abs=1e-5)


def test_without_a_gain_the_first_fold_trains_alone_and_the_others_are_given_back(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.crossval.fused.GAIN", 1e9)
    run = written(small("split.n_splits=3", "train.epochs=1", "train.min_steps=1"))
    events = train(run, [0, 1, 2], always=False)
    assert {"fold": 0, "kind": "apart"} in events
    assert [fold.done.exists() for fold in run.folds] == [True, False, False]


def asking(steps: list[Step], sizes: list[int], drawn: list[float], breaks: bool = False) -> Training:
    """A fold that asks for batches of these sizes, and draws a number before each."""
    for step, size in zip(steps, sizes, strict=True):
        drawn.append(float(torch.rand(1)))
        yield Ask(step, Batch(torch.ones(size, 1, 4), torch.eye(2)[torch.zeros(size, dtype=torch.int64)]), None)
        if breaks:
            raise UserError("this fold is no good")


def squared(answer: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return (answer - target).square().mean()


def step_of(model: nn.Module) -> Step:
    return Step(model, squared, "float32", torch.amp.GradScaler("cpu", enabled=False), False)


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


def test_what_ends_a_fold_ends_no_other_and_each_draws_for_itself() -> None:
    ended, drawn = dict[int, str](), [list[float]() for _ in range(3)]
    folds = Together(torch.device("cpu"), lambda number, error: ended.__setitem__(number, str(error)))
    for number, sizes in enumerate(([8, 8, 3], [8, 8, 8, 5], [8, 8, 8])):
        torch.manual_seed(7)  # what each begins with
        steps = [step_of(net())] * len(sizes)
        folds.begin(number, asking(steps, sizes, drawn[number], breaks=number == 2))
    folds.train("batched")
    assert ended == {0: "None", 1: "None", 2: "this fold is no good"}
    assert drawn[1][:3] == drawn[0]
    assert len(set(drawn[1])) == 4


def test_gradients_of_a_batched_model_add_up_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    models = [net() for _ in range(3)]
    copies = [net() for _ in range(3)]
    for copy, model in zip(copies, models, strict=True):
        copy.load_state_dict(model.state_dict())
    batched = Batched([0, 1, 2], [step_of(m) for m in models], [])
    for _ in range(2):
        asks = [Ask(step_of(m), Batch(torch.randn(6, 1, 4), torch.randn(6, 2)), torch.tensor(0.5)) for m in models]
        losses = batched(asks)
        expected = [Ask(step_of(c), a.batch, a.share).answer() for c, a in zip(copies, asks, strict=True)]
        assert torch.stack(losses) == pytest.approx(torch.stack(expected))
    for model, copy in zip(models, copies, strict=True):
        for own, other in zip(model.parameters(), copy.parameters(), strict=True):
            assert own.grad == pytest.approx(other.grad, abs=1e-7)


class Counting(nn.Module):
    """What depends on the values cannot be one model for all."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(1))
        return out if out.sum() > 0 else -out


def test_a_model_that_cannot_be_batched_says_so_and_trains_apart() -> None:
    step, batch = step_of(Counting()), Batch(torch.ones(6, 1, 4), torch.ones(6, 2))
    with pytest.raises(CantBeBatched, match="vmap"):
        Batched([0, 1], [step_of(Counting()), step], [])([Ask(step, batch, None)] * 2)
    way, measured = together.chosen(Ask(step, batch, None), 2, 0.0)
    assert (way, "no other way is possible" in measured) == (None, True)
    assert all(parameter.grad is None for parameter in step.model.parameters()), "a trial changes nothing of the fold"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("folds.fused=true", "folds.parallel=2"), "leave folds.parallel out"),
        (("folds.fused=true", "compile=true"), "leave out compile=true, or take compile=graph"),
        (("folds.fused=true", "compile=auto"), "leave out compile=auto, or take compile=graph"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(small: Small, words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make_plan(*small(*words))


@pytest.mark.slow
def test_one_process_trains_all_folds(small: Small) -> None:
    run, screen = written(small("split.n_splits=3", "train.epochs=1", "train.min_steps=1")), Screen()
    assert processes.train(run, [0, 1, 2], None, ["cpu"], False, screen, True) == []
    assert (sorted(screen.started), sorted(screen.finished), screen.failed) == ([0, 1, 2], [0, 1, 2], {})
    assert all(fold.done.exists() for fold in run.folds)


class Ended:
    """A process that is over; ``code`` is its exit code."""

    def __init__(self, code: int) -> None:
        self.stdin, self.stdout, self.code = io.BytesIO(), None, code

    def wait(self, timeout: float | None = None) -> int:
        return self.code


def test_folds_that_are_given_back_get_processes_of_their_own_and_each_end_is_told_once(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[tuple[int, ...]]()

    def start(run: Run, group: tuple[int, ...], told: list[str], threads: int, events: Any) -> Ended:
        started.append(group)
        if len(group) > 1:
            assert told[-2:] == ["--fused", "auto"]
            events.put((group, {"fold": group[0], "kind": "apart"}))
            events.put((group, {"fold": group[0], "kind": "ended", "failed": True}))
        events.put((group, None))
        return Ended(len(group) > 1)

    monkeypatch.setattr("bench.crossval.processes._start", start)
    monkeypatch.setattr("bench.crossval.processes.start_together", lambda *_: True)
    run, screen = written(small("split.n_splits=3")), Screen()
    run.fold(0).folder.mkdir(parents=True)
    run.fold(0).log.write_text("a reason", encoding="utf-8")
    assert processes.train(run, [0, 1, 2], None, ["cpu"], False, screen, "auto") == [0]
    assert started == [(0, 1, 2), (1,), (2,)]
    assert (screen.finished, screen.failed) == ([1, 2], {0: "ended with exit code 1"})


def test_folds_are_started_together_where_that_is_asked_for_and_by_themselves_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert processes.start_together(True, None, ["cpu"], False)
    assert not processes.start_together("auto", None, ["cpu"], False)
    monkeypatch.setattr("bench.training.device.choose", lambda name: torch.device("cuda"))
    assert processes.start_together("auto", None, ["cuda"], "graph")
    assert not processes.start_together("auto", 2, ["cuda"], False), "side by side was asked for"
    assert not processes.start_together("auto", None, ["cuda"], True)
    assert not processes.start_together("auto", None, ["cuda"], "auto"), "each fold decides for itself"
    assert not processes.start_together(False, None, ["cuda"], False)
