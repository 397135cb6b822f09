"""Rows added to a fold's training side: pseudo-labelled rows and synthetic rows.

Both are decided by the training side alone, are computed once, and are kept in the fold's folder: a resumed fold
trains on the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from bench.atomic import replacing, write_json
from bench.crossval import pseudo_labels
from bench.crossval.sides import Extra, Sides
from bench.data.joined import InMemory
from bench.data.source import Source
from bench.data.store import Store
from bench.runs import checksums
from bench.runs.frames import prediction_frame, predictions, read_frame, write_frame
from bench.runs.run import Fold, Run
from bench.spec import UserError
from bench.synthetic.base import Way, examples, refuse_large
from bench.training import parts


def extra_rows(
    run: Run,
    fold: Fold,
    sides: Sides,
    stores: dict[str, Store],
    seed: Callable[[int], int],
    note: Callable[[str], None],
) -> list[Extra]:
    """The rows that the config adds to the training side; ``note`` gets a sentence on each kind."""
    extras = []
    if labels := parts.pseudo_labels(run.recipe.pseudo):
        extras.append(_labelled(run, fold, sides, stores, labels, note))
    if (way := parts.synthetic(run.recipe.synthetic)) is not None:
        extras.append(_made(run, fold, sides, way, seed(1), note))
    return [extra for extra in extras if len(extra.positions)]


def _labelled(
    run: Run,
    fold: Fold,
    sides: Sides,
    stores: dict[str, Store],
    labels: pseudo_labels.Teachers,
    note: Callable[[str], None],
) -> Extra:
    rows = sides.rows
    if labels.rows == "rest":
        source: Source = stores["train"]
        positions = np.flatnonzero(pseudo_labels.candidates(rows, fold.number))
        table, example = rows.iloc[positions], sides.example[positions]
    else:
        source, table = stores["test"], read_frame(run.checked("test_ids.parquet"))
        positions = np.flatnonzero(~_seen_in_validation(table, stores, sides))
        table, example = table.iloc[positions], positions + int(sides.example.max()) + 1
    ids, path = table["id"].reset_index(drop=True), fold.folder / "pseudo.parquet"
    if not (_usable(path) and read_frame(path)["id"].equals(ids)):
        batch_size = run.recipe.train.eval_batch_size
        probability = pseudo_labels.predicted(
            run.inputs.teachers, fold.number, labels.part, positions, sides.device, batch_size
        )
        with checksums.writing(fold.folder, path.name):
            write_frame(prediction_frame(ids, probability, run.spec.classes), path)
    probability = predictions(read_frame(path))
    keep, target = labels.chosen(probability, run.spec.classes, example)
    note(f"pseudo-labels for {keep.sum()} of {len(keep)} rows")
    weight = np.full(int(keep.sum()), labels.weight, np.float32)
    return Extra(source, positions[keep], target[keep], weight, example[keep])


def _seen_in_validation(test: pd.DataFrame, stores: dict[str, Store], sides: Sides) -> np.ndarray:
    """(N,) bool: test rows of a group, or with the content, of a validated row."""
    excluded: np.ndarray = np.zeros(len(test), bool)
    if "group" in test and "group" in sides.rows:
        excluded |= test["group"].astype(str).isin(set(sides.rows["group"][sides.validated].astype(str))).to_numpy()
    validated = {row.tobytes() for row in stores["train"].digests()[sides.validated]}
    copied = [bool(row.any()) and row.tobytes() in validated for row in stores["test"].digests()]
    excluded |= np.array(copied, bool)
    return excluded


def _made(run: Run, fold: Fold, sides: Sides, way: Way, seed: int, note: Callable[[str], None]) -> Extra:
    path = fold.folder / "synthetic.npz"
    source = parts.name(run.recipe.synthetic)
    if not _usable(path):
        x, target = training_rows(sides, source)
        generated, labels = way(x, target, seed)
        saving = checksums.writing(fold.folder, path.name)
        with saving, replacing(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, x=_stored_as(generated, sides.source.dtype), target=labels)
        pictures, classes = examples(x, target, generated, labels, run.spec.classes)
        with replacing(fold.folder / "synthetic_examples.npy") as temporary, open(temporary, "wb") as stream:
            np.save(stream, pictures)
        write_json(fold.folder / "synthetic_examples.json", {"classes": classes, "way": source})
    with np.load(path, allow_pickle=False) as saved:
        generated, labels = saved["x"], saved["target"]
    for text in way.notes:
        note(text)
    note(f"{len(generated)} rows made by {source}")
    return Extra(InMemory(generated), np.arange(len(generated)), labels, np.ones(len(generated), np.float32))


def _usable(path: Path) -> bool:
    """Whether an earlier process wrote the file, and it is as it was written; what is damaged is made again."""
    try:
        return path.is_file() and checksums.trouble(path, checksums.recorded(path.parent)) is None
    except UserError:
        return False


def _stored_as(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers in a store's type: whole ones to the nearest that it holds."""
    if np.issubdtype(dtype, np.integer):
        x = np.clip(np.rint(x), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return x.astype(dtype)


def training_rows(sides: Sides, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, *stored shape) float32 and (N, K): the training side's rows, of which synthetic ones may be made."""
    source, positions = sides.source, np.flatnonzero(sides.trained)
    refuse_large(name, len(positions), int(np.prod(source.shape)))
    return source.gather(positions).astype(np.float32), sides.target[positions]
