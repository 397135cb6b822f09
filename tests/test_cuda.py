"""What a GPU computes beside a processor: losses, out-of-fold predictions, precisions, graphs, memory, resuming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench.data import batches
from bench.runs import frames
from bench.runs.run import Run
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
TOLERANCE = {"float32": 5e-3, "bf16": 6e-2, "fp16": 3e-2}
"""Largest difference of a probability: sums in another order, after a few steps."""


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: raw_files(name, tmp_path_factory.mktemp(name)) for name in MAIN}


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
    recipe, names = compose(f"dataset={dataset}", f"model={model}", *here, *small, "optimizer.lr=1e-4", *overrides)
    recipe = replace(recipe, model=node("model", model), train=replace(recipe.train, **settings))
    if features:
        recipe = replace(recipe, features=node("features", features))
    return train_here(recipe, names, device=device, compiled=compiled)


def predicted(run: Run) -> np.ndarray:
    return np.concatenate([frames.predictions(pd.read_parquet(fold.oof)) for fold in run.folds])


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
        assert "held on cuda" in fold.log.read_text()


@pytest.mark.parametrize("how", ["true", "graph"])
@pytest.mark.parametrize("dataset", ["hms", "heartbeat"])
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
