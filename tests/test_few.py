"""``rows=`` and ``+debug=quick``: a few rows, whole groups and every class of them, through the whole run."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tiny
from bench.cli.door import run
from bench.datasets.few import drawn, few, n_folds
from bench.runs.selection import select
from bench.spec import UserError
from bench.train import COMMAND
from bench.training import parts


def table(classes: list[int], groups: list[int] | None = None) -> pd.DataFrame:
    frame = pd.DataFrame(np.eye(max(classes) + 1)[classes]).add_prefix("target_")
    return frame if groups is None else frame.assign(group=groups)


def test_every_class_comes_twice_however_rare_it_is() -> None:
    classes = [0] * 500 + [1] * 30 + [2] * 2
    kept = drawn(table(classes), 12)
    assert np.bincount(np.array(classes)[kept]).tolist() == [5, 5, 2]
    assert np.array_equal(kept, np.sort(kept))
    assert np.array_equal(kept, drawn(table(classes), 12)), "the draw depends on the table alone"
    assert n_folds(table(classes).iloc[kept]) == 2


def test_groups_come_whole() -> None:
    groups = np.repeat(np.arange(20), 5)
    kept = drawn(table([0, 1] * 50, groups.tolist()), 23)
    assert np.unique(groups[kept], return_counts=True)[1].tolist() == [5] * 5


def test_of_few_rows_all_are_taken() -> None:
    assert drawn(table([0, 1, 0, 1]), 100).tolist() == [0, 1, 2, 3]


def test_fewer_than_two_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rows=1: a training needs some rows on either side"):
        few(parts.dataset(tiny.node("dataset", "heartbeat"), tiny.raw_files("heartbeat", tmp_path)), 1)


@pytest.mark.parametrize("name", ["heartbeat", "hms", "seti", "freesound"])
def test_an_example_is_that_of_its_row(name: str, tmp_path: Path) -> None:
    whole = parts.dataset(tiny.node("dataset", name), tiny.raw_files(name, tmp_path))
    part = pickle.loads(pickle.dumps(few(whole, 4)))
    ids = part.table("train")["id"].tolist()
    assert 2 <= len(ids) <= len(whole.table("train"))
    place = whole.table("train")["id"].tolist().index(ids[-1])
    mine, its = part.read("train", len(ids) - 1), whole.read("train", place)
    if isinstance(its, dict):
        assert all(np.array_equal(mine[key], its[key], equal_nan=True) for key in its)
    else:
        assert np.array_equal(mine, its, equal_nan=True)
    assert len(part.table("test")) == 0
    assert part.classes == whole.classes


@pytest.mark.slow
def test_a_quick_look_trains_one_fold_of_few_rows_untracked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = [f"{key}={tmp_path / key}" for key in ("outputs", "data")]
    assert run(COMMAND, ["+debug=quick", "dataset=heartbeat", "model=mlp", "dataset.simulator.n_train=200", *here]) == 0
    told, beside = capsys.readouterr()
    assert "of the training rows, no test rows" in beside
    assert "fold 0 alone" in told
    folder = Path(told.splitlines()[-1].removeprefix("run "))
    assert len(pd.read_parquet(folder / "splits.parquet")) <= 20
    assert not list((tmp_path / "outputs").glob("mlflow*"))
    with pytest.raises(UserError, match="is not finished"):
        select("latest", tmp_path / "outputs")
