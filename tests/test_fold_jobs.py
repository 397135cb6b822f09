"""Folds as jobs of a queue: the command may go away and come back, a killed job costs its fold alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from bench.atomic import read_json
from bench.cli.door import run as run_command
from bench.crossval.tickets import Ticket, alive, ticket
from bench.runs.run import Run
from bench.train import COMMAND
from conftest import small_overrides
from mlflow_server import until

pytestmark = pytest.mark.slow


@pytest.fixture
def words(beats: Path, tmp_path: Path) -> list[str]:
    """A command whose folds take some seconds each, as jobs."""
    given = [word for word in small_overrides(beats, tmp_path) if not word.startswith("train.")]
    return [*given, "folds.launcher=submitit", "train.epochs=200", "pictures=false"]


def start(words: list[str], errors: Path) -> subprocess.Popen[bytes]:
    with open(errors, "wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "bench.train", *words], stdout=subprocess.DEVNULL, stderr=file, cwd=errors.parent
        )


def working(run: Run, number: int) -> list[psutil.Process]:
    """The processes of a fold's job, stopped after its first epochs: it shall not be over in the midst of a test."""
    until(lambda: bool(run.fold(number).history()), 60)
    job = ticket(run.fold(number))
    assert job is not None
    processes = psutil.Process(int(job.id)).children(recursive=True)
    for process in processes:
        process.suspend()
    return processes


def test_the_command_may_go_away_and_come_back(words: list[str], tmp_path: Path) -> None:
    first = start(words, tmp_path / "1")
    tickets = lambda: sorted(tmp_path.glob("outputs/heartbeat/mlp/*/folds/*/job.json"))  # noqa: E731
    until(lambda: len(tickets()) == 2, 60)
    run = Run(tickets()[0].parents[2])
    held = [working(run, number) for number in (0, 1)]
    first.send_signal(signal.SIGKILL)
    first.wait()
    jobs = [alive(run.fold(k)) for k in (0, 1)]
    assert all(jobs), "they go on"
    second = start(words, tmp_path / "2")
    until(lambda: "epoch" in (tmp_path / "2").read_text(), 60)
    told = (tmp_path / "2").read_text()
    assert told.count("this command attaches to it") == 2
    assert [alive(run.fold(k)) for k in (0, 1)] == jobs, "none is started twice"
    killed = jobs[1]
    assert killed is not None
    psutil.Process(int(killed.id)).children()[0].kill()
    for process in held[0] + held[1]:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    assert second.wait(90) == 1
    told = (tmp_path / "2").read_text()
    assert f"fold 1 has ended without a word (local job {killed.id} was killed or cancelled" in told
    assert run.fold(0).finished
    trained = run.fold(0).done.stat().st_mtime_ns

    third = start(words, tmp_path / "3")
    until(lambda: (job := alive(run.fold(1))) is not None and job != killed, 60)
    third.send_signal(signal.SIGKILL)
    third.wait()
    until(lambda: run.state().get("status") == "finished", 90)  # collected by the job, as nobody else is there
    scores = run.scores()
    assert scores is not None
    assert scores.complete
    assert run.fold(0).done.stat().st_mtime_ns == trained, "what was done is not trained again"
    assert not tickets()


@pytest.mark.skipif(not find_spec("ray"), reason="Ray is in an environment of its own: make ray")
def test_folds_are_tasks_of_ray(words: list[str], tmp_path: Path) -> None:
    done = start([*words, "folds.launcher=ray", "train.epochs=3"], tmp_path / "1")
    assert done.wait(120) == 0, (tmp_path / "1").read_text()
    (scores,) = tmp_path.glob("outputs/heartbeat/mlp/*/scores.json")
    assert read_json(scores)["fold_numbers"] == [0, 1]


def test_a_queue_that_refuses_is_one_sentence(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(COMMAND, [*words, "folds.job={nonsense:1}"]) == 2
    assert "folds.job: submitit refuses" in capsys.readouterr().err
    for name, text in (("srun", "exit 0"), ("sbatch", "echo Invalid account >&2; exit 1")):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    assert run_command(COMMAND, words) == 2
    told = capsys.readouterr().err
    assert "the queue refuses fold 0: " in told
    assert "Invalid account" in told
    assert run_command(COMMAND, ["-m", "hydra/launcher=submitit_slurm", *words, "seed=1,2"]) == 2
    assert "no job was queued: " in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert run_command(COMMAND, words) == 2
    assert 'pip install "bench[slurm]"' in capsys.readouterr().err


def test_a_ticket_is_believed_only_where_its_job_can_be_asked_after(tmp_path: Path) -> None:
    fold = Run(tmp_path).fold(0)
    fold.folder.mkdir(parents=True)
    mine = Ticket(cluster="local", id=str(psutil.Process().pid), host="elsewhere", log="log")
    for job in (mine, Ticket(cluster="ray", id="ab", host="here", log="log")):
        job.write(fold)
        assert ticket(fold) == job
        assert alive(fold) is None
    (fold.folder / "job.json").write_text('{"cluster": "local", "id": "../../x", "host": "h", "log": "l"}')
    assert ticket(fold) is None
    (fold.folder / "job.json").write_text("[]")
    assert ticket(fold) is None
