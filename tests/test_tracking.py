"""The mirror: what is sent, that it is sent once, and what a dead server or a dead training costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import track
from bench.atomic import read_json, write_json
from bench.cli.door import run as run_command
from bench.runs import facts, selection
from bench.runs.run import Run
from bench.tracking import wording
from bench.tracking.address import still_has
from bench.tracking.follower import start_mirror
from bench.tracking.mirror import Mirror, TrackingError, default_uri, page
from fake_run import START, epoch, hold, release, scores, write_run
from mlflow_server import kill, serve, until

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own use of SQLAlchemy, met where a test reads the database itself.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")]

NOWHERE = "http://127.0.0.1:9"  # a port where nobody listens: refused at once
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of outputs with its database: making the tables takes seconds, copying them does not."""
    outputs = tmp_path_factory.mktemp("outputs")
    # Simulated: the experiment that the tests look into is then made where each test has its folder.
    assert Mirror(write_run(outputs, identity="0" * 12, folds=1, simulated=True), default_uri(outputs)).sync()
    shutil.rmtree(outputs / "hms")
    return outputs


@pytest.fixture
def outputs(empty: Path, tmp_path: Path) -> Path:
    shutil.copytree(empty, tmp_path / "outputs")
    return tmp_path / "outputs"


def client_of(outputs: Path) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(default_uri(outputs))


def sent(outputs: Path, run: Run) -> tuple[Any, dict[str, Any]]:
    """The parent and the folds by name, as the database has them."""
    client = client_of(outputs)
    experiments = [e.experiment_id for e in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.identity = '{run.identity}'")
    parents = [r for r in found if "fold" not in r.data.tags]
    folds = {" ".join(r.info.run_name.split()[-2:]): r for r in found if "fold" in r.data.tags}
    assert (len(parents), len(folds)) == (1, len(found) - 1), "a run was made twice"
    return parents[0], folds


def send(run: Run, outputs: Path) -> dict[str, int]:
    mirror = Mirror(run, default_uri(outputs))
    assert mirror.sync()
    return dict(mirror.sent)


def test_a_run_is_a_parent_with_its_scores_and_a_child_a_fold(outputs: Path) -> None:
    run = write_run(outputs)
    send(run, outputs)
    parent, folds = sent(outputs, run)
    assert parent.info.run_name == "wavenet 1f3a90"
    assert folds["fold 1"].info.run_name == "wavenet 1f3a90 fold 1", "a fold alone in a list says whose it is"
    assert sorted(folds) == ["fold 0", "fold 1"]
    assert parent.info.status == "FINISHED"
    assert {f.info.status for f in folds.values()} == {"FINISHED"}
    scores = run.scores()
    assert scores is not None
    assert parent.data.metrics["cv/kl_mean"] == pytest.approx(scores.mean)
    assert parent.data.metrics["oof/kl"] == pytest.approx(scores.oof)
    assert {"cv/kl_std", "oof/accuracy", "oof/kl_baseline"} < set(parent.data.metrics)
    assert parent.data.params["model.filters"] == "16"
    assert parent.data.params["optimizer.lr"] == "0.001"
    common = {"group": "wavenet", "model": "wavenet", "dataset": "hms", "loss": "kl", "simulated": "false"}
    for tags in (parent.data.tags, folds["fold 1"].data.tags):
        assert common.items() <= tags.items()
        assert tags["identity"] == run.identity
    assert folds["fold 1"].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert folds["fold 1"].data.tags["fold"] == "1"


def test_no_metric_of_a_fold_is_on_the_parent(outputs: Path) -> None:
    run = write_run(outputs)
    send(run, outputs)
    parent, folds = sent(outputs, run)
    assert not set(parent.data.metrics) & set(folds["fold 0"].data.metrics)


def test_a_history_arrives_with_its_epochs_and_times(outputs: Path) -> None:
    run = write_run(outputs)
    send(run, outputs)
    parent, folds = sent(outputs, run)
    client = client_of(outputs)
    curve = client.get_metric_history(folds["fold 1"].info.run_id, "valid/kl")
    assert [p.step for p in curve] == [1, 2, 3]
    assert [p.value for p in curve] == pytest.approx([e["valid/kl"] for e in run.fold(1).history()])
    assert [p.timestamp for p in curve] == [int((START + 60 + 2 * e) * 1000) for e in (1, 2, 3)]
    profile = client.get_metric_history(parent.info.run_id, "cv/kl_by_fold")
    assert sorted(p.step for p in profile) == [0, 1]


def test_files_arrive_and_only_a_changed_one_goes_again(outputs: Path) -> None:
    run = write_run(outputs)
    (run.folder / "plots").mkdir()
    (run.folder / "plots" / "folds.png").write_bytes(b"picture")
    (run.folder / "report.html").write_text("page")
    send(run, outputs)
    parent, folds = sent(outputs, run)
    client = client_of(outputs)
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert names == {"config.yaml", "environment.json", "scores.json", "report.html", "folds.csv", "plots"}
    assert [file.path for file in client.list_artifacts(folds["fold 0"].info.run_id)] == ["log.txt"]
    (run.folder / "plots" / "folds.png").write_bytes(b"a better picture")
    assert send(run, outputs) == {"files": 1}
    assert (outputs / "mlartifacts" / parent.info.run_id / "artifacts/plots/folds.png").read_bytes()[:8] == b"a better"


def test_a_second_sync_sends_nothing(outputs: Path) -> None:
    run = write_run(outputs)
    mirror = Mirror(run, default_uri(outputs))
    assert mirror.sync()
    mirror.sent.clear()
    assert mirror.sync()
    assert not mirror.sent
    assert send(run, outputs) == {}


def test_only_what_is_new_is_sent(outputs: Path) -> None:
    run = write_run(outputs, finished=1)
    send(run, outputs)
    fold = run.fold(1)
    assert sent(outputs, run)[1]["fold 1"].info.status == "RUNNING"
    fold.write_history([*fold.history(), epoch(3, 1)])
    assert send(run, outputs) == {"epochs": 1}
    write_json(fold.done, {})
    assert send(run, outputs) == {"files": 2, "statuses": 1}  # the log, the fold table


def test_a_crash_between_a_send_and_its_note_stores_nothing_twice(outputs: Path) -> None:
    run = write_run(outputs)
    send(run, outputs)
    note = read_json(run.folder / "tracking.json")
    write_json(run.folder / "tracking.json", {k: note[k] for k in ("uri", "token")} | {"folds": {}, "files": {}})
    assert send(run, outputs)["epochs"] == 6
    _, folds = sent(outputs, run)  # fails where a run was made twice
    assert len(client_of(outputs).get_metric_history(folds["fold 0"].info.run_id, "valid/kl")) == 3


def test_a_run_deleted_on_the_server_is_sent_anew(outputs: Path) -> None:
    run = write_run(outputs)
    send(run, outputs)
    parent, folds = sent(outputs, run)
    for gone in (parent, *folds.values()):
        client_of(outputs).delete_run(gone.info.run_id)
    assert send(run, outputs)["epochs"] == 6
    assert sent(outputs, run)[0].info.run_id != parent.info.run_id


def test_what_was_deleted_is_sent_anew(outputs: Path) -> None:
    run, uri = write_run(outputs), default_uri(outputs)
    assert not still_has(uri, run)
    send(run, outputs)
    assert still_has(uri, run)
    client_of(outputs).delete_experiment(sent(outputs, run)[0].info.experiment_id)
    assert not still_has(uri, run)
    send(run, outputs)
    assert still_has(uri, run)
    (outputs / "mlflow.db").unlink()
    assert not still_has(uri, run)
    assert page("http://elsewhere", run.folder / "tracking.json") == "http://elsewhere"


def test_another_database_gets_everything_and_the_first_keeps_its_own(
    outputs: Path, empty: Path, tmp_path: Path
) -> None:
    run = write_run(outputs)
    send(run, outputs)
    shutil.copytree(empty, tmp_path / "other")
    assert Mirror(run, default_uri(tmp_path / "other")).sync()
    assert len(sent(tmp_path / "other", run)[1]) == 2
    send(run, outputs)
    assert len(sent(outputs, run)[1]) == 2


def test_a_fold_trained_anew_replaces_its_page(outputs: Path) -> None:
    run = write_run(outputs, finished=1)
    send(run, outputs)
    before = sent(outputs, run)[1]
    run.fold(1).write_history([{**epoch(1, 1), "valid/kl": 9.0}])
    send(run, outputs)
    after = sent(outputs, run)[1]
    assert after["fold 0"].info.run_id == before["fold 0"].info.run_id
    assert after["fold 1"].info.run_id != before["fold 1"].info.run_id
    curve = client_of(outputs).get_metric_history(after["fold 1"].info.run_id, "valid/kl")
    assert [p.value for p in curve] == [9.0]


def test_a_resumed_run_keeps_its_parameters_and_runs_again(outputs: Path) -> None:
    run = write_run(outputs, finished=1)
    run.write_state(status="killed")
    send(run, outputs)
    parent, folds = sent(outputs, run)
    assert (parent.info.status, folds["fold 0"].info.status, folds["fold 1"].info.status) == (
        "KILLED", "FINISHED", "KILLED",
    )  # fmt: skip
    text = (run.folder / "config.yaml").read_text().replace("lr: 0.001", "lr: 0.5")
    (run.folder / "config.yaml").write_text(text)
    run = Run.open(run.folder)
    hold(run)
    send(run, outputs)
    parent, folds = sent(outputs, run)
    assert parent.info.status == folds["fold 1"].info.status == "RUNNING"
    assert parent.data.params["optimizer.lr"] == "0.001"


def test_simulated_runs_never_share_an_experiment_with_real_ones(outputs: Path) -> None:
    real, simulated = write_run(outputs), write_run(outputs, identity="ab" * 6, simulated=True)
    send(real, outputs), send(simulated, outputs)
    parents = [sent(outputs, run)[0] for run in (real, simulated)]
    names = [client_of(outputs).get_experiment(p.info.experiment_id).name for p in parents]
    assert names == ["hms", "hms (simulated)"]
    assert parents[1].data.tags["simulated"] == "true"


@pytest.mark.parametrize(
    ("state", "done", "expected"),
    [
        ({"status": "running"}, False, ("RUNNING", "RUNNING")),
        ({"status": "running"}, True, ("RUNNING", "FINISHED")),
        ({"status": "finished"}, True, ("FINISHED", "FINISHED")),
        ({"status": "partial"}, False, ("FINISHED", "KILLED")),
        ({"status": "failed", "failed": [1]}, False, ("FAILED", "FAILED")),
        ({"status": "failed", "failed": [0]}, False, ("FAILED", "KILLED")),
        ({"status": "killed"}, False, ("KILLED", "KILLED")),
    ],
)
def test_status_on_the_page_is_the_status_in_the_folder(
    tmp_path: Path, state: dict[str, Any], done: bool, expected: tuple[str, str]
) -> None:
    run = write_run(tmp_path, finished=1)
    run.write_state(**state)
    if done:
        write_json(run.fold(1).done, {})
    living = facts.alive(run)
    assert (wording.run_status(run, living), wording.fold_status(run.fold(1), run.state(), living)) == expected


def test_a_training_that_died_without_a_word_is_killed_not_running(tmp_path: Path) -> None:
    run = write_run(tmp_path, finished=1)
    assert wording.run_status(run, facts.alive(run)) == "RUNNING"
    assert "by another command; wait" in str(selection.problem(run))
    release(run)
    # a date ahead and a pid that lives elsewhere say nothing: the lock is free
    run.write_state(pid=1, host="another-machine")
    os.utime(run.folder / "state.json", (4e9, 4e9))
    assert wording.run_status(run, facts.alive(run)) == "KILLED"
    shutil.copytree(run.folder, tmp_path / "copied")
    assert not facts.alive(Run(tmp_path / "copied"))


def test_a_moved_database_sends_files_to_the_folder_beside_it(outputs: Path, tmp_path: Path) -> None:
    send(write_run(outputs), outputs)
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # it is a process's, which no folder is moved under
    shutil.move(outputs, tmp_path / "moved")
    moved = tmp_path / "moved"
    again = Run(next((moved / "hms").glob("*/*")))
    (again.folder / "report.html").write_text("new")
    send(again, moved)
    send(new := write_run(moved, identity="f" * 12), moved)
    assert not outputs.exists(), "the old place is not made again"
    assert len(list((moved / "mlartifacts").rglob("report.html"))) == 1
    client, (parent, _) = client_of(moved), sent(moved, again)
    assert "report.html" in [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert sent(moved, new)[0].info.artifact_uri.startswith(moved.as_uri())


def test_names_and_values_a_server_refuses_are_rewritten() -> None:
    entry = {"epoch": 2, "valid/MAP@3 (top)": 0.5, "valid/loss": float("inf"), "note": "text", "time": 7.0}
    first, second = wording.epoch_points(entry, 0.0)  # type: ignore[arg-type]
    assert first == ("valid/MAP_3 _top_", 0.5, 7.0, 2)
    assert second.value != second.value


def test_long_leaves_and_the_tracking_address_are_no_parameters() -> None:
    config = {"model": {"depth": 3, "note": "x" * 6001, "sizes": [1, 2]}, "tracking": {"uri": "http://me:pass@host"}}
    assert facts.leaves(config) == {"model.depth": "3", "model.sizes": "[1, 2]"}


def test_a_password_is_neither_noted_nor_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path)
    assert run_command(track.COMMAND, [str(run.folder), "--uri", "http://me:secret@127.0.0.1:9"]) == 1
    assert "secret" not in "".join(capsys.readouterr())
    assert page("http://me:secret@host:5000", run.folder / "tracking.json") == "http://host:5000"


def test_a_dead_server_costs_a_bounded_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # 5 where nobody says otherwise: 10 s in all, measured
    run = write_run(tmp_path)
    with socket.socket() as silent:  # takes the connection and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.perf_counter()
        with pytest.raises(TrackingError, match="does not answer"):
            Mirror(run, f"http://127.0.0.1:{silent.getsockname()[1]}").sync()
    assert time.perf_counter() - began < 10


def test_what_a_dead_server_missed_is_sent_later(outputs: Path) -> None:
    run = write_run(outputs)
    with pytest.raises(TrackingError):
        Mirror(run, NOWHERE).sync()
    assert send(run, outputs)["epochs"] == 6


def test_a_mirror_that_finishes_has_sent_everything(outputs: Path) -> None:
    run = write_run(outputs, finished=1)
    process = start_mirror(run, default_uri(outputs), wait_s=60)
    fold = run.fold(1)
    fold.write_history([*fold.history(), epoch(3, 1)])
    write_json(fold.done, {})
    run.write_state(status="finished")
    assert process.finish(), (run.folder / "tracking.log").read_text()
    assert sent(outputs, run)[0].info.status == "FINISHED"
    assert (run.folder / "tracking.log").read_text() == ""
    assert send(run, outputs) == {}


def test_a_mirror_without_a_server_is_given_up_within_the_wait(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    process = start_mirror(run, NOWHERE, wait_s=60)
    until(lambda: "does not answer" in (run.folder / "tracking.log").read_text(), 60)
    began = time.perf_counter()
    assert process.finish(timeout=10) is False
    assert time.perf_counter() - began < 12
    assert (run.folder / "tracking.log").read_text().count("does not answer") == 1  # said once


def test_a_mirror_dies_with_its_training(outputs: Path) -> None:
    run = write_run(outputs, finished=1)
    release(run)
    code = (
        "import sys, os, time; from bench.runs.run import Run; from bench.tracking.follower import start_mirror\n"
        "run = Run.open(sys.argv[1]); run.write_state(pid=os.getpid())\n"
        "print(start_mirror(run, sys.argv[2], 30).process.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(run.folder), default_uri(outputs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        mirror = int(training.stdout.readline())
        training.send_signal(signal.SIGKILL)
    until = time.time() + 40
    while _lives(mirror) and time.time() < until:
        time.sleep(0.2)
    assert not _lives(mirror)
    parent, folds = sent(outputs, run)
    assert parent.info.status == folds["fold 1"].info.status == "KILLED"


def test_four_processes_create_the_database_at_once(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, identity=str(k) * 12, folds=1) for k in range(4)]
    command = [sys.executable, "-m", "bench.track"]
    doors = [subprocess.Popen([*command, str(run.folder)], stderr=subprocess.PIPE, text=True) for run in runs]
    said = [door.communicate()[1] for door in doors]
    assert [door.returncode for door in doors] == [0] * 4, said
    assert said == [""] * 4  # nothing of MLflow's own chatter
    assert {sent(tmp_path, run)[0].info.experiment_id for run in runs} == {"1"}


def test_the_door_refuses_what_is_not_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(track.COMMAND, [str(tmp_path)]) == 2
    assert "is not a run's folder" in capsys.readouterr().err


def test_the_door_says_what_was_sent_and_where_it_is(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(outputs)
    assert run_command(track.COMMAND, [str(run.folder)]) == 0
    said = capsys.readouterr()
    note = run.folder / "tracking.json"
    assert "6 epochs" in said.out
    assert page(default_uri(outputs), note) in said.out
    assert said.err == ""
    known = read_json(note)
    write_json(note, {**known, "uri": "http://t:8080/"})
    assert page("http://t:8080/", note) == (
        f"http://t:8080/#/experiments/{known['experiment_id']}/runs/{known['run_id']}?workflowType=machine_learning"
    )


def test_neither_the_door_nor_a_training_imports_mlflow() -> None:
    code = (
        "import bench.track, bench.tracking.mirror, sys; assert not {'mlflow', 'pandas', 'psutil'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.server
def test_a_real_server_dying_mid_run_stops_nothing_and_gets_the_rest_when_it_is_back(tmp_path: Path) -> None:
    run = write_run(tmp_path / "outputs", finished=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    server = serve(tmp_path, port)
    process = start_mirror(run, uri, wait_s=60)
    try:
        until(lambda: _epochs_sent(run) == 5, 60)
        kill(server)
        fold = run.fold(1)
        fold.write_history([*fold.history(), epoch(3, 1)])
        log = run.folder / "tracking.log"
        until(lambda: "does not answer" in log.read_text(), 30)
        assert _epochs_sent(run) == 5
        server = serve(tmp_path, port)
        write_json(fold.done, {})
        run.write_state(status="finished")
        assert process.finish(), log.read_text()
    finally:
        process.finish(0)
        kill(server)
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "copy")
    parent, folds = sent(tmp_path / "copy", run)
    assert parent.info.status == "FINISHED"
    assert len(folds) == 2


def _epochs_sent(run: Run) -> int:
    try:
        note = json.loads((run.folder / "tracking.json").read_text())
    except FileNotFoundError:
        return 0
    return sum(known["sent"] for known in note["folds"].values())


def _lives(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_six_runs_that_end_in_one_second_all_reach_a_fresh_database(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    outputs = tmp_path / "outputs"
    runs = [write_run(outputs, identity=f"{number}f3a90c2d4e5", seed=number) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:  # each takes its turn: none meets a database that another is writing to
        assert all(pool.map(lambda run: Mirror(run, default_uri(outputs)).sync(), runs))
    for run in runs:
        parent, folds = sent(outputs, run)
        assert parent.info.status == "FINISHED"
        assert len(folds) == 2


def test_make_ui_opens_on_the_comparison_of_what_was_sent_last(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.tracking.wording import front

    assert front(outputs, 5000) == "http://127.0.0.1:5000"
    run = write_run(outputs)
    send(run, outputs)
    address = front(outputs, 5001)
    assert address.startswith("http://127.0.0.1:5001/#/experiments/")
    assert "compareRunsMode=CHART" in address
    (outputs.parent / "Makefile").write_text("\nui:\n\tmlflow server outputs/mlflow.db\n", encoding="utf-8")
    monkeypatch.chdir(outputs.parent)
    assert front(Path("outputs"), 5001) == address.replace("127.0.0.1", "mlflow.localhost"), "without the assistant"


def test_a_run_of_some_folds_is_marked_and_has_no_spread(outputs: Path) -> None:
    run = write_run(outputs)
    write_json(run.folder / "scores.json", scores(folds=[0.5], fold_numbers=[0], std=0.0, complete=False))
    send(run, outputs)
    parent, _ = sent(outputs, run)
    assert parent.info.run_name == "wavenet 1f3a90 (fold 0 alone)"
    assert "cv/kl_std" not in parent.data.metrics
    assert parent.data.metrics["cv/kl_mean"] == 0.5
