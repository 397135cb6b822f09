"""The cross-validated run, end to end on small simulated beats."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from bench.crossval.plan import make_plan
from bench.crossval.run import cross_validate
from bench.data import assignment
from bench.datasets.base import targets
from bench.metrics import L1_20K
from bench.report import report
from bench.report.judged import judge
from bench.runs import inputs
from bench.runs.frames import predictions
from bench.runs.records import plain
from bench.runs.run import Run
from bench.spec import UserError
from conftest import Composed, compose, small_overrides, train_here

pytestmark = pytest.mark.slow

Small = Callable[..., Composed]


@pytest.fixture(scope="module")
def finished(beats: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    from conftest import compose

    overrides = small_overrides(beats, tmp_path_factory.mktemp("finished"))
    return cross_validate(*compose(*overrides)).run, overrides


def oof_bytes(run: Run) -> bytes:
    frame = pd.read_parquet(run.folder / "oof.parquet")
    return predictions(frame).tobytes() + frame["id"].to_numpy().tobytes()


def test_every_row_is_predicted_once_by_a_fold_that_did_not_train_on_it(finished: tuple[Run, list[str]]) -> None:
    run, _ = finished
    oof, rows = (pd.read_parquet(run.folder / name) for name in ("oof.parquet", "splits.parquet"))
    assert oof["id"].tolist() == rows["id"].tolist()
    assert oof["fold"].tolist() == rows["fold"].tolist()
    assert list(oof.columns) == ["id", "fold", *(f"{p}_{c}" for p in ("target", "pred") for c in range(4))]
    np.testing.assert_allclose(predictions(oof).sum(1), 1)


def test_scores_are_what_they_say(finished: tuple[Run, list[str]]) -> None:
    run, _ = finished
    scores, oof = run.scores(), pd.read_parquet(run.folder / "oof.parquet")
    assert scores is not None
    target, probability, fold = targets(oof).astype(float), predictions(oof), oof["fold"].to_numpy()
    assert scores.oof == L1_20K.score(target, probability)
    assert scores.also == {"l1_sum": pytest.approx(scores.oof * len(oof) / 20_000)}
    assert list(scores.folds) == [L1_20K.score(target[fold == k], probability[fold == k]) for k in range(2)]
    assert scores.mean == pytest.approx(np.mean(scores.folds))
    assert scores.std == pytest.approx(np.std(scores.folds))
    assert scores.accuracy == (target.argmax(1) == probability.argmax(1)).mean()
    means = np.stack([target[fold != k].mean(0) for k in range(2)])[fold]
    assert scores.baseline == pytest.approx(20000 * np.abs(target - means).sum(1).mean())
    assert (scores.metric, scores.direction, scores.rows) == ("l1_20k", "min", 160)
    assert scores.identity == run.folder.name
    assert scores.complete is True
    assert scores.simulated is False  # a root that was given, without a simulator's mark


def test_test_predictions_are_the_folds_mean(finished: tuple[Run, list[str]]) -> None:
    run, _ = finished
    folds = [predictions(pd.read_parquet(run.fold(k).test)) for k in range(2)]
    mean = pd.read_parquet(run.folder / "test.parquet")
    np.testing.assert_allclose(predictions(mean), np.mean(folds, axis=0))
    submission = pd.read_csv(run.folder / "submission.csv")
    assert submission["id"].tolist() == mean["id"].tolist()
    assert list(submission.columns) == ["id", "label_0", "label_1", "label_2", "label_3"]


def test_a_run_holds_all_that_design_promises(finished: tuple[Run, list[str]]) -> None:
    run, _ = finished
    names = {
        str(p.relative_to(run.folder))
        for p in run.folder.rglob("*")
        if p.is_file() and p.name not in (".lock", ".claim")
    }
    fold = {f"folds/{k}/{f}" for k in range(2) for f in (
        "checkpoint.pt", "weights.safetensors", "history.json", "oof.parquet", "test.parquet", "log.txt", "done.json"
    )}  # fmt: skip
    wanted = {
        "checksums.json",
        "config.yaml",
        "environment.json",
        "inputs.json",
        "state.json",
        "splits.parquet",
        "test_ids.parquet",
    }
    wanted |= {"oof.parquet", "scores.json", "test.parquet", "submission.csv", "report.html"} | fold
    assert wanted <= names
    assert {n for n in names - wanted if not n.startswith("plots/")} == set()
    assert run.state()["status"] == "finished"


def test_the_same_command_again_trains_nothing(finished: tuple[Run, list[str]]) -> None:
    from conftest import compose

    run, overrides = finished
    before = [run.fold(k).done.stat().st_mtime_ns for k in range(2)]
    again = cross_validate(*compose(*overrides))
    assert again.run.folder == run.folder
    assert [run.fold(k).done.stat().st_mtime_ns for k in range(2)] == before


def test_a_finished_runs_command_imports_neither_torch_nor_scikit_learn(finished: tuple[Run, list[str]]) -> None:
    heavy = "print(sorted({'torch', 'sklearn', 'scipy', 'matplotlib', 'mlflow'} & set(sys.modules)))"
    code = f"import sys; from bench.cli.door import run; from bench.train import COMMAND; run(COMMAND); {heavy}"
    done = subprocess.run([sys.executable, "-c", code, *finished[1]], capture_output=True, text=True, check=True)
    assert "0 of 2 folds to train" in done.stderr
    assert done.stdout.splitlines()[-2:] == [f"run {finished[0].folder}", "[]"]


@pytest.mark.parametrize(
    "change",
    ["seed=1", "loss=ce", "train.epochs=3", "optimizer.lr=0.1", "model.hidden=[8]", "split.seed=1", "optimizer=adamw"],
)
def test_what_decides_the_result_is_another_run(small: Small, change: str) -> None:
    assert make_plan(*small()).run.folder != make_plan(*small(change)).run.folder


@pytest.mark.parametrize("change", ["folds.parallel=2", "folds.only=[1]", "workers=1", "device=auto", "compile=true"])
def test_where_and_how_fast_is_the_same_run(small: Small, change: str) -> None:
    assert make_plan(*small()).run.folder == make_plan(*small(change)).run.folder


@pytest.mark.usefixtures("one_process")
def test_some_folds_first_and_the_rest_later_is_the_whole(small: Small, finished: tuple[Run, list[str]]) -> None:
    part = cross_validate(*small("folds.only=[1]"))
    assert part.scores is not None
    assert (part.scores.fold_numbers, part.scores.complete, part.scores.rows) == ((1,), False, 80)
    assert part.run.state()["status"] == "partial"
    whole = cross_validate(*small("folds.parallel=2"))
    assert oof_bytes(whole.run) == oof_bytes(finished[0])


def test_a_failing_fold_stops_no_other_and_is_trained_again(small: Small, capfd: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(*small())
    broken = plan.run.fold(1)
    broken.weights.mkdir(parents=True)  # where a file must be written
    outcome = cross_validate(*small())
    assert outcome.failed == [1]
    assert [f.status() for f in plan.run.folds] == ["finished", "missing"]
    assert plan.run.state() == {**plan.run.state(), "status": "failed", "failed": [1]}
    said = capfd.readouterr().err
    assert "weights.safetensors" in said
    assert "fold 1 failed; the same command again trains only what is missing" in said
    broken.weights.rmdir()
    assert cross_validate(*small()).failed == []


def test_a_run_that_is_being_trained_is_not_trained_twice(small: Small) -> None:
    from filelock import FileLock

    plan = make_plan(*small())
    plan.run.folder.mkdir(parents=True)
    with FileLock(plan.run.folder / ".lock"), pytest.raises(UserError, match="being trained by another command"):
        cross_validate(*small())
    assert [p.name for p in plan.run.folder.iterdir()] == [".lock"], "a refused command writes nothing"


def start(overrides: list[str]) -> subprocess.Popen[bytes]:
    silent, command = subprocess.DEVNULL, [sys.executable, "-m", "bench.train", *overrides]
    # a shell starts what runs in its background deaf to Ctrl-C, tests and their children included
    hearing = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    return subprocess.Popen(command, stdout=silent, stderr=silent, preexec_fn=hearing)


def wait_for(folder: Path, pattern: str, entries: int) -> Path:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in folder.glob(pattern):
            if len(json.loads(path.read_text())) >= entries:
                return path
        time.sleep(0.01)
    raise AssertionError(f"no {pattern} with {entries} entries")


LONG = ("train.epochs=60", "split.n_splits=2")


@pytest.fixture(scope="module")
def undisturbed(beats: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return by_command([*small_overrides(beats, tmp_path_factory.mktemp("undisturbed")), *LONG])


def by_command(overrides: list[str]) -> Run:
    done = subprocess.run([sys.executable, "-m", "bench.train", *overrides], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Run.open(done.stdout.splitlines()[-1].removeprefix("run "))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_killed_mid_fold_the_same_command_ends_with_the_same_bits(
    beats: Path, undisturbed: Run, tmp_path: Path, sign: int
) -> None:
    killed = [*small_overrides(beats, tmp_path), *LONG]
    process = start(killed)
    history = wait_for(tmp_path / "outputs", "*/*/*/folds/*/history.json", 3)  # of whichever is first
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 2, "the fork server and at least one fold"
    process.send_signal(sign)
    assert process.wait(30) == (130 if sign == signal.SIGINT else -sign)
    run = Run.open(history.parents[2])
    fold = run.fold(int(history.parent.name))
    assert not fold.done.exists()
    if sign == signal.SIGINT:
        assert run.state()["status"] == "killed"
    time.sleep(1)
    assert not [p for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "orphans"
    assert len(fold.history()) < 60
    again = by_command(killed)
    assert again.identity == undisturbed.identity
    assert oof_bytes(again) == oof_bytes(undisturbed)
    assert (again.folder / "submission.csv").read_bytes() == (undisturbed.folder / "submission.csv").read_bytes()


def test_simulated_files_are_made_once_marked_and_kept_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from conftest import compose

    overrides = [
        "dataset=heartbeat", "model=mlp", f"data={tmp_path}/data", f"outputs={tmp_path}/outputs", "split.n_splits=2",
        "dataset.simulator.n_train=80", "dataset.simulator.n_test=8", "device=cpu", "tracking.enabled=false",
    ]  # fmt: skip
    plan = make_plan(*compose(*overrides))
    assert plan.inputs.simulated is True
    assert "SIMULATED data in" in capfd.readouterr().err
    root = tmp_path / "data/simulated/heartbeat"
    made = (root / "train.csv").stat().st_mtime_ns
    assert make_plan(*compose(*overrides)).run.folder == plan.run.folder
    assert (root / "train.csv").stat().st_mtime_ns == made
    assert make_plan(*compose(*overrides, f"dataset.root={root}")).inputs.simulated is True
    other = make_plan(*compose(*overrides, "dataset.simulator.seed=5"))
    assert other.run.folder != plan.run.folder
    assert (root / "train.csv").stat().st_mtime_ns == made
    os.rename(root, tmp_path / "data/heartbeat")
    (tmp_path / "data/heartbeat/SIMULATED.json").unlink()
    assert make_plan(*compose(*overrides)).inputs.simulated is False


@pytest.mark.usefixtures("one_process")
def test_changed_test_files_are_predicted_again_without_training(beats: Path, small: Small, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(beats, root)
    overrides = [f"dataset.root={root}"]
    first = cross_validate(*small(*overrides))
    histories = [f.folder.joinpath("history.json").read_text() for f in first.run.folds]
    lines = (root / "testA.csv").read_text().splitlines(keepends=True)
    (root / "testA.csv").write_text("".join([lines[0], *lines[:0:-1]]))  # the same rows in another order
    part = cross_validate(*small(*overrides, "folds.only=[1]"))
    fold_1 = pd.read_parquet(part.run.fold(1).test)
    pd.testing.assert_frame_equal(pd.read_parquet(part.run.folder / "test.parquet"), fold_1)
    cross_validate(*small(*overrides))
    submission = pd.read_csv(first.run.folder / "submission.csv")
    assert submission["id"].tolist() == [int(line.split(",")[0]) for line in lines[:0:-1]]
    assert [f.folder.joinpath("history.json").read_text() for f in first.run.folds] == histories
    (root / "testA.csv").unlink()
    cross_validate(*small(*overrides))
    assert not (first.run.folder / "submission.csv").exists()
    assert not (first.run.folder / "test.parquet").exists()


def test_what_was_deleted_or_cut_comes_again(small: Small, finished: tuple[Run, list[str]]) -> None:
    run = cross_validate(*small()).run
    folds = run.folds
    folds[0].oof.unlink()
    (run.folder / "oof.parquet").unlink()
    other = cross_validate(*small("folds.only=[1]")).scores
    assert other is not None
    assert other.fold_numbers == (1,), "what is gone is not collected"
    folds[1].done.write_text("{")
    folds[1].weights.unlink()
    folds[1].checkpoint.write_bytes(folds[1].checkpoint.read_bytes()[:100])
    (run.folder / "scores.json").unlink()
    assert cross_validate(*small()).failed == []
    assert oof_bytes(run) == oof_bytes(finished[0])


def test_a_sample_of_other_ids_costs_the_submission_and_not_the_run(
    beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(beats, tmp_path / "raw"))
    command = small_overrides(root, tmp_path)
    ids = pd.read_csv(root / "testA.csv")["id"].tolist()

    def sample(ids: list[int]) -> None:
        lines = ["id,label_0,label_1,label_2,label_3", *(f"{i},0,0,0,1" for i in ids)]
        (root / "sample_submit.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    run = train_here(*compose(*command))
    (run.folder / "submission.csv").write_text("of an earlier call\n", encoding="utf-8")
    monkeypatch.setattr("bench.crossval.processes.train", None)  # from here on nothing is trained
    monkeypatch.setattr("bench.report.draw.draw", lambda run, metric: None)
    sample([*ids, 7])
    outcome = cross_validate(*compose(*command))
    assert (outcome.failed, run.state()["status"]) == ([], "finished")
    assert (run.folder / "test.parquet").exists()
    assert not (run.folder / "submission.csv").exists()
    said = [line for line in capsys.readouterr().err.splitlines() if "submission.csv" in line]
    assert len(said) == 1
    assert re.match(r"test +submission.csv is not written: .*sample_submit.csv asks for id 7 \(line 26\)", said[0])
    sample(ids[::-1])
    cross_validate(*compose(*command))
    assert pd.read_csv(run.folder / "submission.csv")["id"].tolist() == ids[::-1]
    assert "submission.csv" not in capsys.readouterr().err


def test_what_is_said_of_the_split_is_kept_and_changes_no_identity(
    finished: tuple[Run, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, overrides = finished
    assign = assignment.assign
    monkeypatch.setattr("bench.crossval.plan.assign", lambda *given: replace(assign(*given), notes=["a < b"]))
    plan = make_plan(*compose(*overrides))
    assert (list(plan.inputs.notes), plan.run.folder) == (["a < b"], run.folder)
    assert "split     a < b" in capsys.readouterr().err
    told = Run(Path(shutil.copytree(run.folder, tmp_path / "told")))
    inputs.write(told.folder, plan.inputs)
    (told.folder / "checksums.json").unlink()  # as the person who changes a file does
    page = report.write(told, plan.dataset.metric, judge(told), {}, {}).read_text(encoding="utf-8")
    assert "<li>a &lt; b</li>" in page
    assert "<li>" not in (run.folder / "report.html").read_text(encoding="utf-8")


def test_planning_changes_nothing_that_it_is_given_and_splits_once(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, names = small("augment=[gain]")
    before, chosen, assign = plain(recipe), dict(names), assignment.assign
    made: list[assignment.Assignment] = []

    def counted(*given: Any) -> assignment.Assignment:
        made.append(assign(*given))
        return made[-1]

    for module in ("bench.data.assignment", "bench.crossval.plan"):
        monkeypatch.setattr(f"{module}.assign", counted)
    assert make_plan(recipe, names).run.folder == make_plan(recipe, names).run.folder
    assert (plain(recipe), names) == (before, chosen)
    assert len(made) == 2, "one a plan"


def test_other_class_names_are_another_run(beats: Path, small: Small, tmp_path: Path) -> None:
    (tmp_path / "renamed").mkdir()
    frame = pd.read_csv(beats / "train.csv")
    frame.replace({"label": {3: 7}}).to_csv(tmp_path / "renamed/train.csv", index=False)
    a, b = (make_plan(*small(f"dataset.root={root}")) for root in (beats, tmp_path / "renamed"))
    assert a.inputs.spec.classes != b.inputs.spec.classes
    assert a.run.folder != b.run.folder


@pytest.mark.parametrize("change", ["model.dropout=0", "split.strict=false"])
def test_the_same_said_otherwise_is_the_same_run(small: Small, change: str) -> None:
    assert make_plan(*small()).run.folder == make_plan(*small(change)).run.folder


def test_a_password_in_the_tracking_uri_stays_out_of_the_run(small: Small) -> None:
    plan = make_plan(*small("tracking.uri=http://bob:s3cret@127.0.0.1:9"))
    plan.run.folder.mkdir(parents=True)
    plan.write()
    assert not [p for p in plan.run.folder.iterdir() if b"s3cret" in p.read_bytes()]


def test_hms_with_wavenet_goes_from_raw_files_to_a_submission(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from conftest import compose

    overrides = [
        "dataset=hms", "model=wavenet", "model.filters=[2,2]", "model.layers=[2,1]", "train.epochs=1",
        "split.n_splits=2", "dataset.simulator.n_eegs=40", "dataset.simulator.n_patients=20",
        "dataset.simulator.n_test=3", f"data={tmp_path}/data", f"outputs={tmp_path}/outputs", "tracking.enabled=false",
    ]  # fmt: skip
    run = cross_validate(*compose(*overrides)).run
    rows, scores = pd.read_parquet(run.folder / "splits.parquet"), run.scores()
    assert scores is not None
    assert (rows.groupby("group")["fold"].nunique() == 1).all()
    assert (scores.metric, scores.simulated, scores.rows) == ("kl", True, 40)
    votes = [f"{c}_vote" for c in ("seizure", "lpd", "gpd", "lrda", "grda", "other")]
    submission = pd.read_csv(run.folder / "submission.csv")
    test = pd.read_csv(tmp_path / "data/simulated/hms/test.csv")
    assert list(submission.columns) == ["eeg_id", *votes]
    assert submission["eeg_id"].tolist() == test["eeg_id"].tolist()
    np.testing.assert_allclose(submission[votes].sum(axis=1), 1)
    said = capfd.readouterr()
    assert "SIMULATED" in said.out
    assert "SIMULATED" in said.err
    assert (run.folder / "plots" / "curves_loss.png").exists()


def test_a_dead_tracking_server_changes_nothing_and_the_run_is_sent_later(
    small: Small, finished: tuple[Run, list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    uri = f"tracking.uri=http://127.0.0.1:{port}"
    outcome = cross_validate(*small("tracking.enabled=true", uri, "tracking.wait=2"))
    assert oof_bytes(outcome.run) == oof_bytes(finished[0])
    assert f"later: python -m bench.track {outcome.run.folder}" in capfd.readouterr().err
    trained = time.monotonic() - started
    assert trained < 120
    sent = subprocess.run(
        [sys.executable, "-m", "bench.track", str(outcome.run.folder), "--uri", f"sqlite:///{tmp_path}/later.db"],
        capture_output=True,
        text=True,
    )
    assert sent.returncode == 0, sent.stderr
    assert "runs" in sent.stdout
    assert (tmp_path / "later.db").exists()


def test_a_pairs_recipe_names_its_features_and_the_command_line_wins() -> None:
    from bench.crossval.settle import settle

    for options, wanted in (
        (["model=cnn2d"], "freesound_mfcc"),
        (["model=cnn2d", "recipe=none"], "freesound_logmel"),
        (["model=cnn2d", "features=freesound_logmel"], "freesound_logmel"),
        (["model=timm_backbone"], "freesound_logmel"),
    ):
        assert settle(*compose("dataset=freesound", *options))[1]["features"] == wanted
