"""Rows that are not simply one example each: sub-records that take turns, rows that serve one side of a fold alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.atomic import write_json
from bench.crossval.collect import _baseline, _training_means
from bench.data import assignment, splits
from bench.data.batches import Batches
from bench.data.row_weights import votes
from bench.data.store import Store
from bench.metrics import AUC, KL
from bench.spec import UserError

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Twelve rows, each holding its own number."""
    np.arange(12, dtype=np.float32).tofile(tmp_path / "data.bin")
    write_json(tmp_path / "manifest.json", {"rows": 12, "shape": [1, 1], "dtype": "float32", "digest": ""})
    return Store(tmp_path)


def batches(store: Store, example: list[int] | None = None, weight: list[float] | None = None) -> Batches:
    n = len(store)
    return Batches(
        store,
        np.arange(n),
        np.tile(np.full(2, 0.5, np.float32), (n, 1)),
        None if weight is None else np.array(weight, np.float32),
        CPU,
        example=None if example is None else np.array(example),
    )


def drawn(rows: Batches, epoch: int) -> list[int]:
    return [int(v) for batch in rows.shuffled(4, (0, epoch)) for v in batch.x.flatten()]


def test_an_epoch_draws_one_row_of_each_example_and_over_epochs_all(store: Store) -> None:
    example = [7, 7, 7, 1, 1, 5, 5, 5, 5, 5, 2, 9]
    rows = batches(store, example)
    seen: set[int] = set()
    for epoch in range(40):
        order = drawn(rows, epoch)
        assert sorted(example[i] for i in order) == [1, 2, 5, 7, 9]
        assert order == drawn(rows, epoch)
        seen |= set(order)
    assert seen == set(range(12))
    assert rows.n_batches(4) == 1  # five rows: the last one joins the four before
    assert [int(v) for batch in rows.in_order(5) for v in batch.x.flatten()] == list(range(12))


def test_a_row_of_weight_zero_is_not_drawn_until_it_counts_again(store: Store) -> None:
    weight = np.ones(12, np.float32)
    rows = batches(store, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    weight[[0, 1, 3, 4, 5]] = 0
    rows = rows.weighted(weight)
    for epoch in range(10):
        order = drawn(rows, epoch)
        assert len(order) == 3
        assert 2 in order
        assert not {0, 1, 3, 4, 5} & set(order)
    rows = rows.weighted(None)
    assert len(drawn(rows, 0)) == 4


def test_weights_follow_their_rows(store: Store) -> None:
    rows = batches(store, weight=[i / 10 for i in range(1, 13)])
    for batch in rows.shuffled(5, (3,)):
        assert batch.weight is not None
        np.testing.assert_allclose(batch.weight, (batch.x.flatten() + 1) / 10)


def test_rows_that_all_count_nothing_are_refused(store: Store) -> None:
    rows = batches(store, weight=[0.0] * 12)
    assert sum(len(batch.x) for batch in rows.in_order(5)) == 12  # validated they may be
    with pytest.raises(UserError, match="every training row has weight 0"):
        rows.shuffled(4, (0,))


def table(n: int = 12, **columns: object) -> pd.DataFrame:
    hard = np.arange(n) % 2
    return pd.DataFrame({"id": np.arange(n), "target_a": hard, "target_b": 1 - hard, **columns})


@pytest.mark.parametrize("splitter", [splits.stratified, splits.group, splits.stratified_group])
def test_no_split_parts_the_rows_of_an_example(splitter: assignment.Splitter) -> None:
    rows = table(24, example=np.repeat(np.arange(8), 3))
    if splitter is not splits.stratified:
        rows["group"] = np.repeat(np.arange(4), 6)
    fold = assignment.assign(rows, np.zeros((24, 16), np.uint8), lambda r: splitter(r, n_splits=2)).fold  # type: ignore[call-arg]
    assert rows.assign(fold=fold).groupby("example")["fold"].nunique().max() == 1


def test_a_fold_column_that_parts_an_example_is_refused() -> None:
    rows = table(example=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], fold=[0, 1] * 6)
    with pytest.raises(UserError, match=r"example 0 stands in folds \[0, 1\]"):
        assignment.assign(rows, np.zeros((12, 16), np.uint8), splits.predefined)


def test_a_fold_that_would_train_on_no_row_or_validate_none_is_refused() -> None:
    rows = table(fold=[0] * 6 + [1] * 6, trained=[True] * 6 + [False] * 6)
    with pytest.raises(UserError, match="fold 0 of 2 trains on no row"):
        assignment.assign(rows, np.zeros((12, 16), np.uint8), splits.predefined)
    rows = table(fold=[0] * 6 + [1] * 6, validated=[True] * 6 + [False] * 6)
    with pytest.raises(UserError, match="fold 1 of 2 validates no row"):
        assignment.assign(rows, np.zeros((12, 16), np.uint8), splits.predefined)


def test_the_baseline_counts_an_example_once_and_leaves_out_what_is_not_trained_on() -> None:
    rows = pd.DataFrame(
        {
            "id": range(6),
            "target_a": [1.0, 1.0, 1.0, 0.0, 0.0, 0.5],
            "target_b": [0.0, 0.0, 0.0, 1.0, 1.0, 0.5],
            "example": [0, 0, 0, 1, 2, 3],
            "trained": [True, True, True, True, False, True],
            "fold": [0, 0, 0, 0, 0, 1],
        }
    )
    means = _training_means(rows)
    np.testing.assert_allclose(means[5], [0.5, 0.5])  # example 0 once, example 1 once, example 2 not
    np.testing.assert_allclose(means[0], [0.5, 0.5])


def test_the_baseline_of_a_ranking_metric_is_a_constants_own() -> None:
    target = np.array([[1, 0], [0, 1]] * 5 + [[1, 0], [1, 0], [0, 1]], float)
    fold = np.arange(13) % 2
    rows = pd.DataFrame({"id": range(13), "fold": fold, "target_0": target[:, 0], "target_1": target[:, 1]})
    assert _baseline(AUC, target, _training_means(rows), fold) == 0.5
    assert AUC.score(target, _training_means(rows)) < 0.5  # what the folds' constants would give side by side
    means = _training_means(rows)
    assert _baseline(KL, target, means, fold) == pytest.approx(KL.score(target, means))


def test_votes_choose_the_factor_by_range_and_stage() -> None:
    rows = pd.DataFrame({"votes": [0, 1, 5, 6, 9, 10, 30]})
    first = np.array([0, 0.3, 0.3, 0.5, 0.5, 1, 1], np.float32)
    last = np.array([0, 0.02, 0.02, 0.02, 0.02, 1, 1], np.float32)
    for epoch, wanted in ((0, first), (1, first), (2, last), (3, last)):
        np.testing.assert_array_equal(votes(rows, epoch, 4), wanted)
    np.testing.assert_array_equal(votes(rows, 2, 5), first)  # half of 5 epochs is not over yet


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"factors": [[1.0]]}, "must hold 2 lists"),
        ({"at_least": [6, 1, 10]}, "must ascend"),
        ({"starts": [0.1, 0.5]}, "begin with 0"),
        ({"factors": [[0.1, 0.2, -1], [1, 1, 1]]}, "0 or more"),
    ],
)
def test_votes_refuses_what_it_cannot_mean(options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        votes(pd.DataFrame({"votes": [1]}), 0, 1, **options)


def test_votes_needs_their_column() -> None:
    with pytest.raises(UserError, match="needs the column votes"):
        votes(table(), 0, 1)
