"""The leaderboard: the best first, seeds together, simulated data apart, and nothing hidden that has no score."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.atomic import write_json
from bench.cli.door import run
from bench.cli.standings import as_csv
from bench.comparison.significance import over_folds
from bench.leaderboard import COMMAND
from bench.runs import leaderboard
from bench.runs.run import Run
from fake_run import rewrite, scores, write_run


def made(outputs: Path, name: str, oof: float, group: str = "", lr: float = 0.001, **more: Any) -> Run:
    """A finished run with this score; ``more`` are other values of its inputs.json and scores.json."""
    run = write_run(outputs, identity=name, seed=more.pop("seed", 0))
    rewrite(run, "config.yaml", optimizer={"_target_": "torch.optim.Adam", "lr": lr})
    known = {"group": group or name, **more}
    rewrite(run, "inputs.json", **known)
    write_json(run.folder / "scores.json", scores(oof=oof, identity=name, **known))
    return Run.open(run.folder)


def test_the_best_comes_first_and_seeds_of_one_recipe_are_one_row(tmp_path: Path) -> None:
    made(tmp_path, "aaaaaaaaaaaa", 0.6, "g", lr=0.01)
    made(tmp_path, "bbbbbbbbbbbb", 0.4, "g", lr=0.01, seed=1)
    made(tmp_path, "cccccccccccc", 0.3)
    made(tmp_path, "dddddddddddd", 0.9, direction="max", metric="auc")
    made(tmp_path, "eeeeeeeeeeee", 0.7, direction="max", metric="auc")
    made(tmp_path, "ffffffffffff", 0.1, simulated=True)
    places, left_out = leaderboard.places([Run(path) for path in sorted(tmp_path.glob("hms/wavenet/*"))])
    assert left_out == []
    assert list(places) == [("hms", "auc", False), ("hms", "kl", False), ("hms", "kl", True)]
    assert [row.score for row in places["hms", "auc", False]] == [0.9, 0.7], "higher is better"
    first, second = places["hms", "kl", False]
    assert (first.score, first.over) == (0.3, "2 folds")
    assert (second.score, second.over, len(second.runs)) == (pytest.approx(0.5), "2 seeds", 2)
    assert second.spread == pytest.approx(0.1414, abs=1e-4)
    assert (first.words, second.words) == (("optimizer.lr=0.001",), ("optimizer.lr=0.01",))
    files = [path for one in second.runs for path in one.rglob("*") if path.is_file()]
    assert second.size == sum(path.stat().st_size for path in files)
    lines = list(csv.DictReader(io.StringIO(as_csv(places, over_folds))))
    assert [line["place"] for line in lines] == ["1", "2", "1", "2", "1"]


def test_runs_without_a_whole_score_are_told_and_no_formula_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "aaaaaaaaaaaa", 0.6)
    part = made(tmp_path, "bbbbbbbbbbbb", 0.1)
    rewrite(part, "scores.json", complete=False)
    (made(tmp_path, "cccccccccccc", 0.2).folder / "scores.json").write_text("{", encoding="utf-8")
    to = tmp_path / "table.csv"
    assert run(COMMAND, [f"outputs={tmp_path}", f"to={to}"]) == 0
    said = capsys.readouterr()
    assert "aaaaaaaaaaaa" in said.out
    assert "bbbbbbbbbbbb" not in said.out
    assert "a part of its folds alone" in said.err
    assert "scores.json" in said.err
    assert to.read_text(encoding="utf-8").count("\n") == 2
    assert run(COMMAND, [f"outputs={tmp_path / 'none'}"]) == 2
    assert "no finished run" in capsys.readouterr().err
    assert run(COMMAND, [f"outputs={tmp_path}", "top=0"]) == 2


def test_the_interval_is_a_corrected_t_interval_over_folds_and_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = [0.5, 0.6, 0.7, 0.4, 0.3]
    for name, shift in (("aaaaaaaaaaaa", 0.0), ("bbbbbbbbbbbb", 0.1)):
        one = made(tmp_path, name, 0.5 + shift, "g")
        rewrite(one, "scores.json", folds=[score + shift for score in folds], fold_numbers=[0, 1, 2, 3, 4])
    ((row,),) = leaderboard.places([Run(path) for path in sorted(tmp_path.glob("hms/wavenet/*"))])[0].values()
    both = np.array([*folds, *(score + 0.1 for score in folds)])
    half = 2.262157 * both.std(ddof=1) * np.sqrt(1 / 10 + 1 / 4)  # t of 9 degrees of freedom
    assert over_folds(row.folds, row.n_folds) == pytest.approx((both.mean() - half, both.mean() + half), abs=1e-6)
    assert over_folds(folds, 5)[1] - over_folds(folds, 5)[0] > over_folds(row.folds, 5)[1] - over_folds(row.folds, 5)[0]
    assert run(COMMAND, [f"outputs={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert f"{both.mean() - half:.4f}" in said
    assert f"{both.mean() + half:.4f}" in said
