"""A part of a data set's training rows, for a quick look."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from bench.datasets.base import Dataset, targets
from bench.spec import Part, UserError


def few(dataset: Dataset, rows: int) -> Dataset:
    """The data set with about ``rows`` of its training rows and no test rows.

    Whole groups are drawn, and two of every class at least, so that two folds can be made. All rows where it has no
    more. The draw depends on the table alone. UserError for fewer rows than two.
    """
    if rows < 2:
        raise UserError(f"rows={rows}: a training needs some rows on either side; set 2 or more, or null for all")
    return cast(Dataset, Few(dataset, drawn(dataset.table("train"), rows)))


def n_folds(table: pd.DataFrame) -> int:
    """Into how many folds a few rows go: as many as the rarest class has groups, and two at least."""
    codes, classes = _groups(table)
    counts = np.unique(classes[np.unique(codes, return_index=True)[1]], return_counts=True)[1]
    return max(2, int(counts.min()))


def drawn(table: pd.DataFrame, rows: int) -> np.ndarray:
    """(M,) positions in ascending order: groups are drawn class by class in turn until there are ``rows``."""
    codes, classes = _groups(table)
    first = np.unique(codes, return_index=True)[1]
    order = np.random.default_rng(0).permutation(len(first))
    drawn_class = pd.Series(classes[first][order])
    turn = drawn_class.groupby(drawn_class).cumcount().to_numpy()
    in_turn = np.argsort(turn, kind="stable")
    sizes = np.bincount(codes, minlength=len(first))[order[in_turn]]
    enough = int(np.searchsorted(sizes.cumsum(), rows)) + 1
    enough = max(enough, int((turn < 2).sum()))
    return np.flatnonzero(np.isin(codes, order[in_turn[:enough]]))


def _groups(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(N,) number of each row's group, from 0, and (N,) its most likely class."""
    groups = next((table[name] for name in ("group", "example") if name in table), None)
    codes = np.arange(len(table)) if groups is None else groups.factorize()[0]
    return codes, targets(table).argmax(1)


class Few:
    """Answers for the rows at ``positions`` of the training table, and otherwise as the data set does."""

    def __init__(self, dataset: Dataset, positions: np.ndarray) -> None:
        self.whole, self.positions = dataset, positions
        train = dataset.table("train")
        self.tables = {"train": train.iloc[positions].reset_index(drop=True), "test": dataset.table("test").iloc[:0]}

    def __getattr__(self, name: str) -> Any:
        if name == "whole":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.whole, name)

    def table(self, part: Part) -> pd.DataFrame:
        return self.tables[part]

    def files(self, part: Part) -> list[Path]:
        files = self.whole.files(part)
        if len(files) != len(self.whole.table(part)):
            return files  # one that holds all
        return [files[position] for position in self._kept(part)]

    def read(self, part: Part, position: int, **what: Any) -> Any:
        return self.whole.read(part, int(self._kept(part)[position]), **what)

    def lengths(self, part: Part, sample_rate: int) -> np.ndarray:
        """Of sounds: (N,) samples of each."""
        lengths: np.ndarray = self.whole.lengths(part, sample_rate)  # type: ignore[attr-defined]
        return np.asarray(lengths[self._kept(part)])

    def _kept(self, part: Part) -> np.ndarray:
        return self.positions if part == "train" else np.arange(0)
