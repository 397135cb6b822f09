"""A split's result, checked: which fold validates which row, and which may train on it. No split can leak.

A splitter takes ``Rows`` and returns the validation fold of each row. Rows of one ``block`` may not be parted: a
block is a group (a patient), the rows of one example or a set of rows with the same content, and groups that share
content are one block. Where the table has a column ``near`` (split.duplicates=near), rows of one number ≥ 0 in it are
near-duplicates, and are kept together as rows of the same content are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.datasets.base import TARGET, open_to, serves, targets
from bench.spec import UserError

NAMED = 10
"""Classes that a sentence names before it counts."""


@dataclass(frozen=True)
class Rows:
    """What a splitter may look at: label, block and content (N,) int each, and the table.

    ``content`` ties copies, near-duplicates and the rows of an example, ``block`` groups, too.
    """

    label: np.ndarray
    block: np.ndarray
    content: np.ndarray
    table: pd.DataFrame


@dataclass(frozen=True)
class Ordered:
    """Folds that come one after the other: fold (N,) int, −1 for rows that none validates.

    ``trained_from`` (N,): the first fold that trains on a row, as all later ones do; ``n_splits`` for none.
    """

    fold: np.ndarray
    trained_from: np.ndarray
    notes: list[str]


Splitter = Callable[[Rows], np.ndarray | Ordered]


@dataclass(frozen=True)
class Assignment:
    """fold (N,) int: the fold that validates each row; notes: sentences a person should read."""

    fold: np.ndarray
    n_splits: int
    notes: list[str]
    trained_from: np.ndarray | None = field(default=None)

    def onto(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with ``fold``; with ``trained_from`` and ``validated``, too, where folds follow each other."""
        rows = table.assign(fold=self.fold)
        if self.trained_from is None:
            return rows
        return rows.assign(trained_from=self.trained_from, validated=serves(table, "validated") & (self.fold >= 0))


def assign(table: pd.DataFrame, digests: np.ndarray, splitter: Splitter, strict: bool = True) -> Assignment:
    """Splits the table's rows and checks the result.

    digests (N, 16) are hashes of each row's content (all zero: no content). With ``strict`` a group or a content on
    both sides, or a class missing from a training fold, is a UserError; without, it is a note.
    """
    none = np.full(len(table), -1)
    group = table["group"].factorize()[0] if "group" in table else none
    example = table["example"].factorize()[0] if "example" in table else none
    content, near = _content(digests), _near(table)
    n_splits = getattr(splitter, "keywords", {}).get("n_splits")
    if n_splits is not None and n_splits < 2:
        raise UserError(f"split.n_splits={n_splits} must be 2 or more: what one fold validates the others train on")
    label = targets(table).argmax(1)
    try:
        tied, together = _tied(group, example, content, near), _tied(example, content, near)
        split = splitter(Rows(label, tied, together, table))
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"split can't be made: {error}; change split's options") from error
    ordered = split if isinstance(split, Ordered) else None
    fold = split.fold if isinstance(split, Ordered) else split
    assignment = Assignment(
        fold,
        max(1, int(fold.max()) + 1),  # none is validated where all are trained on at once
        [*_copies(table, content), *_near_duplicates(table, near), *(ordered.notes if ordered else [])],
        ordered.trained_from if ordered else None,
    )
    problems = _crossings(table, fold, group, example, content, near)
    rows = assignment.onto(table)
    _refuse_empty_sides(rows, assignment.n_splits)
    copies = np.where(near >= 0, near + content.max() + 1, content)
    problems += _absent_classes(rows, assignment.n_splits, group, copies)
    if problems and strict:
        raise UserError(f"{problems[0]} (split.strict=false trains all the same)")
    assignment.notes.extend(f"warning: {problem}" for problem in problems)
    assignment.notes.extend(_rare_classes(table, assignment.n_splits))
    return assignment


def blocks(table: pd.DataFrame, digests: np.ndarray) -> np.ndarray:
    """(N,) numbers from 0 on of the sets of rows that no split may part (``assign``).

    They are a group, an example, copies and, where the table knows them, near-duplicates.
    """
    none = np.full(len(table), -1)
    codes = [table[name].factorize()[0] if name in table else none for name in ("group", "example")]
    return _tied(*codes, _content(digests), _near(table))


def with_copies(
    early: Assignment, table: pd.DataFrame, digests: np.ndarray, splitter: Splitter, strict: bool = True
) -> Assignment:
    """The early assignment, or, where rows share content, a new one that keeps copies and near-duplicates together.

    Without either the contents change nothing, so the rows are not split again.
    """
    content = _content(digests)
    shared = np.bincount(content[content >= 0], minlength=1).max() > 1 or (_near(table) >= 0).any()
    return assign(table, digests, splitter, strict) if shared else early


def _crossings(
    table: pd.DataFrame,
    fold: np.ndarray,
    group: np.ndarray,
    example: np.ndarray,
    content: np.ndarray,
    near: np.ndarray,
) -> list[str]:
    """A sentence on the first group, example, content and set of near-duplicates that stand in several folds."""
    problems = []
    tying = ((group, "group"), (example, "example"), (content, "the same content"), (near, "a near-duplicate"))
    for codes, what in tying:
        if len(crossing := _crossing(codes, fold)):
            name = f"{what} {table[what].iloc[crossing[0]]}" if what in table else what
            if what == "group" and table["group"].nunique() == 1:
                problems.append(f"all rows are of {name}, which no split can keep whole; add rows of other groups")
                continue
            option = "group" if "group" in table and table["group"].nunique() > 1 else "stratified"
            problems.append(
                f"{name} stands in folds {sorted(set(fold[crossing].tolist()))} at once "
                f"(ids {ids_of(table, crossing)}), so validation rows would be trained on; "
                f"choose split={option} or mend the 'fold' column"
            )
    return problems


def _refuse_empty_sides(rows: pd.DataFrame, n_splits: int) -> None:
    """Refuses a fold that validates no row, or trains on none."""
    fewer = "choose a smaller split.n_splits" if n_splits > 2 else "choose another split"
    for k in range(n_splits):
        validates_none = not (serves(rows, "validated") & (rows["fold"] == k)).any()
        if validates_none and (rows["fold"] >= 0).any():
            raise UserError(f"fold {k} of {n_splits} validates no row; {fewer}")
        if not (_counting(rows) & open_to(rows, k)).any():
            earlier = ", or a smaller split.gap" if "trained_from" in rows else ""
            raise UserError(f"fold {k} of {n_splits} trains on no row; {fewer}{earlier}")


def _counting(rows: pd.DataFrame) -> np.ndarray:
    """(N,) bool: rows that training draws: what counts nothing is not drawn."""
    trained = serves(rows, "trained")
    return trained & (rows["weight"].to_numpy() > 0) if "weight" in rows else trained


def _absent_classes(rows: pd.DataFrame, n_splits: int, group: np.ndarray, content: np.ndarray) -> list[str]:
    """Sentences on classes that are missing from a fold's training side, one per reason."""
    classes, has, trained = _classes(rows), targets(rows) > 0, _counting(rows)
    # class → the first fold without it; a soft target belongs to every class of which it has a share
    first_fold: dict[int, int] = {}
    for k in range(n_splits):
        absent = has[trained].any(0) & ~has[trained & open_to(rows, k)].any(0)
        for number in np.flatnonzero(absent).tolist():
            first_fold.setdefault(number, k)
    reasons: dict[str, list[str]] = {"row": [], "copies": [], "group": [], "fold": []}
    for c, k in first_fold.items():
        of_class = np.flatnonzero(has[:, c] & trained)
        ids = ids_of(rows, of_class)
        if len(of_class) == 1:
            reasons["row"].append(f"class {classes[c]} has one row (id {ids})")
        elif content[of_class[0]] >= 0 and len(set(content[of_class])) == 1:
            reasons["copies"].append(
                f"the {len(of_class)} rows of class {classes[c]} are copies of each other (ids {ids})"
            )
        elif group[of_class[0]] >= 0 and len(set(group[of_class])) == 1:
            name = rows["group"].iloc[of_class[0]]
            reasons["group"].append(f"the {len(of_class)} rows of class {classes[c]} are of one group, {name}")
        else:
            reasons["fold"].append(f"class {classes[c]} has no row in the training side of fold {k}")
    together = "the fold that validates it has none to train on"
    leave = "merge the class with another, or take it out"
    advice = {
        "row": f"{together}; {leave}",
        "copies": f"copies stay together, so {together}; {leave}",
        "group": f"a group stays together, so {together}; {leave}",
        "fold": "choose fewer folds (split.n_splits) or another split",
    }
    return [f"{_named(sentences)}: {advice[why]}" for why, sentences in reasons.items() if sentences]


def _rare_classes(table: pd.DataFrame, n_splits: int) -> list[str]:
    """One note of all classes that have fewer rows than there are folds."""
    counts = (targets(table) > 0).sum(0)
    rare = [(c, n) for c, n in zip(_classes(table), counts, strict=True) if 0 < n < n_splits]
    if len(rare) == 1:
        return [f"class {rare[0][0]} has {rare[0][1]} rows for {n_splits} folds: some folds validate none of it"]
    names = _named([f"{c} ({n})" for c, n in rare], ", ")
    few = f"{len(rare)} classes have fewer rows than there are folds ({n_splits}), so some folds validate none of them"
    return [f"{few}: {names}"] if rare else []


def _copies(table: pd.DataFrame, content: np.ndarray) -> list[str]:
    """Says which rows are tied together because their content is the same, and whether their labels agree."""
    size = np.bincount(content[content >= 0], minlength=1)
    if size.max() < 2:
        return []
    copies = np.flatnonzero(size > 1)
    note = (
        f"{size[copies].sum()} rows share their content with another id (first: "
        f"{ids_of(table, np.flatnonzero(content == copies[0]))}); they are kept on one side of every fold"
    )
    label = pd.Series(targets(table).argmax(1))[np.isin(content, copies)]
    labels = label.groupby(content[label.index]).nunique()
    if not (quarrels := int((labels > 1).sum())):
        return [note]
    how_many = f"{labels.max()} labels" if quarrels == 1 else f"different labels (up to {labels.max()})"
    return [f"{note}; {quarrels} of these contents {'has' if quarrels == 1 else 'have'} {how_many}"]


def _near_duplicates(table: pd.DataFrame, near: np.ndarray) -> list[str]:
    """Says which rows are tied together because they are near-duplicates."""
    if not (near >= 0).any():
        return []
    first = np.flatnonzero(near == near[near >= 0].min())
    sets = len(np.unique(near[near >= 0]))
    return [
        f"{(near >= 0).sum()} rows are near-duplicates of another id, in {sets} sets (first: {ids_of(table, first)}); "
        "they are kept on one side of every fold"
    ]


def _classes(table: pd.DataFrame) -> list[str]:
    return [c.removeprefix(TARGET) for c in table.columns if c.startswith(TARGET)]


def _named(parts: list[str], between: str = "; ") -> str:
    """The first few by name, then a count."""
    more = f"{between}and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
    return between.join(parts[:NAMED]) + more


def ids_of(table: pd.DataFrame, rows: np.ndarray) -> str:
    """The first five ids of some rows."""
    return ", ".join(table["id"].iloc[rows[:5]].astype(str)) + (", …" if len(rows) > 5 else "")


def _content(digests: np.ndarray) -> np.ndarray:
    """Equal numbers for equal content (N,), −1 where an example has none."""
    keys = np.array([d.tobytes() if d.any() else None for d in digests], dtype=object)
    codes: np.ndarray = pd.factorize(keys)[0]
    return codes


def _near(table: pd.DataFrame) -> np.ndarray:
    """(N,) the table's numbers of near-duplicates, −1 for rows without and where it does not know them."""
    return table["near"].to_numpy(np.int64) if "near" in table else np.full(len(table), -1)


def _tied(*codes: np.ndarray) -> np.ndarray:
    """Numbers the sets of rows (N,) that share a code ≥ 0 in any of the columns, directly or through others."""
    tying = [c for c in codes if (c >= 0).any()]
    if len(tying) < 2:  # no chains to follow, which takes a library a fifth of a second to import
        alone = np.arange(len(codes[0]))
        c = tying[0] if tying else np.full(len(alone), -1)
        numbers: np.ndarray = pd.factorize(np.where(c >= 0, c, c.max() + 1 + alone))[0]
        return numbers
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(codes[0])
    row = np.concatenate([np.flatnonzero(c >= 0) for c in codes])
    node = np.concatenate([(i + 1) * n + c[c >= 0] for i, c in enumerate(codes)])  # rows come first, then codes
    graph = coo_array((np.ones(len(row), np.int8), (row, node)), shape=(n * (len(codes) + 1),) * 2)
    components: np.ndarray = connected_components(graph, directed=False)[1][:n]
    return components


def _crossing(codes: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Rows of the first code ≥ 0 that stands in more than one fold; empty where none does."""
    folds = pd.Series(fold[codes >= 0]).groupby(codes[codes >= 0]).nunique()
    crossing = folds.index[folds > 1]
    return np.flatnonzero(codes == crossing[0]) if len(crossing) else np.empty(0, int)
