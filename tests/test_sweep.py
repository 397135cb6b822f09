"""A sweep's table: its own jobs alone, killed ones too; means over seeds alone; the exit code comes before printing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.cli import sweep
from bench.runs.scores import Scores
from fake_run import scores as content


def of_group(**given: Any) -> Scores:
    from bench.runs import scores

    return scores.of(content(group="g", **given), "here")


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that leaves a job's record; Hydra's own part is faked."""
    sweep.begin()
    state: dict[str, Any] = {"num": -1, "name": ""}
    runtime = SimpleNamespace(cwd=str(tmp_path))

    def hydra() -> Any:
        job = SimpleNamespace(num=state["num"])
        overrides = SimpleNamespace(task=[*state["name"].split()])
        return SimpleNamespace(runtime=runtime, sweep=SimpleNamespace(dir="sweep"), job=job, overrides=overrides)

    from hydra.core.hydra_config import HydraConfig

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig, "get", staticmethod(hydra))
    monkeypatch.setattr(sweep, "sweeping", lambda: True)

    def job(name: str, code: int | None = 0, run: str | None = None, found: Scores | None = None) -> None:
        state.update(num=state["num"] + 1, name=name)
        sweep.start()
        if code is not None:
            sweep.note(code, Path(run) if run else None, found, "it failed" if code else None)

    return job


def concluded(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    config: Any = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir="sweep")))
    sweep.Summary().on_multirun_start(config)
    capsys.readouterr()
    sweep.Summary().on_multirun_end(config)
    return sweep.exit_code(), capsys.readouterr().out.strip().splitlines()


def test_a_sweep_without_a_job_has_failed(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = concluded(capsys)
    assert code == 1
    assert "no job has begun" in lines[-1]


def test_a_folder_that_another_sweep_used_mixes_no_tables(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("seed=1", run="a", found=of_group())
    sweep.begin()
    jobs("seed=2", run="b", found=of_group())
    code, lines = concluded(capsys)
    assert code == 0
    assert lines[-1] == "1 of 1 jobs finished"
    assert not any("seed=1" in line or "seeds" in line for line in lines)


def test_a_job_whose_process_was_killed_is_in_the_table(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("seed=1", run="a", found=of_group())
    jobs("seed=2", code=None)
    code, lines = concluded(capsys)
    assert code == 1
    assert lines[-2:] == ["seed=2: its process ended before it did", "1 of 2 jobs finished"]


def test_means_are_over_runs_that_differ_in_the_seed(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("seed=1", run="a", found=of_group(oof=0.4))
    jobs("seed=2", run="b", found=of_group(oof=0.6))
    jobs("seed=2 dataset.root=./again", run="b", found=of_group(oof=0.6))
    _, lines = concluded(capsys)
    (mean,) = [line for line in lines if "seeds" in line]
    assert "mean of 2 seeds" in mean
    assert "0.5000 ± 0.1000" in mean


@pytest.mark.parametrize("name", ["folds.only=[0]", "folds.only=[1]"])
def test_some_folds_are_no_seeds_and_have_no_spread(jobs: Any, capsys: pytest.CaptureFixture[str], name: str) -> None:
    part = of_group(folds=[0.5], fold_numbers=[0], complete=False)
    jobs(name, run="a", found=part)
    jobs("folds.only=[2]", run="a", found=part)
    code, lines = concluded(capsys)
    assert code == 0
    assert any(name in line and "0.5000 (fold 0 alone)" in line for line in lines), lines
    assert not any("seeds" in line or "±" in line for line in lines[1:])


def test_the_exit_code_is_there_whatever_printing_does(
    jobs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs("seed=1", code=2)

    def broken(*_: object) -> None:
        raise UnicodeEncodeError("ascii", "±", 0, 1, "no")

    monkeypatch.setattr(sweep, "_table", broken)
    with pytest.raises(UnicodeEncodeError):
        concluded(capsys)
    assert sweep.exit_code() == 1


def test_secrets_in_a_job_s_words_are_hidden(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("tracking.uri=http://me:secret@host seed=1", run="a", found=of_group())
    assert "secret" not in capsys.readouterr().err
    assert not any("secret" in line for line in concluded(capsys)[1])


def test_a_sweep_that_is_cut_short_has_failed(
    jobs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.cli import door
    from bench.train import COMMAND

    def main(**_: object) -> Any:
        def cut_short() -> None:
            config: Any = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir="sweep")))
            sweep.Summary().on_multirun_start(config)
            jobs("seed=1", run="a", found=of_group())
            raise RuntimeError("a worker is gone")

        return lambda job: cut_short

    monkeypatch.setattr("hydra.main", main)
    assert door.run(COMMAND, ["-m", "seed=1,2"]) == 1
    told = capsys.readouterr()
    assert "1 of 1 jobs finished" in told.out
    assert "the sweep was cut short (RuntimeError: a worker is gone)" in told.err
