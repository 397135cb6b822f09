"""What a GPU computes beside a processor: losses, out-of-fold predictions, precisions, graphs, memory, resuming."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from bench.crossval.fold_training import Options
from bench.crossval.fused import train_folds
from bench.crossval.plan import make_plan
from bench.data import batches
from bench.data.batches import Batch
from bench.runs import frames
from bench.runs.run import Run
from bench.simulators import seti
from bench.training import parts
from bench.training.step import Step
from conftest import compose, train_here
from tiny import node, raw_files

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]
MAIN = {
    "hms": ("wavenet", "hms_waveform"),
    "freesound": ("cnn2d", "freesound_mfcc"),
    "seti": ("efficientnetv2", None),
    "heartbeat": ("heartbeat_net1", None),
}
"""Each competition's main model and its features in their small size."""
CALM = ["optimizer.lr=1e-5", "train.batch_size=16", "train.batch_stats=running"]
"""A deep network without trained weights makes differences of 1e-6 to ones of 0.1 within a few larger steps."""
TOLERANCE = {"float32": 5e-3, "bf16": 6e-2, "fp16": 3e-2}
"""Largest difference of a probability: sums in another order, after a few steps."""


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: raw_files(name, tmp_path_factory.mktemp(name)) for name in MAIN if name != "seti"}
    made["seti"] = tmp_path_factory.mktemp("seti")  # enough pixels for batch normalisation to be the same everywhere
    seti.simulate(made["seti"], n_train=32, n_test=2, n_old=0, height=32, width=64, seed=0)
    return made


@pytest.fixture(autouse=True)
def _exact_convolutions() -> Iterator[None]:
    """TF32 rounds inputs of convolutions to ten bits: it is what a GPU is used for, and too coarse to compare by."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def trained(
    roots: dict[str, Path],
    folder: Path,
    dataset: str,
    device: str,
    *overrides: str,
    compiled: str | None = None,
    **settings: Any,
) -> Run:
    model, features = MAIN[dataset]
    here = [f"dataset.root={roots[dataset]}", f"outputs={folder}/{device[:4]}", f"store={folder}/store", "workers=1"]
    small = ["split.n_splits=2", "train.epochs=1", "train.batch_size=4", "tracking.enabled=false", f"device={device}"]
    calm = CALM if dataset == "seti" else []
    recipe, names = compose(
        f"dataset={dataset}", f"model={model}", *here, *small, "optimizer.lr=1e-4", *calm, *overrides
    )
    small_model = node("model", model) | ({"resizer": [128, 128]} if dataset == "seti" else {})
    recipe = replace(recipe, model=small_model, train=replace(recipe.train, **settings))
    if features:
        recipe = replace(recipe, features=node("features", features))
    return train_here(recipe, names, device=device, compiled=compiled)


def predicted(run: Run) -> np.ndarray:
    return np.concatenate([frames.predictions(pd.read_parquet(fold.oof)) for fold in run.folds])


@pytest.mark.usefixtures("dropless")
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("dataset", MAIN)
def test_a_gpu_trains_and_predicts_as_a_processor(
    roots: dict[str, Path], tmp_path: Path, dataset: str, precision: str
) -> None:
    there = trained(roots, tmp_path, dataset, "cuda", precision=precision)
    here = trained(roots, tmp_path, dataset, "cpu", precision="float32")
    p, expected = predicted(there), predicted(here)
    assert np.isfinite(p).all()
    assert np.abs(p - expected).max() < TOLERANCE[precision]
    for fold, other in zip(there.folds, here.folds, strict=True):
        loss, wanted = fold.history()[-1]["train/loss"], other.history()[-1]["train/loss"]
        assert loss == pytest.approx(wanted, rel=20 * TOLERANCE[precision] / 3)
        how = "gathered from the store" if dataset == "freesound" else "held on cuda"  # windows are cut anew each epoch
        assert how in fold.log.read_text()


@pytest.fixture
def dropless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dropped is drawn on the device, where the numbers are others than a processor's."""
    build = parts.model

    def model(*arguments: Any) -> nn.Module:
        made = build(*arguments)
        for layer in made.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
            for rate in ("drop_rate", "drop_prob"):
                if hasattr(layer, rate):
                    setattr(layer, rate, 0.0)
        return made

    monkeypatch.setattr(parts, "model", model)


@pytest.mark.parametrize("overrides", [[], ["train.accumulate=2", "train.clip=1.0"], ["augment=[gain,mixup]"]])
@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_a_captured_step_drops_draws_and_adds_as_the_step_itself(
    roots: dict[str, Path], tmp_path: Path, precision: str, overrides: list[str]
) -> None:
    eager = trained(roots, tmp_path / "eager", "heartbeat", "cuda", *overrides, precision=precision, epochs=2)
    graph = trained(
        roots, tmp_path / "graph", "heartbeat", "cuda", *overrides, precision=precision, epochs=2, compiled="graph"
    )
    assert "captured" not in graph.fold(0).log.read_text()
    np.testing.assert_allclose(predicted(graph), predicted(eager), atol=1e-4)


def test_a_step_that_cant_be_captured_runs_as_it_is_and_says_so(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager = trained(roots, tmp_path / "eager", "heartbeat", "cuda")
    plain = Step.__call__

    def asking(step: Step, batch: Batch, share: Tensor | None) -> Tensor:
        loss = plain(step, batch, share)
        float(loss)  # waits for the device, which no graph can hold
        return loss

    monkeypatch.setattr(Step, "__call__", asking)
    asked = trained(roots, tmp_path / "asking", "heartbeat", "cuda", compiled="graph")
    assert "can't be captured as a CUDA graph, so it runs without one" in asked.fold(0).log.read_text()
    np.testing.assert_allclose(predicted(asked), predicted(eager), atol=1e-4)


@pytest.mark.parametrize("compiled", [None, "graph"])
@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_nothing_waits_for_the_device_at_a_step(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, compiled: str | None
) -> None:
    """However many steps an epoch has, the device is waited for as often."""
    waits: list[int] = []
    for batch_size in (8, 8, 2):  # the first run of a process waits for what is loaded then
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                folder = tmp_path / str(len(waits))
                trained(
                    roots, folder, "heartbeat", "cuda", f"train.batch_size={batch_size}", "augment=[gain,mixup]",
                    "train.eval_batch_size=64", precision=precision, compiled=compiled,
                )  # fmt: skip
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchroniz" in str(w.message) for w in caught))
    assert waits[1] == waits[2] > 0


@pytest.mark.usefixtures("dropless")
@pytest.mark.parametrize(("dataset", "how"), [("hms", "graph"), ("seti", "graph"), ("heartbeat", "true")])
def test_a_compiled_model_learns_the_same(roots: dict[str, Path], tmp_path: Path, dataset: str, how: str) -> None:
    eager = predicted(trained(roots, tmp_path / "eager", dataset, "cuda"))
    compiled = predicted(trained(roots, tmp_path / how, dataset, "cuda", compiled=how))
    np.testing.assert_allclose(compiled, eager, atol=5e-3)


def test_rows_that_are_copied_for_each_batch_train_as_those_held_on_the_device(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = trained(roots, tmp_path / "held", "hms", "cuda")
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    copied = trained(roots, tmp_path / "copied", "hms", "cuda")
    assert "held on cuda" in held.fold(0).log.read_text()
    assert "gathered from the store" in copied.fold(0).log.read_text()
    np.testing.assert_allclose(predicted(copied), predicted(held), atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_a_fold_goes_on_from_its_checkpoint(roots: dict[str, Path], tmp_path: Path, precision: str) -> None:
    constant = "scheduler=constant"
    whole = trained(roots, tmp_path / "whole", "heartbeat", "cuda", constant, precision=precision, epochs=2)
    first = trained(roots, tmp_path / "cut", "heartbeat", "cuda", constant, precision=precision)
    cut = trained(roots, tmp_path / "again", "heartbeat", "cuda", constant, precision=precision, epochs=2)
    for fold, source in zip(cut.folds, first.folds, strict=True):  # as if it had died after its first epoch
        for name in ("checkpoint.pt", "weights.safetensors", "history.json"):
            (fold.folder / name).write_bytes((source.folder / name).read_bytes())
        fold.done.unlink()
    again = trained(roots, tmp_path / "again", "heartbeat", "cuda", constant, precision=precision, epochs=2)
    assert [len(fold.history()) for fold in again.folds] == [2, 2]
    np.testing.assert_allclose(predicted(again), predicted(whole), atol=1e-5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU here")
def test_folds_on_two_devices_are_the_folds_on_one(roots: dict[str, Path], tmp_path: Path) -> None:
    one = trained(roots, tmp_path / "one", "heartbeat", "cuda:0")
    two = trained(roots, tmp_path / "two", "heartbeat", "cuda:1")
    assert one.identity == two.identity
    np.testing.assert_allclose(predicted(two), predicted(one), atol=1e-5)


@pytest.mark.parametrize("compiled", [None, "graph"])
@pytest.mark.parametrize(("model", "way"), [("mlp", "batched"), ("mlp", "streams"), ("heartbeat_net1", "streams")])
def test_folds_together_learn_what_each_learns_alone(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, way: str, compiled: str | None
) -> None:
    words = ["dataset=heartbeat", f"model={model}", f"dataset.root={roots['heartbeat']}", f"store={tmp_path}/store"]
    words += ["split.n_splits=3", "train.epochs=2", "train.min_steps=1", "train.batch_size=8", "device=cuda"]
    words += ["optimizer.lr=1e-4", "augment=[gaussian_noise]", "tracking.enabled=false", "workers=1"]
    single = train_here(*compose(*words, f"outputs={tmp_path}/alone"), device="cuda", compiled=compiled)
    monkeypatch.setattr("bench.crossval.fused.chosen", lambda *_: (way, "chosen by the test"))
    recipe, names = compose(*words, f"outputs={tmp_path}/together")
    plan = make_plan(recipe, names)
    plan.run.folder.mkdir(parents=True)
    plan.write()
    told = io.StringIO()
    options = Options(plan.run.folder, 0, device="cuda", compile=compiled)
    assert train_folds(options, [0, 1, 2], False, told, str) == 0
    assert "captured" not in told.getvalue()
    np.testing.assert_allclose(predicted(plan.run), predicted(single), atol=2e-4)


def test_two_ranks_on_one_gpu_train_as_one_process(roots: dict[str, Path], tmp_path: Path) -> None:
    """They share the GPU, which NCCL refuses and gloo does not; batch normalisation is over the whole batch."""
    words = ["dataset=heartbeat", f"dataset.root={roots['heartbeat']}", "model=resnet1d", "model.dropout=0", *CALM]
    words += [
        "train.epochs=2",
        "train.min_steps=1",
        "folds.only=[0]",
        "tracking.enabled=false",
        f"store={tmp_path}/store",
    ]
    torch_run = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    tables = []
    for name, ranks in (("one", []), ("two", torch_run)):
        command = [sys.executable, "-m", *ranks, "bench.train", *words, "device=cuda:0", f"outputs={tmp_path / name}"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert ended.returncode == 0, ended.stderr
        tables.append(pd.read_parquet(next((tmp_path / name).glob("heartbeat/*/*/oof.parquet"))).filter(like="pred_"))
    assert np.abs(tables[0].to_numpy() - tables[1].to_numpy()).max() < TOLERANCE["float32"]
