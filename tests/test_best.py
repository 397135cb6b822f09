"""``best`` and ``best:3`` name runs by their out-of-fold scores, and refuse what can't be held against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.words import quoted
from bench.predict import COMMAND
from bench.runs.run import Run
from bench.runs.selection import meant, select
from bench.spec import UserError
from fake_run import rewrite, write_member, write_run

TARGET = np.eye(2)[np.arange(12) % 2]


def made(outputs: Path, name: str, oof: float, model: str = "wavenet", **more: Any) -> Run:
    """A whole run with this score; ``more`` are other values of its inputs.json and scores.json."""
    run = write_member(outputs, np.full((12, 2), 0.5), TARGET, np.arange(12) % 3, model=model, identity=name)
    rewrite(run, "inputs.json", **more)
    return rewrite(run, "scores.json", oof=oof, **more)


def named(requested: str, outputs: Path) -> list[str]:
    return [run.identity[0] for run in select(requested, outputs).runs]


def test_the_best_runs_come_in_the_order_of_their_scores(tmp_path: Path) -> None:
    for name, oof in (("a", 0.5), ("b", 0.3), ("c", 0.9)):
        made(tmp_path, name * 12, oof)
    made(tmp_path, "d" * 12, 0.1, model="ensemble")
    write_run(tmp_path, identity="e" * 12, finished=1)
    assert named("best", tmp_path) == ["b"], "lower is better, and ensembles and unfinished runs are not meant"
    assert named("best:2", tmp_path) == ["b", "a"]
    assert named("best,model=ensemble", tmp_path) == ["d"]
    with pytest.raises(UserError, match=r"runs=best:9: of the 4 runs that are meant, 3 can be used"):
        select("best:9", tmp_path)
    with pytest.raises(UserError, match="best:0 names no run"):
        select("best:0", tmp_path)


def test_where_higher_is_better_the_highest_is_best(tmp_path: Path) -> None:
    for name, oof in (("a", 0.5), ("b", 0.3), ("c", 0.9)):
        made(tmp_path, name * 12, oof, direction="max", metric="auc")
    assert named("best:2", tmp_path) == ["c", "a"]


def test_scores_of_several_kinds_have_no_best(tmp_path: Path) -> None:
    made(tmp_path, "a" * 12, 0.5)
    made(tmp_path, "b" * 12, 0.3, simulated=True)
    with pytest.raises(UserError, match=r"best of which\?.*hms by kl, hms by kl \(simulated\).*simulated=false"):
        select("best", tmp_path)
    assert named("best,simulated=false", tmp_path) == ["a"]


def test_a_run_that_lost_a_file_is_not_the_best(tmp_path: Path) -> None:
    made(tmp_path, "a" * 12, 0.5)
    (made(tmp_path, "b" * 12, 0.3).folder / "oof.parquet").unlink()
    assert named("best", tmp_path) == ["a"]


def test_nothing_is_deleted_for_being_the_best(tmp_path: Path) -> None:
    made(tmp_path, "a" * 12, 0.5)
    with pytest.raises(UserError, match="runs=best: that is for commands that use a run"):
        meant("best", tmp_path)


def test_a_command_on_one_run_reads_the_best_of_a_query_as_one_word() -> None:
    assert quoted("run=best,dataset=hms", COMMAND.texts) == 'run="best,dataset=hms"'
    assert quoted("run=best:1", COMMAND.texts) == 'run="best:1"'
