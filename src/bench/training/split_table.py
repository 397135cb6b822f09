"""What a split makes of a training table, fold by fold, before any recording is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.data.assignment import assign
from bench.datasets.base import TARGET, open_to, serves, targets
from bench.runs.recipe import Node
from bench.training import parts

FEW = 8
"""Classes up to which each has a column of its own."""


@dataclass(frozen=True)
class SplitTable:
    """``rows`` below ``columns``, a fold each, and what is to be said of the split."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str]


def of_files(dataset: Node, split: Node, data: str) -> SplitTable | None:
    """The split of a data set's training table, read without its recordings; None where there are no files."""
    root = parts.files(dataset, data).placed()
    if root is None:
        return None
    return split_table(parts.dataset_of_tables(dataset, root).table("train"), split, f"Folds of {root}")


def split_table(table: pd.DataFrame, node: Node, title: str) -> SplitTable:
    """A row a fold of a training table under a split's node; UserError where the split can't be made.

    Copies, which only the recordings tell, are not known here. What training would refuse stands among the notes.
    """
    splitter, _ = parts.split(node)
    assignment = assign(table, np.zeros((len(table), 16), np.uint8), splitter, strict=False)
    rows = assignment.onto(table)
    classes = [name.removeprefix(TARGET) for name in table.columns if name.startswith(TARGET)]
    named = classes if len(classes) <= FEW else []
    columns = ("fold", ">trains on", ">validates", *([">groups"] if "group" in rows else []), *(f">{c}" for c in named))
    fold_rows = []
    for k in range(assignment.n_splits):
        trained = open_to(rows, k) & serves(rows, "trained")
        validated = (rows["fold"].to_numpy() == k) & serves(rows, "validated")
        groups = [f"{rows['group'][validated].nunique():,}"] if "group" in rows else []
        shares = [f"{share:.1%}" for share in targets(rows)[validated].mean(0)] if named else []
        fold_rows.append((str(k), f"{trained.sum():,}", f"{validated.sum():,}", *groups, *shares))
    return SplitTable(f"{title}, before copies are known", columns, fold_rows, assignment.notes)
