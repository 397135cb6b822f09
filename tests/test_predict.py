"""Predicting with a finished run: the same bits as training left, test files alone, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench.atomic import read_json, write_json
from bench.build import locate
from bench.cli.words import quoted
from bench.crossval.collect import collect
from bench.predict import COMMAND
from bench.prediction.command import predict
from bench.runs.frames import predictions
from bench.runs.run import Run
from bench.spec import UserError
from bench.training import checkpoint
from bench.training.loading import trained_fold
from commands import command, made, write_sample
from conftest import compose, small_overrides, train_here
from tiny import SIZES, raw_files

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def finished(root: Path, folder: Path, *overrides: str, folds: list[int] | None = None) -> Run:
    run = train_here(*compose(*small_overrides(root, folder), "train.epochs=1", *overrides), folds)
    collect(run, locate(run.made_by.dataset, "dataset").metric)  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def run(beats: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two folds of heartbeat × mlp; tests that change it take a ``copied`` one."""
    return finished(beats, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(run.folder, tmp_path / "copied")))


@pytest.fixture
def new(beats: Path, tmp_path: Path) -> Path:
    """A folder of test files alone."""
    (tmp_path / "new").mkdir()
    shutil.copy(beats / "testA.csv", tmp_path / "new")
    return tmp_path / "new"


def test_the_runs_own_test_rows_are_predicted_to_the_same_bits(
    copied: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = predict(command(tmp_path, f"run={copied.folder}"))
    folder = made(capsys)
    assert folder.parent == copied.folder / "predictions"
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "test.parquet"), pd.read_parquet(copied.folder / "test.parquet")
    )
    assert len(pd.read_csv(folder / "submission.csv")) == 24
    assert read_json(folder / "inputs.json")["test"] == copied.inputs.test
    assert (outcome.failed, outcome.scores) == ([], copied.scores())


def test_a_run_moved_without_its_raw_files_predicts_test_files_alone(
    beats: Path, tmp_path: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = Path(shutil.copytree(beats, tmp_path / "raw"))
    trained = finished(raw, tmp_path / "there")
    moved = Path(shutil.move(trained.folder, tmp_path / "moved"))
    shutil.rmtree(raw)
    shutil.rmtree(tmp_path / "there")
    with pytest.raises(UserError, match=r"raw, on which the run was trained, is not here; .*: input="):
        predict(command(tmp_path, f"run={moved}"))
    predict(command(tmp_path, f"run={moved}", f"input={new}"))
    found = pd.read_parquet(made(capsys) / "test.parquet")
    pd.testing.assert_frame_equal(found, pd.read_parquet(moved / "test.parquet"))


@pytest.mark.parametrize(
    ("name", "gone", "overrides"),
    [
        ("hms", ["train.csv", "train_eegs", "train_spectrograms"], ["features=hms_waveform", "model=mlp"]),
        ("hms", ["train.csv", "train_eegs", "train_spectrograms"], ["features=hms_image", "model=cnn2d"]),
        ("seti", ["train_labels.csv", "train"], ["features=seti_sequence", "model=mlp"]),
        ("freesound", ["train.csv", "audio_train"], ["features=freesound_waveform", "model=mlp"]),
        ("freesound", ["train.csv", "audio_train"], ["features=freesound_mfcc", "model=cnn2d"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_every_dataset_predicts_without_its_training_files_and_raw_examples_alike(
    name: str, gone: list[str], overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = raw_files(name, tmp_path / "raw")
    features = overrides[0].partition("=")[2]
    sizes = [f"features.{key}={value}" for key, value in SIZES.get(features, {}).items()]
    # the last dataset= wins
    trained = finished(root, tmp_path, f"dataset={name}", *overrides, *sizes, "split.strict=false", folds=[0])
    for path in gone:
        (shutil.rmtree if (root / path).is_dir() else Path.unlink)(root / path)
    predict(command(tmp_path, f"run={trained.folder}", f"input={root}", "folds=[0]"))
    folder = made(capsys)
    found = pd.read_parquet(folder / "test.parquet")
    pd.testing.assert_frame_equal(found, pd.read_parquet(trained.fold(0).test))
    assert (folder / "submission.csv").exists()
    predictor = bench.load(trained.folder, folds=[0], device="cpu", store=tmp_path / "other")
    dataset = predictor.open(root)
    raw = [dataset.read("test", i, **predictor.features.reads) for i in range(len(found))]
    np.testing.assert_array_equal(predictor.predict(raw), predictions(found))
    if features == "hms_image":  # which reads the ten-minute spectrograms too
        shutil.rmtree(root / "test_spectrograms")
        with pytest.raises(UserError, match=r"spectrograms of test.csv have no file in .*test_spectrograms"):
            predictor.open(root)


def test_the_same_command_again_predicts_nothing_anew(
    copied: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(command(tmp_path, f"run={copied.folder}"))
    folder = made(capsys)
    monkeypatch.setattr("bench.prediction.predictor.trained_fold", None)
    predict(command(tmp_path, f"run={copied.folder}", "tta=none"))  # what the run's own is, too
    said = capsys.readouterr()
    assert said.out == f"predictions {folder}\n"
    assert "they are there already" in said.err


def test_folds_may_be_chosen(copied: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(command(tmp_path, f"run={copied.folder}", "folds=[1]"))
    found = pd.read_parquet(made(capsys) / "test.parquet")
    pd.testing.assert_frame_equal(found, pd.read_parquet(copied.fold(1).test))


def test_random_views_are_those_that_training_drew(
    beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = ["augment=[gaussian_noise]", "augment.gaussian_noise.p=1", "tta=random", "tta.n=3"]
    trained = finished(beats, tmp_path, *views, folds=[0])
    before = torch.random.get_rng_state()
    predict(command(tmp_path, f"run={trained.folder}", "folds=[0]"))
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's own chance is left alone"
    own = pd.read_parquet(made(capsys) / "test.parquet")
    pd.testing.assert_frame_equal(own, pd.read_parquet(trained.fold(0).test))
    predict(command(tmp_path, f"run={trained.folder}", "folds=[0]", "tta=none"))
    plain = pd.read_parquet(made(capsys) / "test.parquet")
    predict(command(tmp_path, f"run={trained.folder}", "folds=[0]", "tta=flips"))
    flipped = pd.read_parquet(made(capsys) / "test.parquet")
    assert not own.equals(plain)
    assert not plain.equals(flipped)
    assert len(list((trained.folder / "predictions").iterdir())) == 3


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["input=/nowhere"], "input=/nowhere is not a folder; give the folder that holds testA.csv"),
        (["folds=[0,7]"], r"folds=\[0, 7\] must name folds from 0 to 1"),
        (["tta=crops"], "tta=crops is for examples that are longer than a window"),
        (["tta=random"], "tta=random repeats the recipe's augmentation, which changes no row"),
        (["device=tpu"], "device=tpu is not one of auto, cpu, cuda"),
        (["run=feedfeed"], "run: no run in .* has the identity feedfeed"),
        (["run=null"], "run= names no run; give a finished run's folder"),
    ],
)
def test_a_mistake_in_the_command_is_a_sentence(run: Run, tmp_path: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        predict(command(tmp_path, f"run={run.folder}", *overrides))


def test_an_unfinished_run_says_which_folds_there_are(copied: Run, tmp_path: Path) -> None:
    copied.fold(1).done.unlink()
    with pytest.raises(UserError, match=r"fold 1 of 2 not trained to the end; .*, or predict with folds=\[0\]$"):
        predict(command(tmp_path, f"run={copied.folder}"))
    predict(command(tmp_path, f"run={copied.folder}", "folds=[0]"))


def _forget_checksums(run: Run) -> None:
    """Fold 1 as an earlier version left it."""
    write_json(run.fold(1).done, {**read_json(run.fold(1).done), "checksums": {}, "checksum": None})


def test_deleted_or_foreign_weights_are_named(copied: Run, tmp_path: Path) -> None:
    weights = copied.fold(1).weights
    weights.write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"folds/1/weights.safetensors is damaged"):
        predict(command(tmp_path, f"run={copied.folder}"))
    _forget_checksums(copied)
    with pytest.raises(UserError, match=r"folds/1/weights.safetensors can't be put into the run's model"):
        predict(command(tmp_path, f"run={copied.folder}"))
    weights.unlink()
    with pytest.raises(UserError, match=r"folds/1/weights.safetensors is not there any more; delete .*folds/1 whole"):
        predict(command(tmp_path, f"run={copied.folder}"))


def test_a_folder_without_test_rows_is_refused(beats: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copy(beats / "train.csv", tmp_path / "empty")
    with pytest.raises(UserError, match=r"empty lacks testA.csv; the heartbeat layout needs testA.csv there"):
        predict(command(tmp_path, f"run={run.folder}", f"input={tmp_path}/empty"))


def test_a_submission_stands_in_its_samples_order(
    copied: Run, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = pd.read_csv(new / "testA.csv")["id"].tolist()
    write_sample(new, ids[::-1])
    predict(command(tmp_path, f"run={copied.folder}", f"input={new}"))
    folder = made(capsys)
    submitted, frame = pd.read_csv(folder / "submission.csv"), pd.read_parquet(folder / "test.parquet")
    assert (submitted["id"].tolist(), frame["id"].tolist()) == (ids[::-1], ids)
    np.testing.assert_array_equal(submitted.iloc[::-1, 1:].to_numpy(), predictions(frame))


@pytest.mark.parametrize(
    ("change", "columns", "sentence"),
    [
        (lambda ids: [*ids, 7, 8], {}, r"asks for id 7 \(line 26\) and 1 more that are not among the 24 test rows of"),
        (lambda ids: ids[:-1], {}, r"does not ask for id \d+ and 0 more of the 24 test rows of"),
        (lambda ids: [*ids, ids[0]], {}, "part in line 26, where ids repeat or stand in another order"),
        (lambda ids: ids, {"columns": "id,label_1,label_2,label_3,label_4"}, "has the columns id, label_1, .* but the"),
    ],
)
def test_another_sample_is_refused_before_anything_is_computed_or_written(
    copied: Run, new: Path, tmp_path: Path, change: Any, columns: dict[str, str], sentence: str
) -> None:
    write_sample(new, change(pd.read_csv(new / "testA.csv")["id"].tolist()), **columns)
    with pytest.raises(UserError, match=sentence):
        predict(command(tmp_path, f"run={copied.folder}", f"input={new}"))
    assert not (copied.folder / "predictions").exists()
    assert not (tmp_path / "store").exists()


def test_predictions_that_are_nan_are_not_written(copied: Run, tmp_path: Path) -> None:
    model, _ = trained_fold(copied, 1, torch.device("cpu"))
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    checkpoint.save_weights(copied.fold(1).weights, model)
    _forget_checksums(copied)
    with pytest.raises(UserError, match=r"24 of 24 predictions hold NaN, the first for id \d+; nothing is written"):
        predict(command(tmp_path, f"run={copied.folder}"))
    assert not (copied.folder / "predictions").exists()


def test_heartbeats_go_into_a_spreadsheet_too(
    copied: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(command(tmp_path, f"run={copied.folder}", "excel=true"))
    folder = made(capsys)
    pd.testing.assert_frame_equal(pd.read_excel(folder / "submission.xlsx"), pd.read_csv(folder / "submission.csv"))
    monkeypatch.setattr("bench.datasets.heartbeat.Heartbeat.excel", False)
    with pytest.raises(UserError, match="excel=true: heartbeat takes a CSV alone; leave it out"):
        predict(command(tmp_path, f"run={copied.folder}", "excel=true"))


def test_nothing_is_overwritten(copied: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"output=.*there holds other files, and nothing is overwritten"):
        predict(command(tmp_path, f"run={copied.folder}", f"output={there}"))
    predict(command(tmp_path, f"run={copied.folder}", f"output={tmp_path}/a/b"))
    assert made(capsys) == tmp_path / "a/b"
    with pytest.raises(UserError, match="a/b holds the predictions of other folds, files, views or another run"):
        predict(command(tmp_path, f"run={copied.folder}", f"output={tmp_path}/a/b", "folds=[0]"))
    assert [path.name for path in there.iterdir()] == ["notes.txt"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["b"], "nothing temporary is left"


def test_simulated_files_are_made_again_and_told_apart_from_real_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "outputs"
    overrides = small_overrides(tmp_path, tmp_path)[:2] + small_overrides(tmp_path, tmp_path)[3:]
    sizes = ["dataset.simulator.n_train=40", "dataset.simulator.n_test=3", "dataset.simulator.length=32"]
    trained = train_here(*compose(*overrides, *sizes, f"data={tmp_path}/data", "train.epochs=1"), [0])
    shutil.rmtree(tmp_path / "data")
    predict(command(tmp_path, f"run={trained.folder}", "folds=[0]"))
    written = made(capsys)
    assert written.is_relative_to(folder)
    assert read_json(written / "inputs.json")["simulated"] is True
    pd.testing.assert_frame_equal(pd.read_parquet(written / "test.parquet"), pd.read_parquet(trained.fold(0).test))
    (tmp_path / "data/heartbeat").mkdir()
    with pytest.raises(
        UserError, match=r"was trained on simulated files, and .* is real; say which to predict: input="
    ):
        predict(command(tmp_path, f"run={trained.folder}", "folds=[0]"))


def test_queries_and_identities_reach_the_door_as_text() -> None:
    words = ["run=dataset=hms,model=mlp", "run=12345678", "run=outputs/a/b", "run=latest", "folds=[0]", 'run="a=b"']
    quotes = ['run="dataset=hms,model=mlp"', 'run="12345678"', *words[2:]]
    assert [quoted(word, COMMAND.texts) for word in words] == quotes


def test_the_command_line_keeps_its_contract(copied: Run, new: Path, tmp_path: Path) -> None:
    def door(*words: str) -> subprocess.CompletedProcess[str]:
        every = [sys.executable, "-m", "bench.predict", f"run={copied.folder}", f"store={tmp_path}/store", *words]
        return subprocess.run(every, capture_output=True, text=True, timeout=300)

    done = door(f"input={new}", "device=cpu")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1].removeprefix("predictions "))
    np.testing.assert_allclose(
        predictions(pd.read_parquet(folder / "test.parquet")),
        predictions(pd.read_parquet(copied.folder / "test.parquet")),
        atol=1e-6,
    )
    wrong = door("input=/nowhere")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.splitlines()[-1].startswith("bench: input=/nowhere is not a folder")
    assert door("folds=1").stderr.startswith("bench: folds=1 can't be used: it is a list")
