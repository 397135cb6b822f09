"""MLflow for many: a real server before a real PostgreSQL, killed and started again while eight runs are tracked."""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mlflow_server
from bench import track
from bench.atomic import read_json, write_json
from bench.cli.door import run as run_command
from bench.runs import facts
from bench.runs.run import Fold, Run
from bench.spec import UserError
from bench.tracking import wording
from bench.tracking.follower import MirrorProcess, start_mirror
from fake_run import epoch, release, scores, write_run
from mlflow_server import kill, until
from postgres_server import PASSWORD, Database, free_port, served, skip_without

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]

RUNS, FOLDS, EPOCHS = 8, 5, 6


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with served() as database:
        yield database


def half_done(outputs: Path, number: int) -> Run:
    """A run whose last two folds are still to come."""
    return write_run(outputs, identity=f"{number:x}" * 12, folds=FOLDS, epochs=EPOCHS, finished=FOLDS - 2, seed=number)


def complete(run: Run) -> None:
    """Writes what the rest of the training would have."""
    for fold in run.folds[FOLDS - 2 :]:
        fold.write_history([epoch(e, fold.number, EPOCHS) for e in range(1, EPOCHS + 1)])
        fold.log.write_text(f"fold {fold.number}\n", encoding="utf-8")
        write_json(fold.done, {"epochs": EPOCHS, "test": "", "test_rows": 0})
    each = [fold.history()[-1]["valid/kl"] for fold in run.folds]
    numbers = list(range(FOLDS))
    write_json(run.scores_path, scores(folds=each, fold_numbers=numbers, identity=run.identity, oof=sum(each) / FOLDS))
    (run.folder / "report.html").write_text(f"report of {run.identity}", encoding="utf-8")
    run.write_state(status="finished")
    release(run)


def series(client: Any, run_id: str, names: Any) -> list[tuple[str, int, float, int]]:
    """All that the server has of a run's metrics, one line a value: what is stored twice is there twice."""
    found = [p for name in names for p in client.get_metric_history(run_id, name)]
    return sorted((p.key, p.step, p.value, p.timestamp) for p in found)


def expected(points: list[wording.Point]) -> list[tuple[str, int, float, int]]:
    return sorted((p.name, p.step, p.value, int(p.when * 1000)) for p in points)


def files(client: Any, run_id: str, folder: Path) -> dict[str, bytes]:
    """name → content of a run's artifacts."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    root = Path(client.download_artifacts(run_id, "", str(folder)))
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def holds(uri: str, run: Run, scratch: Path) -> None:
    """The server has exactly what the folder has: each once."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("hms")
    found = client.search_runs([experiment.experiment_id], f"tags.identity = '{run.identity}'")
    (parent,) = [one for one in found if "fold" not in one.data.tags]
    by_fold = {one.data.tags["fold"]: one for one in found if "fold" in one.data.tags}
    assert sorted(by_fold) == [str(k) for k in range(FOLDS)]
    assert len(found) == FOLDS + 1
    assert parent.data.params == facts.leaves(run.config)
    known, tags = run.scores(), {"model": "wavenet", "dataset": "hms", "simulated": "false", "group": "wavenet"}
    assert known is not None
    points = wording.run_points(known, run.scores_path.stat().st_mtime)
    assert series(client, parent.info.run_id, {p.name for p in points} | set(parent.data.metrics)) == expected(points)
    names = ("config.yaml", "environment.json", "scores.json", "report.html")
    ours = files(client, parent.info.run_id, scratch)
    assert ours.pop("folds.csv").startswith(b"fold,status,kl")
    assert ours == {name: (run.folder / name).read_bytes() for name in names}
    for fold in run.folds:
        one = by_fold[str(fold.number)]
        assert (one.info.status, one.data.tags["mlflow.parentRunId"]) == ("FINISHED", parent.info.run_id)
        assert tags.items() <= one.data.tags.items()
        assert one.data.params["fold"] == str(fold.number)
        assert series(client, one.info.run_id, one.data.metrics) == expected(points_of(fold))
        assert files(client, one.info.run_id, scratch) == {"log.txt": fold.log.read_bytes()}
    assert (parent.info.status, tags.items() <= parent.data.tags.items()) == ("FINISHED", True)


def points_of(fold: Fold) -> list[wording.Point]:
    return [point for entry in fold.history() for point in wording.epoch_points(entry, math.nan)]


def sent(run: Run) -> int:
    """Epochs that are noted as sent."""
    note = run.folder / "tracking.json"
    return sum(known["sent"] for known in read_json(note)["folds"].values()) if note.exists() else 0


def test_eight_runs_at_once_lose_nothing_though_the_server_dies_and_a_mirror_is_killed(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs, port = tmp_path / "outputs", free_port()
    uri, before = f"http://127.0.0.1:{port}", (FOLDS - 1) * EPOCHS - 1
    runs = [half_done(outputs, number) for number in range(RUNS)]
    server = mlflow_server.serve(tmp_path, port, database.uri, workers=2)
    mirrors: list[MirrorProcess] = []
    try:
        mirrors = [start_mirror(run, uri, wait_s=120) for run in runs]
        until(lambda: sum(map(sent, runs)) >= RUNS * before // 3, 180)
        kill(server)  # in the middle of what they send
        mirrors[0].finish(0)  # and a mirror beside it, which notes nothing more
        began = time.perf_counter()
        for run in runs:
            complete(run)
        assert time.perf_counter() - began < 10, "what a training writes waits for nobody"
        assert mirrors[1].finish(timeout=3) is False, "the wait is bounded"
        assert time.perf_counter() - began < 20
        server = mlflow_server.serve(tmp_path, port, database.uri, workers=2)
        assert all(mirror.finish(240) for mirror in mirrors[2:]), logs(runs)
        folders = [str(run.folder) for run in runs]
        assert run_command(track.COMMAND, [*folders, "--uri", uri]) == 0, "".join(capsys.readouterr())
        capsys.readouterr()
        assert run_command(track.COMMAND, [*folders, "--uri", uri]) == 0
        assert capsys.readouterr().out.count("sent nothing new") == RUNS
        for run in runs:
            holds(uri, run, tmp_path / "scratch")
    finally:
        for mirror in mirrors:
            mirror.finish(0)
        kill(server)
    assert "Traceback" not in logs(runs)
    assert "does not answer; trying again" in logs(runs)


def logs(runs: list[Run]) -> str:
    return "\n".join((run.folder / "tracking.log").read_text(encoding="utf-8") for run in runs)


WORKER = """
import sys
from pathlib import Path
from optuna.distributions import FloatDistribution
from bench.search import study
with study.opened(Path(sys.argv[1]), sys.stdin.readline().strip(), "s", "minimize", "random", None,
                  {"a": FloatDistribution(0.0, 1.0)}) as search:
    for _ in range(5):
        trial = search.ask()
        search.tell(trial.number, trial.params["a"], run="r")
"""


@pytest.fixture
def another() -> Iterator[Database]:
    """MLflow and Optuna each keep a table alembic_version: they can't share a database."""
    with served() as database:
        yield database


def test_several_processes_share_a_study_in_postgresql(another: Database, tmp_path: Path) -> None:
    from optuna.distributions import FloatDistribution

    from bench.search import study

    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(another.uri + "\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], said
    space = {"a": FloatDistribution(0.0, 1.0)}
    with study.opened(tmp_path, another.uri, "s", "minimize", "random", 0, space) as search:
        trials = search.of("COMPLETE")
        assert [trial.number for trial in trials] == list(range(15))
        assert len({trial.user_attrs[study.OWNER] for trial in trials}) == 3
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "nobody"])
def test_storage_that_cannot_be_reached_is_one_sentence_in_time(
    silent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optuna.distributions import FloatDistribution

    from bench.search import study

    skip_without()
    monkeypatch.setattr(study, "ANSWER_WITHIN", 2)
    with socket.socket() as taken:  # takes the connection and never answers
        taken.bind(("127.0.0.1", 0))
        if silent:
            taken.listen()
        address, began = Database.address("127.0.0.1", taken.getsockname()[1]), time.perf_counter()
        opened = study.opened(tmp_path, address, "s", "minimize", "random", 0, {"a": FloatDistribution(0.0, 1.0)})
        with pytest.raises(UserError, match="can't be opened") as told, opened:
            pass
    assert time.perf_counter() - began < 12
    assert PASSWORD not in str(told.value)
    assert "p%40ss" not in str(told.value)
