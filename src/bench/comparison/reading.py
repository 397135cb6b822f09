"""Reads the runs of a comparison: their common rows, and each run's predictions for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.datasets.base import open_to
from bench.runs import selection
from bench.runs.frames import read_frame
from bench.runs.run import Run
from bench.spec import UserError


@dataclass(frozen=True)
class Rows:
    """What compared runs have in common: the validated rows, and how many rows the folds trained on.

    table has id, fold, and group and example if the splits have them; target is (N, K); ratio is the number of
    validated rows divided by that of trained rows, a mean over folds.
    """

    table: pd.DataFrame
    target: np.ndarray
    classes: tuple[str, ...]
    ratio: float
    simulated: bool


def read(runs: Sequence[Run]) -> tuple[Rows, list[np.ndarray]]:
    """The runs' rows, and their (N, K) predictions in the same order; UserError at the first mismatch."""
    if len(runs) < 2:
        raise UserError(f"runs names {len(runs)} run; a comparison takes two or more, as runs=[<folder>,<folder>]")
    first = runs[0]
    by_identity: dict[str, Run] = {}
    for run in runs:
        selection.refuse_unvalidated(run)
        selection.refuse_one_fold(run)
        if missing := [n for n in ("scores.json", "oof.parquet", "splits.parquet") if not (run.folder / n).exists()]:
            raise UserError(f"{run.folder} has no {missing[0]}: the command that made the run makes what is missing")
        if run.identity in by_identity:
            raise UserError(
                f"{run.folder} and {by_identity[run.identity].folder} are one run: the same recipe, data and seed"
            )
        by_identity[run.identity] = run
        _refuse("data sets", first, first.inputs.dataset, run, run.inputs.dataset)
        kinds = [("simulated" if r.inputs.simulated else "real") + " data" for r in (first, run)]
        _refuse("simulated and real rows", first, kinds[0], run, kinds[1])
        measures = [f"{r.inputs.metric} ({r.inputs.direction})" for r in (first, run)]
        _refuse("metrics", first, measures[0], run, measures[1])
        _refuse_classes(first, run)
    table, target, probability = _predicted(first)
    rows = Rows(table, target, first.spec.classes, _ratio(first, table), first.inputs.simulated)
    probabilities = [probability]
    for run in runs[1:]:  # one run's targets at a time: of many rows and classes they are large
        table, target, probability = _predicted(run)
        _refuse_rows(first, rows, run, table, target)
        probabilities.append(probability)
    return rows, probabilities


def _predicted(run: Run) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A run's out-of-fold rows sorted by id, with group and example of its splits; (N, K) targets and predictions.

    The columns are read one by one, since a table of many classes and its copies would take several times as much.
    """
    import pyarrow.parquet as pq

    path = run.checked("oof.parquet")
    table = read_frame(path, ["id", "fold"])
    file = pq.ParquetFile(path)
    tied = _splits(run, "group", "example").set_index("id").reindex(table["id"])
    table = table.assign(**{name: tied[name].to_numpy() for name in tied}, id=table["id"].astype(str))
    order = np.argsort(table["id"].to_numpy(dtype=object), kind="stable")
    arrays = []
    for part in ("target", "pred"):
        values = np.empty((len(table), run.spec.n_classes))
        for k, name in enumerate(run.spec.classes):
            column = f"{part}_{name}"
            values[:, k] = file.read(columns=[column])[column].to_numpy()[order]
        arrays.append(values)
    return table.iloc[order].reset_index(drop=True), arrays[0], arrays[1]


def _splits(run: Run, *names: str) -> pd.DataFrame:
    """id, and those of the named columns that the run's splits have."""
    import pyarrow.parquet as pq

    path = run.folder / "splits.parquet"
    return read_frame(path, ["id", *(n for n in names if n in pq.read_schema(path).names)])


def _refuse(what: str, first: Run, expected: str, run: Run, actual: str) -> None:
    if expected != actual:
        raise UserError(f"{what} differ: {first.folder} has {expected}, {run.folder} {actual}; these can't be compared")


def _refuse_classes(first: Run, run: Run) -> None:
    expected, actual = first.spec.classes, run.spec.classes
    if expected != actual:
        odd = sorted(set(expected) ^ set(actual))
        what = f"class {odd[0]!r} is in one of them alone" if odd else "they stand in another order"
        raise UserError(f"classes differ between {first.folder} and {run.folder}: {what}; these can't be compared")


def _refuse_rows(first: Run, rows: Rows, run: Run, table: pd.DataFrame, target: np.ndarray) -> None:
    """Raises UserError if ``run``'s rows, targets, folds or groups differ from ``rows``, those of ``first``."""
    names, ids, other = f"{first.folder} and {run.folder}", rows.table["id"], table["id"]
    if odd := sorted(set(ids) ^ set(other)):
        owner = first if odd[0] in set(ids) else run
        raise UserError(
            f"rows differ: {first.folder} validates {len(ids)} and {run.folder} {len(other)}, id {odd[0]} is in "
            f"{owner.folder} alone; compare runs on the same rows, with all their folds trained"
        )
    difference = rows.target - target
    if len(at := np.flatnonzero(np.abs(difference, out=difference).max(axis=1) > 1e-6)):
        raise UserError(f"targets differ between {names}: of {len(at)} rows, first id {ids.iloc[at[0]]}")
    folds = [frame["fold"].to_numpy() for frame in (rows.table, table)]
    if len(at := np.flatnonzero(folds[0] != folds[1])):
        raise UserError(
            f"folds differ between {names}: id {ids.iloc[at[0]]} is validated by fold {folds[0][at[0]]} and by fold "
            f"{folds[1][at[0]]}; only runs that split alike were trained on the same rows, so train one of them with "
            "the other's split"
        )
    for column in ("group", "example"):
        codes = [frame[column].factorize()[0] if column in frame else np.empty(0) for frame in (rows.table, table)]
        if not np.array_equal(codes[0], codes[1]):
            raise UserError(f"{column}s differ between {names} (splits.parquet); train both on the same files")


def _ratio(run: Run, table: pd.DataFrame) -> float:
    """``Rows.ratio``. The rows of one example count as one, as they do in training."""
    splits = _splits(run, "fold", "trained", "trained_from", "weight", "example")
    trained = splits["trained"].to_numpy(bool) if "trained" in splits else np.ones(len(splits), bool)
    if "weight" in splits:
        trained &= splits["weight"].to_numpy() > 0
    what = "example" if "example" in splits else "id"
    validated = table.groupby("fold")[what].nunique()
    return float(np.mean([n / splits[what][trained & open_to(splits, k)].nunique() for k, n in validated.items()]))
