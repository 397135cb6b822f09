"""Splits are kept once they are made: the same rows get the same folds, and nothing else does."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.data import splits
from bench.data.assignment import Rows
from bench.data.kept_splits import kept


def rows(n: int = 60, groups: int = 12, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    group = rng.integers(groups, size=n)
    codes = np.unique(group, return_inverse=True)[1]
    table = pd.DataFrame({"id": np.arange(n), "group": [f"patient {g}" for g in group]})
    return Rows(rng.integers(3, size=n), codes, np.arange(n), table)


def test_a_kept_split_is_the_split_that_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splitter = partial(splits.stratified_group, n_splits=3)
    made = splitter(rows())
    np.testing.assert_array_equal(kept(splitter, tmp_path)(rows()), made)
    keeping = kept(splitter, tmp_path)
    monkeypatch.setattr("sklearn.model_selection.StratifiedGroupKFold.split", None)  # nothing is split again
    again = keeping(rows())
    np.testing.assert_array_equal(again, made)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_rows_and_options_and_a_damaged_file_are_split_anew(tmp_path: Path) -> None:
    splitter = partial(splits.stratified_group, n_splits=3)
    first = kept(splitter, tmp_path)(rows())
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    np.testing.assert_array_equal(kept(splitter, tmp_path)(rows()), first)
    kept(splitter, tmp_path)(rows(seed=1))
    kept(partial(splits.stratified_group, n_splits=3, seed=5), tmp_path)(rows())
    assert len(list(tmp_path.iterdir())) == 3


def test_what_needs_no_library_or_is_a_persons_own_is_not_kept(tmp_path: Path) -> None:
    def mine(rows: Rows, n_splits: int) -> np.ndarray:
        return np.arange(len(rows.label)) % n_splits

    quick = [partial(way, n_splits=3) for way in (splits.time, splits.stratified, splits.group)]
    for splitter in (*quick, partial(splits.none), partial(mine, n_splits=3)):
        assert kept(splitter, tmp_path) is splitter
