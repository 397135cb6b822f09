"""One life of a run: held by one command, marked by how its work ends, mirrored, with its files in one place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.atomic import write_json
from bench.crossval import lifecycle
from bench.crossval.lifecycle import held
from bench.datasets.root import MARK, Files
from bench.runs.recipe import Tracking
from bench.runs.run import Run
from bench.runs.selection import problem
from bench.spec import UserError
from bench.training import device
from bench.training.loading import finished_folds
from fake_run import rewrite, write_run

SILENT = Tracking(enabled=False)


def files(data: Path, given: Path | None = None, **settings: int) -> Files:
    def simulate(folder: Path) -> None:
        (folder / "made.csv").write_text(str(settings))

    return Files("beats", given, data, settings, simulate)


@pytest.mark.parametrize(
    ("error", "status"), [(None, "finished"), (KeyboardInterrupt(), "killed"), (ValueError("x"), "failed")]
)
def test_a_run_is_marked_by_how_its_work_ends(tmp_path: Path, error: BaseException | None, status: str) -> None:
    run = Run(tmp_path / "run")
    with held(run, SILENT, str(tmp_path), "trained", "") as life:
        try:
            with life.working():
                assert run.state()["status"] == "running"
                if error is not None:
                    raise error
        except (KeyboardInterrupt, ValueError):
            pass
        assert run.state()["status"] == status


def test_files_that_a_killed_writer_left_are_removed_by_the_next_command(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    run = Run(tmp_path / "run")
    folder = run.folder / "folds" / "0"
    folder.mkdir(parents=True)
    left = [folder / f".weights.safetensors.{dead.pid}.tmp", run.folder / f".state.json.{dead.pid}.tmp"]
    kept = [folder / f".oof.parquet.{os.getpid()}.tmp", folder / "mine.1.tmp", folder / ".mine.tmp"]
    for path in (*left, *kept):
        path.write_text("")
    with held(run, SILENT, str(tmp_path), "trained", ""):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in kept)


def test_work_says_itself_which_folds_failed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with held(run, SILENT, str(tmp_path), "trained", "") as life, life.working() as work:
        work.status, work.failed = "failed", [1]
    assert (run.state()["status"], run.state()["failed"]) == ("failed", [1])


def test_one_command_holds_a_run_and_leaves_it_when_it_is_done(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with held(run, SILENT, str(tmp_path), "trained", ""):
        inside = held(run, SILENT, str(tmp_path), "trained", ", or change the seed")
        with (
            pytest.raises(
                UserError, match=rf"trained by another command \(pid {os.getpid()} on .*\); wait for it, or change"
            ),
            inside,
        ):
            pass
    with held(run, SILENT, str(tmp_path), "trained", "") as life:
        assert life.mirrored, "nobody wants it mirrored"


def test_an_interruption_waits_for_the_mirror_no_longer_than_a_person_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    class Mirror:
        def finish(self, timeout: float) -> bool:
            waited.append(timeout)
            return True

    monkeypatch.setattr(lifecycle, "start_mirror", lambda *_: Mirror())
    run, tracking = Run(tmp_path / "run"), Tracking(uri="http://nowhere", wait=100.0)
    with held(run, tracking, str(tmp_path), "trained", "") as life:
        with life.working():
            pass
        with pytest.raises(KeyboardInterrupt), life.working():
            raise KeyboardInterrupt
    assert waited == [100.0, lifecycle.IMPATIENT]
    with held(run, tracking, str(tmp_path), "trained", "") as life:
        assert life.mirrored, "all was sent to this server"
    with held(run, Tracking(uri="http://other"), str(tmp_path), "trained", "") as life:
        assert not life.mirrored


def test_the_folder_given_goes_before_the_usual_one_and_that_before_simulated_files(tmp_path: Path) -> None:
    simulated = files(tmp_path, seed=0).find()
    assert simulated == tmp_path / "simulated" / "beats"
    assert files(tmp_path, seed=0).find() == simulated, "made once"
    other = files(tmp_path, seed=1).find()
    assert other.name.startswith("beats-")
    assert files(tmp_path, seed=1).find() == other
    (tmp_path / "beats").mkdir()
    assert files(tmp_path, seed=0).find() == tmp_path / "beats"
    assert files(tmp_path, tmp_path / "elsewhere", seed=0).find() == tmp_path / "elsewhere"


def test_the_files_that_a_run_was_trained_on_are_found_by_the_same_rule(tmp_path: Path) -> None:
    assert files(tmp_path, seed=3).as_trained(True) == files(tmp_path, seed=3).find()
    with pytest.raises(UserError, match="on which the run was trained, is not here"):
        files(tmp_path, seed=3).as_trained(False)
    (tmp_path / "beats").mkdir()
    assert files(tmp_path, seed=3).as_trained(False) == tmp_path / "beats"
    with pytest.raises(UserError, match=r"trained on simulated files, and .* is real"):
        files(tmp_path, seed=3).as_trained(True)
    write_json(tmp_path / "beats" / MARK, {})
    with pytest.raises(UserError, match=r"trained on real files, and .* is simulated"):
        files(tmp_path, seed=3).as_trained(False)


def test_one_place_chooses_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, wanted in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=available: there)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        assert (device.choose("auto").type, device.choose("cpu").type) == (wanted, "cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no CUDA device"):
        device.choose("cuda")
    with pytest.raises(UserError, match="device=tpu is not one of auto, cpu, cuda"):
        device.choose("tpu")


def test_what_makes_a_run_of_some_folds_whole_is_the_command_that_does(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", finished=1)
    part = rewrite(write_run(tmp_path / "part", finished=1), "config.yaml", folds={"only": [0], "parallel": None})
    part.write_state(status="partial")
    whole.write_state(status="killed")
    for run, words in ((whole, "the command that trained it"), (part, "its command without folds.only")):
        assert f"{words} makes it whole" in (problem(run) or "")
        with pytest.raises(UserError, match=rf"fold 1 of 2 not trained to the end; {words} .*with folds=\[0\]"):
            finished_folds(run, None)
