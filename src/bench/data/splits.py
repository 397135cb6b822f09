"""The ways to split: each takes ``Rows`` and says which fold validates which row; ``assignment`` checks the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from bench.data.assignment import Ordered, Rows, ids_of
from bench.spec import UserError


def group(rows: Rows, n_splits: int = 5) -> np.ndarray:
    """GroupKFold: no group on both sides, folds of about the same number of rows. Needs a ``group`` column.

    Each group's fold is the one that scikit-learn gives it: of groups of as many rows, names decide the order.
    """
    _need_groups(rows, "group")
    _enough_blocks(rows, n_splits)
    return _largest_first(_as_named(rows), n_splits)


def stratified_group(rows: Rows, n_splits: int = 5, seed: int = 0) -> np.ndarray:
    """StratifiedGroupKFold: no group on both sides, class shares as even as groups allow, shuffled by seed."""
    from sklearn.model_selection import StratifiedGroupKFold

    _need_groups(rows, "stratified_group")
    _enough_blocks(rows, n_splits)
    splitter = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
    return _folds(_quietly(splitter.split, rows.label, rows.label, rows.block), len(rows.label))


def stratified(rows: Rows, n_splits: int = 5, seed: int = 0, shuffle: bool = True) -> np.ndarray:
    """StratifiedKFold on the commonest class of a row's target, shuffled by seed; copies follow their first row.

    Without ``shuffle`` each class is cut in the order of the table, as scikit-learn does by default.
    """
    copy_of, numbers = pd.factorize(rows.content)  # numbered by their first row: the order of the table
    first = np.full(len(numbers), len(copy_of))
    np.minimum.at(first, copy_of, np.arange(len(copy_of)))
    label = rows.label[first]
    if (most := int(np.bincount(label).max())) < n_splits:
        advice = (
            f"set split.n_splits={most} or fewer"
            if most > 1
            else "a class needs two different rows, one for each side: merge classes, or add rows"
        )
        raise UserError(
            f"split=stratified can't make {n_splits} folds: the commonest class has {most} different rows; {advice}"
        )
    values: np.ndarray = _class_by_class(label, n_splits, np.random.RandomState(seed) if shuffle else None)[copy_of]
    return values


def none(rows: Rows, n_splits: int | None = None) -> Ordered:
    """One training on all rows, and no validation. Source: the final models of the third write-up."""
    if n_splits is not None:
        raise UserError(f"split.n_splits={n_splits}, and split=none trains once on all rows; set split.n_splits=null")
    note = "every row is trained on and none is validated: there will be no out-of-fold prediction and no score"
    return Ordered(np.full(len(rows.label), -1), np.zeros(len(rows.label), int), [note])


def predefined(rows: Rows, n_splits: int | None = None) -> np.ndarray:
    """The table's own ``fold`` column, as it is: whole numbers from 0."""
    if "fold" not in rows.table:
        raise UserError("split=predefined needs a 'fold' column in the training table; add it or choose another split")
    column = rows.table["fold"]
    fold = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(fold) | (fold < 0) | (fold != np.floor(fold))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"the 'fold' column of row {row} (id {rows.table['id'].iloc[row]}) is {column.iloc[row]!r}; "
            "folds are whole numbers from 0"
        )
    numbers = np.unique(fold.astype(int))
    if len(numbers) < 2 or numbers[-1] != len(numbers) - 1:
        raise UserError(f"the 'fold' column holds {numbers.tolist()}; at least two folds numbered 0, 1, … are needed")
    if n_splits is not None and n_splits != len(numbers):
        raise UserError(
            f"split.n_splits={n_splits}, but the 'fold' column holds {len(numbers)} folds; leave split.n_splits out"
        )
    folds: np.ndarray = fold.astype(int)
    return folds


def time(rows: Rows, n_splits: int = 5, gap: float | str = 0) -> Ordered:
    """Trained on the past, validated on what follows: scikit-learn's TimeSeriesSplit, with times for numbers of rows.

    Rows are cut by their ``time`` (numbers, or dates as ISO 8601 writes them) into ``n_splits`` + 1 stretches of about
    as many rows. Fold k validates stretch k + 1 and trains on everything before it; the first stretch is validated by
    no fold. ``gap``: how much time at least lies between what a fold trains on and what it validates, in the column's
    unit, or for dates as a duration such as 7D or 12h. A block counts by its first time where it is validated, by its
    last where it is trained on; rows of one time are never parted.
    """
    if "time" not in rows.table:
        raise UserError(
            "split=time needs a 'time' column in the training table: a number, or a date such as 2024-05-31T18:00; add "
            "it to the training CSV, or choose split=stratified"
        )
    times, dates = _times(rows.table)
    wait = _gap(gap, dates)
    spans = pd.DataFrame({"block": rows.block, "time": times}).groupby("block")["time"]
    first, last = spans.transform("min").to_numpy(), spans.transform("max").to_numpy()
    starts = _starts(first, n_splits)
    if len(starts) < n_splits:
        different = len(np.unique(first))
        advice = f"set split.n_splits={different - 1}" if different > 2 else "give more times, or choose another split"
        raise UserError(
            f"split=time can't make {n_splits} folds of {len(first)} rows of {different} different times, as rows of "
            f"one time stay together; {advice}"
        )
    fold = np.searchsorted(starts, first, side="right") - 1
    trained_from = np.searchsorted(starts, last + wait, side="left" if wait > 0 else "right")
    notes = [f"{int((fold < 0).sum())} rows come first in time: they are trained on, and validated by no fold"]
    if idle := int(((fold < 0) & (trained_from >= n_splits)).sum()):
        notes.append(f"{idle} rows serve no fold: their group lasts into the last stretch, or the gap takes them")
    return Ordered(fold, trained_from, notes)


def _starts(first: np.ndarray, n_splits: int) -> np.ndarray:
    """Times at which the folds' validation begins, cutting rows (N,) as evenly as ties allow; fewer with few times."""
    times, counts = np.unique(first, return_counts=True)
    before = np.cumsum(counts) - counts
    places: list[int] = []
    for k in range(min(n_splits, len(times) - 1)):
        low, high = (places[-1] if places else 0) + 1, max(len(times) - (n_splits - 1 - k), 1)
        target_count = (k + 1) * len(first) / (n_splits + 1)
        places.append(low + int(np.abs(before[low : max(high, low + 1)] - target_count).argmin()))
    return times[places]


def _times(table: pd.DataFrame) -> tuple[np.ndarray, bool]:
    """(N,) float64 of the column ``time``, and whether they are dates, in seconds; UserError where one is neither."""
    column = table["time"]
    times = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    if dates := bool(np.isnan(times).all()):
        moments = pd.to_datetime(column.astype(str), errors="coerce", utc=True, format="ISO8601")
        times = ((moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
    wrong = np.flatnonzero(~np.isfinite(times))
    if len(wrong):
        values = ", ".join(repr(str(value)) for value in column.iloc[wrong[:3]])
        raise UserError(
            f"{len(wrong)} of {len(times)} rows have a 'time' that is neither a number nor a date like the others': "
            f"{values} (ids {ids_of(table, wrong)}); correct them, or choose another split"
        )
    return times, dates


def _gap(gap: float | str, dates: bool) -> float:
    """The gap in the times' unit, seconds for dates."""
    if not isinstance(gap, str):
        wait = float(gap)
        if dates and wait:
            raise UserError(f"split.gap={gap:g}, and the times are dates: give a duration, such as split.gap={gap:g}D")
    elif not dates:
        raise UserError(f"split.gap={gap}, and the times are numbers: give the gap in their unit, such as split.gap=7")
    else:
        try:
            wait = pd.Timedelta(gap).total_seconds()
        except ValueError:
            raise UserError(f"split.gap={gap} is no duration; give one such as split.gap=7D or split.gap=12h") from None
    if not wait >= 0:
        raise UserError(f"split.gap={gap} must be 0 or more")
    return wait


def _largest_first(group: np.ndarray, n_splits: int) -> np.ndarray:
    """Folds (N,) of scikit-learn's GroupKFold, whose import takes a second: groups in turn to the emptiest fold."""
    _, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
    filled, fold_of = np.zeros(n_splits), np.zeros(len(sizes), np.int64)
    for number in np.argsort(sizes, kind="stable")[::-1]:
        fold_of[number] = filled.argmin()
        filled[fold_of[number]] += sizes[number]
    return fold_of[group]


def _class_by_class(label: np.ndarray, n_splits: int, shuffled: np.random.RandomState | None) -> np.ndarray:
    """Folds (N,) of scikit-learn's StratifiedKFold, whose import takes a second; None: not shuffled.

    Classes are numbered as they appear in the table. A fold's share of each is what every ``n_splits``-th row of the
    sorted classes holds of it; which rows these are, the table's order or chance decides.
    """
    _, first, code = np.unique(label, return_index=True, return_inverse=True)
    code = np.argsort(np.argsort(first))[code]
    ordered, folds = np.sort(code), np.zeros(len(label), np.int64)
    shares = np.array([np.bincount(ordered[k::n_splits], minlength=len(first)) for k in range(n_splits)])
    for number in range(len(first)):
        of_class = np.arange(n_splits).repeat(shares[:, number])
        if shuffled is not None:
            shuffled.shuffle(of_class)
        folds[code == number] = of_class
    return folds


def _as_named(rows: Rows) -> np.ndarray:
    """Blocks (N,), numbered in the order of their groups' names, so that ties fall as they do for the names."""
    names = np.unique(rows.table["group"], return_inverse=True)[1]
    first = pd.Series(names).groupby(rows.block).transform("min").to_numpy()
    numbers: np.ndarray = np.unique(first, return_inverse=True)[1]
    return numbers


def _need_groups(rows: Rows, name: str) -> None:
    if "group" not in rows.table:
        raise UserError(
            f"split={name} needs a 'group' column, and the training table has none; add it or choose split=stratified"
        )


def _enough_blocks(rows: Rows, n_splits: int) -> None:
    n = len(np.unique(rows.block))
    if n < 2:
        raise UserError(
            "all rows are of one group (or tied by the same content), which can't be parted without a leak; add rows "
            "of other groups, or give up on what the score says: split=stratified split.strict=false"
        )
    if n < n_splits:
        raise UserError(f"{n} groups can't fill {n_splits} folds; set split.n_splits={n} or fewer")


def _folds(pairs: Iterable[tuple[np.ndarray, np.ndarray]], n: int) -> np.ndarray:
    fold = np.full(n, -1)
    for k, (_, valid) in enumerate(pairs):
        fold[valid] = k
    return fold


def _quietly(split: Callable[..., Any], *args: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """scikit-learn warns of rare classes; ``assign`` says it in a sentence with the class's name."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(split(*args))
