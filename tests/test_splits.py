"""Splits that can't leak."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest

from bench.data import assignment, splits
from bench.spec import UserError


def table(labels: list[int], **columns: object) -> pd.DataFrame:
    one_hot = np.eye(max(labels) + 1, dtype=np.float32)[labels]
    frame = pd.DataFrame(one_hot, columns=[f"target_{c}" for c in range(one_hot.shape[1])])
    return frame.assign(id=[f"r{i}" for i in range(len(labels))], **columns)


def different(n: int) -> np.ndarray:
    return np.arange(1, n + 1, dtype=np.uint64).repeat(2).view(np.uint8).reshape(n, 16)


GROUPED = table([0, 1] * 20, group=np.repeat(np.arange(10), 4))


@pytest.mark.parametrize("splitter", [splits.group, splits.stratified_group])
def test_group_never_crosses_a_fold(splitter: assignment.Splitter) -> None:
    fold = assignment.assign(GROUPED, different(40), splitter).fold
    assert (pd.Series(fold).groupby(GROUPED["group"]).nunique() == 1).all()
    assert sorted(set(fold)) == [0, 1, 2, 3, 4]


def test_every_row_is_validated_exactly_once() -> None:
    fold = assignment.assign(table([0, 1, 2] * 20), different(60), splits.stratified).fold
    assert np.bincount(fold).tolist() == [12] * 5


def test_stratified_folds_have_the_classes_shares() -> None:
    rows = table([0] * 80 + [1] * 20)
    fold = assignment.assign(rows, different(100), splits.stratified).fold
    assert [int(rows["target_1"][fold == k].sum()) for k in range(5)] == [4] * 5


def test_same_content_under_two_ids_is_kept_on_one_side_and_said() -> None:
    digests = different(40)
    digests[[3, 30]] = digests[5]
    assigned = assignment.assign(table([0, 1] * 20), digests, splits.stratified)
    assert len(set(assigned.fold[[3, 5, 30]])) == 1
    assert "3 rows share their content with another id" in assigned.notes[0]
    assert "r3, r5, r30" in assigned.notes[0]
    assert "1 of these contents has 2 labels" in assigned.notes[0]


def test_groups_that_share_content_are_kept_on_one_side() -> None:
    digests = different(40)
    digests[39] = digests[0]  # a row of the last group is a copy of a row of the first
    fold = assignment.assign(GROUPED, digests, splits.group).fold
    assert len(set(fold[[*range(4), *range(36, 40)]])) == 1


def test_examples_without_content_are_not_tied_together() -> None:
    digests = different(40)
    digests[:20] = 0
    assert assignment.assign(table([0, 1] * 20), digests, splits.stratified).notes == []


def test_a_stratified_split_that_would_part_groups_is_refused() -> None:
    with pytest.raises(UserError, match=r"group 0 stands in folds .* choose split=group"):
        assignment.assign(GROUPED, different(40), splits.stratified)


def test_a_leak_that_the_user_wants_is_a_warning() -> None:
    notes = assignment.assign(GROUPED, different(40), splits.stratified, strict=False).notes
    assert any(note.startswith("warning: group 0") for note in notes)


def test_predefined_folds_are_used_as_they_are() -> None:
    given = np.tile([1, 0, 2], 4)
    fold = assignment.assign(table([0, 1] * 6, fold=given), different(12), splits.predefined).fold
    assert (fold == given).all()


def test_predefined_folds_that_part_a_copy_are_refused() -> None:
    digests = different(12)
    digests[1] = digests[0]
    with pytest.raises(UserError, match="the same content stands in folds"):
        assignment.assign(table([0, 1] * 6, fold=[0, 1] * 6), digests, splits.predefined)


def test_predefined_folds_that_part_a_group_are_refused() -> None:
    rows = table([0, 1] * 6, fold=[0, 0, 1] * 4, group=["a"] * 2 + ["b"] * 10)
    with pytest.raises(UserError, match="group b stands in folds"):
        assignment.assign(rows, different(12), splits.predefined)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ([0, 1, None] * 4, r"row 2 \(id r2\)"),
        ([0, 1.5, 1] * 4, "1.5"),
        ([0, "x", 1] * 4, "'x'"),
        ([0, 2, 2] * 4, "numbered 0, 1"),
        ([0] * 12, "at least two folds"),
    ],
)
def test_a_bad_fold_column_is_named(column: list[object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        assignment.assign(table([0, 1] * 6, fold=column), different(12), splits.predefined)


def test_predefined_without_a_column_says_so() -> None:
    with pytest.raises(UserError, match="needs a 'fold' column"):
        assignment.assign(table([0, 1] * 6), different(12), splits.predefined)


def test_fewer_groups_than_folds_is_refused() -> None:
    rows = table([0, 1] * 6, group=[0, 1, 2] * 4)
    with pytest.raises(UserError, match=r"3 groups can't fill 5 folds; set split.n_splits=3"):
        assignment.assign(rows, different(12), splits.group)


def test_a_group_split_without_groups_is_refused() -> None:
    with pytest.raises(UserError, match="needs a 'group' column"):
        assignment.assign(table([0, 1] * 6), different(12), splits.group)


def test_a_class_missing_from_a_training_side_is_refused() -> None:
    rows = table([0] * 8 + [1] * 4, group=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4])
    with pytest.raises(UserError, match=r"the 4 rows of class 1 are of one group, 4: .*; merge the class"):
        assignment.assign(rows, different(12), partial(splits.group, n_splits=3))


def test_a_rare_class_is_said() -> None:
    notes = assignment.assign(table([0] * 20 + [1] * 2), different(22), splits.stratified).notes
    assert notes == ["class 1 has 2 rows for 5 folds: some folds validate none of it"]


def test_the_split_seed_decides_the_folds() -> None:
    rows = table([0, 1] * 20)
    a, b, c = (assignment.assign(rows, different(40), partial(splits.stratified, seed=seed)).fold for seed in (0, 0, 1))
    assert (a == b).all()
    assert (a != c).any()


NONE = np.zeros((40, 16), np.uint8)


@pytest.mark.parametrize(
    ("rows", "splitter"),
    [
        (GROUPED, splits.group),
        (GROUPED, splits.stratified_group),
        (table([0, 1] * 20), splits.stratified),
        (table([0, 1] * 20, example=np.repeat(np.arange(20), 2)), splits.stratified),
        (table([0, 1] * 20, example=np.arange(40)[::-1] // 2, group=np.arange(40)[::-1] // 4), splits.stratified_group),
        (table([0, 1] * 20, fold=np.arange(40) % 4), splits.predefined),
    ],
)
def test_contents_that_nobody_shares_change_no_split(rows: pd.DataFrame, splitter: assignment.Splitter) -> None:
    """So the split that was made before the contents were known stands."""
    early, known = assignment.assign(rows, NONE, splitter), assignment.assign(rows, different(40), splitter)
    np.testing.assert_array_equal(early.fold, known.fold)
    assert (early.n_splits, early.notes) == (known.n_splits, known.notes)
    assert assignment.with_copies(early, rows, different(40), splitter) is early


def test_copies_that_are_found_later_are_brought_to_one_side() -> None:
    rows, digests = table([0, 1] * 20), different(40)
    digests[[3, 30]] = digests[5]
    early = assignment.assign(rows, NONE, splits.stratified)
    late = assignment.with_copies(early, rows, digests, splits.stratified)
    np.testing.assert_array_equal(late.fold, assignment.assign(rows, digests, splits.stratified).fold)
    assert len(set(late.fold[[3, 5, 30]])) == 1
    assert "share their content" in late.notes[0]


def test_examples_without_content_are_no_copies_of_each_other() -> None:
    rows = table([0, 1] * 20)
    early = assignment.assign(rows, NONE, splits.stratified)
    assert assignment.with_copies(early, rows, NONE, splits.stratified) is early


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_folds_are_scikit_learns_row_by_row(seed: int) -> None:
    from sklearn.model_selection import StratifiedKFold

    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat([2, 0, 3, 1], [37, 90, 6, 21]))
    rows, theirs = table(label.tolist()), np.full(len(label), -1)
    for k, (_, valid) in enumerate(StratifiedKFold(5, shuffle=True, random_state=seed).split(label, label)):
        theirs[valid] = k
    ours = assignment.assign(rows, different(len(label)), partial(splits.stratified, seed=seed))
    np.testing.assert_array_equal(ours.fold, theirs)


def test_common_splits_do_without_scikit_learn() -> None:
    """Its import takes longer than all else that a command does before torch."""
    code = (
        "import sys; import numpy as np, pandas as pd; from bench.data import splits; "
        "from bench.data.assignment import Rows; n = np.arange(40); "
        "rows = Rows(n % 2, n // 4, n, pd.DataFrame({'id': n, 'group': n // 4})); "
        "splits.stratified(rows), splits.group(rows); assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("seed", range(3))
def test_unshuffled_splits_are_scikit_learns_row_by_row(seed: int) -> None:
    """Patients of equal numbers of rows, whose tie their names decide, and classes in any order of the table."""
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    rng = np.random.default_rng(seed)
    label = rng.permutation([0, 1, 2] * 30 + [3] * 10)
    patients = rng.permutation(np.repeat(rng.choice(60_000, 40, replace=False), 5))[: len(label)]
    rows = table(label.tolist(), group=patients)
    theirs = np.full(len(label), -1)
    for k, (_, valid) in enumerate(GroupKFold(5).split(label, label, patients)):
        theirs[valid] = k
    for digests in (different(len(label)), np.zeros((len(label), 16), np.uint8)):
        np.testing.assert_array_equal(assignment.assign(rows, digests, splits.group, strict=False).fold, theirs)
    for k, (_, valid) in enumerate(StratifiedKFold(5).split(label, label)):
        theirs[valid] = k
    unshuffled = partial(splits.stratified, shuffle=False)
    ours = assignment.assign(rows.drop(columns="group"), different(len(label)), unshuffled)
    np.testing.assert_array_equal(ours.fold, theirs)
