"""Which fold validates which row. Every split passes the same checks, so that none can leak.

A splitter takes ``Rows`` and returns the validation fold of each row. Rows of one ``block`` may not be parted: a
block is a group (a patient), the rows of one example or a set of rows with the same content, and groups that share
content are one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.datasets.base import serves, targets
from bench.spec import UserError


@dataclass(frozen=True)
class Rows:
    """What a splitter may look at: label, block and content (N,) int each, and the table.

    ``content`` ties copies and the rows of an example, ``block`` groups, too.
    """

    label: np.ndarray
    block: np.ndarray
    content: np.ndarray
    table: pd.DataFrame


Splitter = Callable[[Rows], np.ndarray]


@dataclass(frozen=True)
class Assignment:
    """fold (N,) int: the fold that validates each row; notes: sentences a person should read."""

    fold: np.ndarray
    n_splits: int
    notes: list[str]


def group(rows: Rows, n_splits: int = 5) -> np.ndarray:
    """GroupKFold: no group on both sides, folds of about the same number of rows. Needs a ``group`` column."""
    from sklearn.model_selection import GroupKFold

    _need_groups(rows, "group")
    _enough_blocks(rows, n_splits)
    return _folds(GroupKFold(n_splits).split(rows.label, rows.label, rows.block), len(rows.label))


def stratified_group(rows: Rows, n_splits: int = 5, seed: int = 0) -> np.ndarray:
    """StratifiedGroupKFold: no group on both sides, class shares as even as groups allow, shuffled by seed."""
    from sklearn.model_selection import StratifiedGroupKFold

    _need_groups(rows, "stratified_group")
    _enough_blocks(rows, n_splits)
    splitter = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
    return _folds(_quietly(splitter.split, rows.label, rows.label, rows.block), len(rows.label))


def stratified(rows: Rows, n_splits: int = 5, seed: int = 0) -> np.ndarray:
    """StratifiedKFold on the commonest class of a row's target, shuffled by seed; copies follow their first row."""
    from sklearn.model_selection import StratifiedKFold

    _, first, copy_of = np.unique(rows.content, return_index=True, return_inverse=True)
    label = rows.label[first]
    if np.bincount(label).max() < n_splits:
        raise UserError(
            f"split=stratified can't make {n_splits} folds: the commonest class has {np.bincount(label).max()} "
            f"different rows; choose a smaller split.n_splits"
        )
    splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    return _folds(_quietly(splitter.split, label, label), len(label))[copy_of]


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
    found = np.unique(fold.astype(int))
    if len(found) < 2 or found[-1] != len(found) - 1:
        raise UserError(f"the 'fold' column holds {found.tolist()}; at least two folds numbered 0, 1, … are needed")
    if n_splits is not None and n_splits != len(found):
        raise UserError(
            f"split.n_splits={n_splits}, but the 'fold' column holds {len(found)} folds; leave split.n_splits out"
        )
    return fold.astype(int)


def assign(table: pd.DataFrame, digests: np.ndarray, splitter: Splitter, strict: bool = True) -> Assignment:
    """Splits the table's rows and checks the result.

    digests (N, 16) are hashes of each row's content (all zero: no content). With ``strict`` a group or a content on
    both sides, or a class missing from a training fold, is a UserError; without, it is a note.
    """
    label = targets(table).argmax(1)
    none = np.full(len(table), -1)
    group = table["group"].factorize()[0] if "group" in table else none
    example = table["example"].factorize()[0] if "example" in table else none
    content = _content(digests)
    notes = _copies(table, content)
    n_splits = getattr(splitter, "keywords", {}).get("n_splits")
    if n_splits is not None and n_splits < 2:
        raise UserError(f"split.n_splits={n_splits} must be 2 or more: what one fold validates the others train on")
    try:
        fold = splitter(Rows(label, _tied(group, example, content), _tied(example, content), table))
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"split can't be made: {error}; change split's options") from error
    n_splits = int(fold.max()) + 1

    def refuse(sentence: str) -> None:
        if strict:
            raise UserError(f"{sentence} (split.strict=false trains all the same)")
        notes.append(f"warning: {sentence}")

    for codes, what in ((group, "group"), (example, "example"), (content, "the same content")):
        if len(crossing := _crossing(codes, fold)):
            name = what if codes is content else f"{what} {table[what].iloc[crossing[0]]}"
            refuse(
                f"{name} stands in folds {sorted(set(fold[crossing].tolist()))} at once "
                f"(ids {_ids(table, crossing)}), so validation rows would be trained on; "
                "choose split=group or mend the 'fold' column"
            )
    classes = [c.removeprefix("target_") for c in table.columns if c.startswith("target_")]
    has = targets(table) > 0  # a soft target belongs to every class that it gives a share
    trained, validated = serves(table, "trained"), serves(table, "validated")
    if "weight" in table:  # what counts nothing is not drawn
        trained = trained & (table["weight"].to_numpy() > 0)
    for k in range(n_splits):
        if not (validated & (fold == k)).any():
            raise UserError(f"fold {k} of {n_splits} validates no row; choose a smaller split.n_splits")
        if not (trained & (fold != k)).any():
            raise UserError(f"fold {k} of {n_splits} trains on no row; choose another split.n_splits")
        absent = np.flatnonzero(has[trained].any(0) & ~has[trained & (fold != k)].any(0))
        missing = [classes[c] for c in absent]
        if missing:
            refuse(
                f"class {', '.join(missing)} has no row in the training side of fold {k}; choose fewer folds "
                "(split.n_splits) or another split"
            )
    rare = [(c, n) for c, n in zip(classes, has.sum(0), strict=True) if 0 < n < n_splits]
    notes += [f"class {c} has {n} rows for {n_splits} folds: some folds validate none of it" for c, n in rare]
    return Assignment(fold, n_splits, notes)


def with_copies(
    early: Assignment, table: pd.DataFrame, digests: np.ndarray, splitter: Splitter, strict: bool = True
) -> Assignment:
    """The assignment that was made before the contents were known, or, where rows share content, one that ties them.

    Without copies the contents change nothing, so the rows are not split again.
    """
    content = _content(digests)
    shared = np.bincount(content[content >= 0], minlength=1).max() > 1
    return assign(table, digests, splitter, strict) if shared else early


def _copies(table: pd.DataFrame, content: np.ndarray) -> list[str]:
    """Says which rows are tied together because their content is the same, and whether their labels agree."""
    size = np.bincount(content[content >= 0], minlength=1)
    if size.max() < 2:
        return []
    copies = np.flatnonzero(size > 1)
    note = (
        f"{size[copies].sum()} rows share their content with another id (first: "
        f"{_ids(table, np.flatnonzero(content == copies[0]))}); they are kept on one side of every fold"
    )
    label = pd.Series(targets(table).argmax(1))[np.isin(content, copies)]
    quarrels = int((label.groupby(content[label.index]).nunique() > 1).sum())
    return [note + (f"; {quarrels} of these contents have two labels" if quarrels else "")]


def _ids(table: pd.DataFrame, rows: np.ndarray) -> str:
    return ", ".join(table["id"].iloc[rows[:5]].astype(str)) + (", …" if len(rows) > 5 else "")


def _content(digests: np.ndarray) -> np.ndarray:
    """Equal numbers for equal content (N,), −1 where an example has none."""
    keys = np.array([d.tobytes() if d.any() else None for d in digests], dtype=object)
    return pd.factorize(keys)[0]


def _tied(*codes: np.ndarray) -> np.ndarray:
    """Numbers the sets of rows (N,) that share a code ≥ 0 in any of the columns, directly or through others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(codes[0])
    row = np.concatenate([np.flatnonzero(c >= 0) for c in codes])
    node = np.concatenate([(i + 1) * n + c[c >= 0] for i, c in enumerate(codes)])  # rows come first, then codes
    graph = coo_array((np.ones(len(row), np.int8), (row, node)), shape=(n * (len(codes) + 1),) * 2)
    return connected_components(graph, directed=False)[1][:n]


def _crossing(codes: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Rows of the first code ≥ 0 that stands in more than one fold; empty where none does."""
    folds = pd.Series(fold[codes >= 0]).groupby(codes[codes >= 0]).nunique()
    crossing = folds.index[folds > 1]
    return np.flatnonzero(codes == crossing[0]) if len(crossing) else np.empty(0, int)


def _need_groups(rows: Rows, name: str) -> None:
    if "group" not in rows.table:
        raise UserError(f"split={name} needs groups, and this data set has none; choose split=stratified")


def _enough_blocks(rows: Rows, n_splits: int) -> None:
    n = len(np.unique(rows.block))
    if n < 2:
        raise UserError("all rows are of one group, which can't be parted; choose split=stratified")
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
