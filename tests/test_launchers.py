"""Sweeps by Hydra's launchers: a job that fails and one that is killed cost their own rows of the table alone."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import fake_slurm
from bench.cli.compose import compose
from bench.cli.door import run
from bench.train import COMMAND
from conftest import small_overrides
from mlflow_server import until

pytestmark = pytest.mark.slow

MOODY = '''
import os, signal, time
from pathlib import Path
from bench.datasets.heartbeat import Heartbeat


class Moody(Heartbeat):
    """Heartbeats of which some bring trouble, while there is a file of that name."""

    def __init__(self, root, mood="well", **more):
        super().__init__(root, **more)
        if Path("trouble").exists():
            if mood == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if mood == "fails":
                raise ValueError("a bad mood")
'''


@pytest.fixture
def words(beats: Path, tmp_path: Path) -> list[str]:
    """A small command on a data set with moods, in ``tmp_path``."""
    (tmp_path / "moods.py").write_text(MOODY, encoding="utf-8")
    (tmp_path / "trouble").touch()
    given = [word for word in small_overrides(beats, tmp_path) if not word.startswith("train.")]
    return [*given, "extensions=[moods]", "dataset._target_=moods.Moody", "train.epochs=1", "pictures=false"]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.train", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_sweep_by_a_launcher_loses_what_failed_alone(
    launcher: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if launcher == "ray" and not find_spec("ray"):
        pytest.skip("Ray takes older packages than MLflow's newest: make ray runs this in an environment of its own")
    if launcher == "submitit_slurm":
        monkeypatch.setenv("PATH", str(fake_slurm.write(tmp_path / "bin")), prepend=":")
    sweep = ["-m", f"hydra/launcher={launcher}", *words, "+dataset.mood=killed,fails,fine"]
    first = start(tmp_path, *sweep)
    out, err = first.communicate(timeout=120)
    assert first.returncode == 1, err
    assert "1 of 3 jobs finished" in out, err
    assert "+dataset.mood=killed: its process ended before it did" in out
    assert "+dataset.mood=fails: ValueError: a bad mood" in out
    rows = dict(line.split(maxsplit=1) for line in out.splitlines() if line.startswith(" +dataset.mood"))
    assert [row.startswith("failed") for row in rows.values()] == [True, True, False]
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs").glob("heartbeat/mlp/*/folds/*/done.json")}
    assert len(done) == 2, "one job of two folds"

    if launcher != "joblib":
        return  # that a sweep goes on is the command's doing, under whichever launcher

    (tmp_path / "trouble").unlink()
    second = start(tmp_path, *sweep)
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert "3 of 3 jobs finished" in out
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs").glob("heartbeat/mlp/*/folds/*/done.json")}
    assert len(after) == 6
    assert done.items() <= after.items(), "what was there is not trained again"


def test_workers_of_joblib_end_when_their_command_is_killed(words: list[str], tmp_path: Path) -> None:
    import psutil

    more = ["+dataset.mood=well,fine", "train.epochs=1000000"]
    command = start(tmp_path, "-m", "hydra/launcher=joblib", *words, *more)
    until(lambda: len(list(tmp_path.glob("outputs/heartbeat/mlp/*/folds/*/checkpoint.pt"))) >= 2, 90)
    theirs = psutil.Process(command.pid).children(recursive=True)
    assert len(theirs) >= 2
    command.send_signal(signal.SIGKILL)
    command.wait()
    for stream in (command.stdout, command.stderr):
        assert stream is not None
        stream.close()
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in theirs), 20)


def test_a_launcher_that_is_not_installed_or_refuses_is_one_sentence(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "joblib", None)
    assert run(COMMAND, ["-m", "hydra/launcher=joblib", *words[:6], "seed=1,2"]) == 2
    assert 'pip install "bench[joblib]"' in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert run(COMMAND, ["-m", "hydra/launcher=submitit_slurm", *words[:6], "seed=1,2"]) == 2
    assert "no job was queued" in capsys.readouterr().err


def test_the_page_on_scale_has_commands_that_compose() -> None:
    page = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    trained = [shlex.split(line)[3:] for line in commands if line.startswith("python -m bench.train ")]
    assert len(trained) >= 6
    for words in trained:
        single = [word for word in words if word != "-m" and not re.match(r"seed=|.*(interval|choice)\(", word)]
        config, _ = compose("train", single)
        assert config["folds"]["launcher"] in ("local", "submitit", "ray")
