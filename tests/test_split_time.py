"""A split by time: trained on the past, validated on what follows, in rows and in a whole run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.crossval import warm_start
from bench.crossval.collect import _training_means
from bench.crossval.pseudo_labels import candidates
from bench.crossval.run import cross_validate
from bench.data import assignment, splits
from bench.datasets.base import open_to, serves
from bench.metrics import ACCURACY
from bench.runs.run import Run
from bench.simulators.heartbeat import simulate
from bench.spec import UserError
from conftest import compose


def table(given: Iterable[object], labels: Sequence[int] | None = None, **columns: object) -> pd.DataFrame:
    times = list(given)
    label = np.arange(len(times)) % 2 if labels is None else np.asarray(labels)
    frame = pd.DataFrame(np.eye(2, dtype=np.float32)[label], columns=["target_a", "target_b"])
    return frame.assign(id=[f"r{i}" for i in range(len(times))], time=times, **columns)


def split(rows: pd.DataFrame, digests: np.ndarray | None = None, **options: Any) -> pd.DataFrame:
    given = np.zeros((len(rows), 16), np.uint8) if digests is None else digests
    return assignment.assign(rows, given, partial(splits.time, **options)).onto(rows)


def sides(rows: pd.DataFrame, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions that a fold trains on, and that it validates."""
    trained = open_to(rows, fold) & serves(rows, "trained")
    return np.flatnonzero(trained), np.flatnonzero((rows["fold"] == fold) & serves(rows, "validated"))


def test_every_fold_trains_on_all_that_came_before_what_it_validates() -> None:
    order = np.random.default_rng(0).permutation(24)
    rows = split(table(order), n_splits=3)
    for fold in range(3):
        trained, validated = sides(rows, fold)
        assert sorted(order[trained]) == list(range(6 * (fold + 1)))
        assert sorted(order[validated]) == list(range(6 * (fold + 1), 6 * (fold + 2)))
    assert sorted(order[~rows["validated"]]) == list(range(6))


def test_the_rows_are_those_of_scikit_learns_split_with_times_for_numbers() -> None:
    from sklearn.model_selection import TimeSeriesSplit

    rows = split(table(range(60)), n_splits=5)
    for fold, (trained, validated) in enumerate(TimeSeriesSplit(5).split(np.zeros(60))):
        ours = sides(rows, fold)
        np.testing.assert_array_equal(ours[0], trained)
        np.testing.assert_array_equal(ours[1], validated)


@pytest.mark.parametrize(
    ("times", "gap"),
    [
        (range(24), 3),
        (pd.date_range("2024-01-01", periods=24, freq="D").astype(str), "3D"),
        (pd.date_range("2024-01-01", periods=24, freq="D").strftime("%Y-%m-%dT%H:%M:%S"), "72h"),
    ],
)
def test_a_gap_lies_between_both_sides(times: Iterable[object], gap: object) -> None:
    rows = split(table(times), n_splits=3, gap=gap)
    for fold in range(3):
        trained, validated = sides(rows, fold)
        assert validated.min() - trained.max() == 3
        assert trained.min() == 0


def test_rows_of_one_time_are_never_parted() -> None:
    times = np.repeat([3, 1, 2, 5, 4], [1, 7, 2, 8, 6])
    rows = split(table(times), n_splits=2)
    assert (rows.groupby("time")["fold"].nunique() == 1).all()
    assert rows["fold"].max() == 1


def test_a_group_that_lasts_is_validated_from_its_beginning_and_trained_on_after_its_end() -> None:
    rows = split(table(range(24), group=["g" if i in (7, 13) else f"p{i}" for i in range(24)]), n_splits=3)
    assert rows["fold"][[7, 13]].tolist() == [0, 0]
    assert [{7, 13} <= set(sides(rows, fold)[0]) for fold in range(3)] == [False, False, True]
    assert not {7, 13} & set(sides(rows, 1)[0])


def test_a_copy_never_stands_on_both_sides() -> None:
    digests = np.arange(1, 25, dtype=np.uint64).repeat(2).view(np.uint8).reshape(24, 16).copy()
    digests[20] = digests[2]
    rows = split(table(range(24)), digests, n_splits=3)
    for fold in range(3):
        trained, validated = sides(rows, fold)
        assert not {2, 20} <= {*trained, *validated} or not ({2, 20} & set(trained) and {2, 20} & set(validated))
    assert rows["fold"][20] == -1


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (table(range(9)).drop(columns="time"), {}, r"split=time needs a 'time' column .*; add it .*, or choose split="),
        (table([*range(8), ""]), {}, r"1 of 9 rows have a 'time' that is neither .*: '' \(ids r8\)"),
        (table([*range(8), "soon"]), {}, r"'soon' \(ids r8\)"),
        (table(["2024-01-01"] * 8 + ["never"]), {}, r"'never' \(ids r8\)"),
        (table(range(12)), {"gap": "3D"}, r"split.gap=3D, and the times are numbers: .* split.gap=7"),
        (table(pd.date_range("2024", periods=12).astype(str)), {"gap": 3}, r"the times are dates: .*split.gap=3D"),
        (table(pd.date_range("2024", periods=12).astype(str)), {"gap": "often"}, "split.gap=often is no duration"),
        (table(range(12)), {"gap": -1}, r"split.gap=-1 must be 0 or more"),
        (table(range(12)), {"n_splits": 3, "gap": 50}, r"fold 0 of 3 trains on no row; .*a smaller split.gap"),
        (table([0] * 5 + [1] * 4 + [2] * 3), {"n_splits": 5}, r"3 different times, .*set split.n_splits=2"),
        (table([0] * 12), {"n_splits": 5}, r"1 different times, .*give more times, or choose another split"),
        (table(range(3)), {"n_splits": 5}, r"set split.n_splits=2"),
        (table(range(12)), {"n_splits": 1}, "must be 2 or more"),
        (table(range(12), [0] * 3 + [1] * 9), {"n_splits": 3}, r"class b has no row in the training side of fold 0"),
    ],
)
def test_what_can_not_be_split_by_time_is_said(rows: pd.DataFrame, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        split(rows, **options)


def test_the_number_of_folds_that_is_advised_can_be_made() -> None:
    rows = table([0] * 5 + [1] * 4 + [2] * 3, [0, 1] * 6)
    assert split(rows, n_splits=2)["fold"].max() == 1


def test_the_baseline_and_what_teachers_label_look_at_the_past_alone() -> None:
    rows = split(table(range(24), [0, 0, 1] * 8), n_splits=3)
    means = _training_means(rows)
    for fold in range(3):
        trained, validated = sides(rows, fold)
        expected = rows[["target_a", "target_b"]].to_numpy(np.float64)[trained].mean(0)
        np.testing.assert_allclose(means[validated], np.tile(expected, (len(validated), 1)))
    late = rows.assign(trained=rows["time"] % 4 > 0)
    assert np.flatnonzero(candidates(late, 0)).tolist() == [0, 4]


@pytest.fixture(scope="module")
def beats_in_time(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("timed")
    simulate(root, n_train=120, n_test=6, length=32, seed=1)
    frame = pd.read_csv(root / "train.csv")
    frame["time"] = pd.date_range("2024-01-01", periods=120, freq="6h").astype(str)[::-1]
    frame.to_csv(root / "train.csv", index=False)
    return root


def commanded(root: Path, folder: Path, *more: str) -> list[str]:
    where = [f"dataset.root={root}", f"outputs={folder / 'outputs'}", f"store={folder / 'store'}", "device=cpu"]
    quick = ["dataset=heartbeat", "model=mlp", "train.epochs=1", "loss=ce", "tracking.enabled=false", "split=time"]
    return [*where, *quick, "split.n_splits=3", *more]


@pytest.mark.slow
def test_a_run_by_time_scores_what_follows_beside_the_past_s_mean(
    beats_in_time: Path, tmp_path: Path, one_process: None
) -> None:
    command = commanded(beats_in_time, tmp_path, "split.gap=1D")
    outcome = cross_validate(*compose(*command))
    run, scores = outcome.run, outcome.scores
    assert scores is not None
    oof, rows = pd.read_parquet(run.folder / "oof.parquet"), pd.read_parquet(run.folder / "splits.parquet")
    assert scores.complete
    assert scores.rows == len(oof) == 90
    assert set(oof["id"]) == set(rows["id"][rows["fold"] >= 0])
    assert len(scores.folds) == 3
    assert (run.folder / "submission.csv").exists()
    assert "30 more are not validated" in (run.folder / "report.html").read_text(encoding="utf-8")
    again = cross_validate(*compose(*command))
    assert again.run.folder == run.folder
    _weights_of_the_future_are_refused(run, beats_in_time, tmp_path)


def _weights_of_the_future_are_refused(run: Run, root: Path, folder: Path) -> None:
    """Weights of a run by time may start the same fold; those of a run that saw later rows may not."""
    rows = pd.read_parquet(run.folder / "splits.parquet")
    target = run.config["dataset"]["_target_"]
    warm_start.refuse_leak("init_from", str(run.folder), target, False, rows, [0, 1, 2])
    other = commanded(root, folder / "other", "split=predefined")
    late = rows.assign(fold=(rows["fold"] == 0).astype(int)).drop(columns=["trained_from", "validated"])
    frame = pd.read_csv(root / "train.csv").merge(late[["id", "fold"]], on="id")
    (folder / "folds").mkdir()
    frame.to_csv(folder / "folds/train.csv", index=False)
    seen = cross_validate(*compose(*other, f"dataset.root={folder / 'folds'}", "split.n_splits=2")).run
    with pytest.raises(UserError, match="fold 0"):  # its fold 1 never saw what fold 0 validates, but all that follows
        warm_start.refuse_leak("init_from", f"{seen.folder}/folds/1", target, False, rows, [0])


@pytest.mark.slow
def test_a_blend_that_is_fitted_on_other_folds_is_refused_where_they_lie_in_the_future(
    beats_in_time: Path, tmp_path: Path, one_process: None
) -> None:
    from bench.ensembling.fitting import nested
    from bench.ensembling.members import read
    from bench.ensembling.ways import Mean, Weights

    runs = [cross_validate(*compose(*commanded(beats_in_time, tmp_path, f"seed={seed}"))).run for seed in (1, 2)]
    members = read(runs, "arithmetic")
    with pytest.raises(UserError, match="blend=mean"):
        nested(Weights(), None, members)
    honest, *_ = nested(Mean(), None, members)
    assert ACCURACY.score(members.target, honest) > 0
