"""What several tests share: small simulated data and a way to compose a command without a process."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from bench.runs.recipe import Recipe, composed
from bench.runs.run import Run

Composed = tuple[Recipe, dict[str, str]]


def compose(*overrides: str) -> Composed:
    """The recipe and the groups' choices of ``python -m bench.train <overrides>``."""
    from bench.cli.compose import compose

    config, names = compose("train", overrides)
    return composed(Recipe, config, "bench.train"), names


def train_here(
    recipe: Recipe,
    names: dict[str, str],
    folds: list[int] | None = None,
    device: str = "cpu",
    compiled: str | None = None,
) -> Run:
    """Plans the run and trains its folds in this process, which spares a new one's start; nothing is collected."""
    from bench.crossval.plan import make_plan

    plan = make_plan(recipe, names)
    plan.run.folder.mkdir(parents=True, exist_ok=True)
    plan.write()
    _train_on(plan.run, folds or plan.folds, device, compiled)
    return plan.run


def _train(run: Run, numbers: Sequence[int], *_: object) -> list[int]:
    """What ``bench.crossval.processes.train`` does, without processes."""
    _train_on(run, numbers, "cpu", None)
    return []


def _train_on(run: Run, numbers: Sequence[int], device: str, compiled: str | None) -> None:
    from bench.crossval.fold_training import Options, train_fold

    for number in numbers:
        run.fold(number).folder.mkdir(parents=True, exist_ok=True)
        told, threads = io.StringIO(), torch.get_num_threads()
        train_fold(Options(run.folder, number, device=device, compile=compiled), told)
        torch.set_num_threads(threads)
        run.fold(number).log.write_text(told.getvalue(), encoding="utf-8")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As many as ``train_here`` trains with: sums of another number of threads end in other bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs whose folds train in the test's own process: for what is not about processes."""
    monkeypatch.setattr("bench.crossval.processes.train", _train)


@pytest.fixture(scope="session")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated heartbeat root."""
    from bench.simulators.heartbeat import simulate

    root = tmp_path_factory.mktemp("beats")
    simulate(root, n_train=160, n_test=24, length=64, seed=1)
    return root


@pytest.fixture
def small(beats: Path, tmp_path: Path) -> Callable[..., Composed]:
    """Composes a quick heartbeat × mlp command in ``tmp_path``; more overrides win."""

    def make(*overrides: str) -> Composed:
        return compose(
            *small_overrides(beats, tmp_path),
            *overrides,
        )

    return make


def small_overrides(beats: Path, folder: Path) -> list[str]:
    return [
        "dataset=heartbeat",
        "model=mlp",
        f"dataset.root={beats}",
        f"outputs={folder / 'outputs'}",
        f"store={folder / 'store'}",
        "train.epochs=2",
        "split.n_splits=2",
        "device=cpu",
        "tracking.enabled=false",
    ]
