"""The doctor tells what a machine is like, names what would fail, and no user, machine or password."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

import tiny
from bench.cli.door import run
from bench.crossval.health import anonymous
from bench.data.store import open_or_build
from bench.doctor import COMMAND
from bench.training import parts
from fake_run import write_run


def examined(tmp_path: Path, *words: str) -> int:
    here = [f"outputs={tmp_path}/outputs", f"store={tmp_path}/store"]
    return run(COMMAND, ["self_test=false", *here, *words])


def test_a_well_machine_is_told_in_a_line_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "outputs", finished=1)
    assert examined(tmp_path) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["bench", "python", "packages", "machine", "gpu", "disk", "stores", "runs", "tracking"]
    assert "torch 2" in lines["packages"]
    assert lines["runs"] == "1 running"
    assert "not there yet" in lines["tracking"]


def test_a_server_that_does_not_answer_is_a_problem_told_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examined(tmp_path, "tracking.uri=http://anna:secret@127.0.0.1:9") == 2
    told = "".join(capsys.readouterr())
    assert "tracking  PROBLEM: http://127.0.0.1:9 does not answer" in told
    assert "secret" not in told


def test_a_database_that_is_none_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/mlflow.db").write_text("no database", encoding="utf-8")
    assert examined(tmp_path) == 2
    assert "move it away" in capsys.readouterr().out


def test_a_store_that_lost_bytes_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = parts.dataset(tiny.node("dataset", "heartbeat"), tiny.raw_files("heartbeat", tmp_path / "raw"))
    features = parts.features(tiny.node("features", "heartbeat_waveform"))
    store = open_or_build(dataset, features, "train", tmp_path / "store", 1, None)
    assert examined(tmp_path) == 0
    assert "1 whole" in capsys.readouterr().out
    with open(store.folder / "data.bin", "r+b") as file:
        file.truncate(8)
    assert examined(tmp_path) == 2
    assert "lacks bytes" in capsys.readouterr().out


def test_a_folder_of_somebody_else_is_told_without_names() -> None:
    text = anonymous(f"{Path.home()}/data of {getpass.getuser()}")
    assert text.startswith("~/data of ")
    assert getpass.getuser() not in text


@pytest.mark.slow
def test_the_self_test_trains_a_model_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(COMMAND, []) == 0
    assert "self-test passed in" in capsys.readouterr().out
    assert not (tmp_path / "data").exists()
