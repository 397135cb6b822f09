"""``bench.load``: a run that predicts raw examples and folders alike, and names what it can't."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench.atomic import read_json, write_json
from bench.data.ragged import Ragged
from bench.prediction.blended import load
from bench.prediction.predictor import Predictor
from bench.runs.frames import predictions
from bench.runs.run import Run
from bench.spec import UserError
from conftest import compose, small_overrides, train_here
from fake_run import rewrite

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(beats: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two folds of heartbeat × mlp; tests that change it take a ``copied`` one."""
    folder = tmp_path_factory.mktemp("trained")
    return train_here(*compose(*small_overrides(beats, folder), "train.epochs=1"))


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(run.folder, tmp_path / "copied")))


@pytest.fixture
def new(beats: Path, tmp_path: Path) -> Path:
    """A folder of test files alone."""
    (tmp_path / "new").mkdir()
    shutil.copy(beats / "testA.csv", tmp_path / "new")
    return tmp_path / "new"


def test_folders_lists_and_single_examples_are_predicted_alike(run: Run, new: Path, tmp_path: Path) -> None:
    predictor = bench.load(run.folder, device="cpu", store=tmp_path / "store")
    frame = predictor.predict(new)
    assert list(frame) == ["id", *(f"pred_{name}" for name in predictor.classes)]
    dataset = predictor.open(new)
    raw = [dataset.read("test", i) for i in range(len(frame))]
    found = predictor.predict(raw)
    assert (found.shape, found.dtype) == ((24, 4), np.float64)
    np.testing.assert_array_equal(found, predictions(frame))
    np.testing.assert_allclose(predictor.predict(raw[3]), found[3:4], atol=1e-6)
    assert predictor.predict([]).shape == (0, 4)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ([np.zeros((1, 64)), np.zeros((1, 65))], r"raw example 1 can't be used \(it has the shape \(1, 65\), expected"),
        ([np.full((1, 64), np.nan)], r"raw example 0 can't be used \(its features are not finite\)"),
        ([np.full((1, 64), 1e39)], "not finite"),  # as it is stored
        (["beat"], "raw example 0 can't be used .*; give what heartbeat's Dataset.read returns, in a list"),
    ],
)  # fmt: skip
def test_a_raw_example_that_can_not_be_used_is_named(run: Run, raw: list[Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        bench.load(run.folder, device="cpu").predict(raw)


def test_import_bench_loads_nothing_heavy() -> None:
    code = "import bench, sys; bench.load; print(sorted(m for m in ('torch', 'numpy', 'pandas') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_run_that_does_not_know_its_classes_is_refused(copied: Run, new: Path, tmp_path: Path) -> None:
    rewrite(copied, "inputs.json", facts={"classes": ["0", "1"], "length": 64})
    with pytest.raises(UserError, match="does not agree with itself on classes or sizes"):
        load(copied.folder, device="cpu").predict(new)
    inputs = read_json(copied.folder / "inputs.json")
    del inputs["facts"]
    write_json(copied.folder / "inputs.json", inputs)
    with pytest.raises(UserError, match="an earlier version trained it; run the same training command again"):
        load(copied.folder, device="cpu").predict(new)


def test_beats_of_another_length_are_refused(run: Run, tmp_path: Path) -> None:
    from bench.simulators.heartbeat import simulate

    (tmp_path / "long").mkdir()
    simulate(tmp_path / "long", n_train=10, n_test=3, length=65, seed=1)
    with pytest.raises(UserError, match=r"testA.csv has 3 rows that are not 64 numbers"):
        Predictor(run, device="cpu", store=tmp_path / "store").predict(tmp_path / "long")


def test_a_dataset_opened_to_predict_travels_to_a_worker_and_has_no_training_table(run: Run, new: Path) -> None:
    dataset = pickle.loads(pickle.dumps(load(run.folder, device="cpu").open(new)))
    assert (dataset.classes, dataset.length) == (("0", "1", "2", "3"), 64)
    assert dataset.read("test", 3).shape == (1, 64)
    with pytest.raises(UserError, match="was opened to predict: its training files are not read"):
        dataset.table("train")


def test_windows_of_ragged_rows_have_zeros_around_short_ones() -> None:
    rows = Ragged([np.arange(1, 4)[None], np.arange(10, 20)[None]])
    assert (len(rows), rows.shape, rows.lengths.tolist(), rows.open) == (2, (1, None), [3, 10], True)
    found = rows.windows(np.array([0, 1, 0, 1]), np.array([-1, 8, 5, 2]), 5)
    assert found[:, 0].tolist() == [[0, 1, 2, 3, 0], [18, 19, 0, 0, 0], [0] * 5, [12, 13, 14, 15, 16]]
