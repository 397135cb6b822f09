"""One fold over several processes: the numbers of one process, whatever the batch; all end when a rank does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn

from bench import leaderboard, train
from bench.cli import door
from bench.crossval import checks, torchrun
from bench.data.batches import Batch
from bench.runs.recipe import deciding
from bench.runs.run import Fold, Run
from bench.spec import UserError
from bench.training import ranks
from bench.training.step import Step
from conftest import Composed, compose, small_overrides

ROWS = (9, 8, 1)
"""Batches that two ranks can't share evenly, can, and can't at all."""


def trained(rank: int, world: int, port: int, synced: bool, folder: Path) -> None:
    """Steps of a small network with batch normalisation; leaves losses, gradients and statistics of each."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    layers = [nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 4, 3), nn.BatchNorm1d(4)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)).train()
    step = Step(model, _loss, "float32", torch.amp.GradScaler("cpu", enabled=False), summed=False)
    if world > 1:
        ranks.join(f"127.0.0.1:{port}", str(synced), rank, world, torch.device("cpu"))
        step = ranks.SharedStep(step, torch.device("cpu"), synced)
    left = []
    for n in ROWS:
        batch = Batch(torch.randn(n, 2, 30), torch.randn(n, 3).softmax(-1), torch.rand(n) + 0.1)
        model.zero_grad()
        left += [step(batch, torch.tensor(0.5)), *[p.grad for p in model.parameters()], *model.buffers()]
        left = [value.detach().clone() for value in left if value is not None]
    torch.save(left, folder / f"{world}_{rank}_{synced}.pt")
    ranks.leave()


def _loss(answer: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """One that is no mean of its parts: rows count by their share of the batch's weights, and the batch's worst too."""
    each = (answer.softmax(-1) - target).square().sum(-1)
    return (each * weight).sum() / weight.sum() + each.max()


def _values(folder: Path, world: int, rank: int, synced: bool) -> list[torch.Tensor]:
    values: list[torch.Tensor] = torch.load(folder / f"{world}_{rank}_{synced}.pt", weights_only=True)
    return values


@pytest.mark.slow
def test_two_ranks_step_as_one_process(tmp_path: Path) -> None:
    trained(0, 1, 0, True, tmp_path)
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    spawn(_spawned, (store.port, tmp_path), nprocs=2)
    one, (first, second) = _values(tmp_path, 1, 0, True), [_values(tmp_path, 2, rank, True) for rank in (0, 1)]
    for alone, mine, other in zip(one, first, second, strict=True):
        torch.testing.assert_close(mine, alone, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(other, mine, rtol=0, atol=0)
    first, second = [_values(tmp_path, 2, rank, False) for rank in (0, 1)]
    assert abs(first[0] - one[0]) > 1e-6, "each rank normalises its own part"
    assert torch.equal(first[0], second[0]), "the loss is the whole batch's all the same"


def _spawned(rank: int, port: int, folder: Path) -> None:
    for synced in (True, False):
        trained(rank, 2, port, synced, folder)


@pytest.fixture
def words(beats: Path, tmp_path: Path) -> list[str]:
    few = ["model.dropout=0", "split.n_splits=2", "loss=ce"]
    few += ["train.batch_size=19", "train.accumulate=2", "train.ema=0.9", "train.clip=1"]
    few += [
        "pictures=false",
        "train.keep=metric",
        "train.patience=2",
        "+augment=[mixup]",
        "tracking.enabled=false",
        "folds.only=[0]",
    ]
    small = [word for word in small_overrides(beats, tmp_path) if not word.startswith(("outputs", "train."))]
    return [*small, *few]


def command(words: list[str], folder: Path, n: int) -> list[str]:
    torch_run = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", "-m", "bench.train"]
    return [sys.executable, *torch_run, *words, f"outputs={folder}"]


def predictions(folder: Path) -> np.ndarray:
    table = pd.read_parquet(next(folder.glob("heartbeat/*/*/oof.parquet")))
    return table.filter(like="pred_").to_numpy()


@pytest.mark.slow
def test_a_run_under_torchrun_is_the_run_of_one_process_and_survives_its_ranks(
    words: list[str], tmp_path: Path
) -> None:
    """Mixed rows, accumulation, clipping, a moving average, early stopping; a rank's process is killed.

    Of a network without batch normalisation: with it, one process with another number of threads differs as much.
    """
    long = [*words, "train.epochs=120", "train.patience=120"]
    started = subprocess.Popen(command(long, tmp_path / "two", 2), stderr=subprocess.PIPE, text=True)
    _kill_the_second_ranks_fold(started, tmp_path / "two")
    said = started.communicate(timeout=120)[1]
    assert started.returncode != 0
    assert "rank 1    fold 0 was killed (signal 9)" in said
    assert "the same command goes on" in said
    after = len(_fold(tmp_path / "two").history())
    assert 0 < after < 120
    resumed = subprocess.run(command(long, tmp_path / "two", 2), capture_output=True, text=True, timeout=240)
    assert resumed.returncode == 0, resumed.stderr
    assert door.run(train.COMMAND, [*long, f"outputs={tmp_path / 'one'}"]) == 0
    assert predictions(tmp_path / "two") == pytest.approx(predictions(tmp_path / "one"), abs=2e-3)
    first, second = _fold(tmp_path / "one").history(), _fold(tmp_path / "two").history()
    assert [entry["step"] for entry in first] == [entry["step"] for entry in second]
    losses = [[entry["train/loss"] for entry in history] for history in (first, second)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    assert losses[1][0] == pytest.approx(losses[0][0], abs=1e-5)


def _fold(outputs: Path) -> Fold:
    return Run(next(outputs.glob("heartbeat/*/*/config.yaml")).parent).fold(0)


def _kill_the_second_ranks_fold(started: subprocess.Popen[str], outputs: Path) -> None:
    """Its command's child is the fork server, whose child trains."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not list(outputs.glob("heartbeat/*/*/folds/0/history.json")):
        time.sleep(0.1)
    second = next(p for p in psutil.Process(started.pid).children() if p.environ().get("RANK") == "1")
    next(grandchild for child in second.children() for grandchild in child.children()).kill()


@pytest.mark.parametrize(
    ("word", "told"),
    [("folds.launcher=submitit", "folds.launcher=submitit"), ("folds.fused=true", "folds.fused=True"),
     ("compile=graph", "compile=graph")],
)  # fmt: skip
def test_what_torchrun_cannot_train_is_one_sentence(
    word: str, told: str, monkeypatch: pytest.MonkeyPatch, small: Callable[..., Composed]
) -> None:
    recipe, _ = small(word)
    monkeypatch.setattr(torchrun, "here", lambda: torchrun.Ranks(0, 2, 0, 2, "127.0.0.1:1", "0"))
    with pytest.raises(UserError, match=f"leave out {told}"):
        checks.values(recipe)


def test_torchrun_is_for_training_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert door.run(leaderboard.COMMAND, []) == 2
    assert "torchrun is for python -m bench.train alone; start bench.leaderboard without it" in capsys.readouterr().err


def test_each_rank_has_a_gpu_of_its_own_unless_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    places = [torchrun.Ranks(rank, 2, rank, 2, "127.0.0.1:1", "0") for rank in (0, 1)]
    assert [place.device(["auto"]) for place in places] == [("cuda:0", False), ("cuda:1", False)]
    assert [place.device(["cuda:0"]) for place in places] == [("cuda:0", True)] * 2
    assert [place.device(["cuda:1", "cuda:0"]) for place in places] == [("cuda:1", False), ("cuda:0", False)]
    assert [place.device(["cpu"]) for place in places] == [("cpu", False)] * 2
    with pytest.raises(UserError, match="started 3 processes, and here are 2 GPUs"):
        torchrun.Ranks(2, 3, 2, 3, "127.0.0.1:1", "0").device(["auto"])


def test_a_key_that_came_later_leaves_earlier_runs_their_identity(beats: Path, tmp_path: Path) -> None:
    usual, _ = compose(*small_overrides(beats, tmp_path))
    other, _ = compose(*small_overrides(beats, tmp_path), "train.sync_batch_norm=false")
    assert "sync_batch_norm" not in deciding(usual)["train"]
    assert deciding(other)["train"]["sync_batch_norm"] is False


def test_one_process_is_no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    torchrun.here.cache_clear()
    assert torchrun.here() is None
    assert torchrun.run(lambda: 7) == 7
    assert (ranks.rank(), ranks.world(), ranks.leads()) == (0, 1, True)
    assert ranks.first_says("x", torch.device("cpu")) == "x"
