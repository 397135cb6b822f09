"""A run of predictions that were made elsewhere: checked as a training's, and from then on a run like any other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.crossval import collect
from bench.crossval.lifecycle import Life, held
from bench.data.assignment import assign
from bench.datasets.base import Dataset, serves
from bench.datasets.root import is_simulated
from bench.ensembling import foreign
from bench.report.draw import draw
from bench.runs import checksums, frames, inputs, recipe, selection, submission
from bench.runs.environment import write_environment
from bench.runs.inputs import Inputs
from bench.runs.outcome import Outcome
from bench.runs.recipe import AdoptedRecipe
from bench.runs.run import Run, identity
from bench.spec import InputSpec, UserError
from bench.tell import figure, say
from bench.training import parts

FORMAT = 1  # raise it when the same files would make another run
NAME = re.compile(r"[A-Za-z][\w.-]{0,63}")
PREDEFINED = "predefined"
TAKEN = ("ensemble", "simulated")


@dataclass(frozen=True)
class Adopted:
    """``rows`` are the data set's validated rows with their ``fold``; p_nk (N, K) and test_lk (L, K) probabilities."""

    dataset: Dataset
    simulated: bool
    rows: pd.DataFrame
    n_splits: int
    notes: tuple[str, ...]
    p_nk: np.ndarray
    test_ids: pd.Series
    test_lk: np.ndarray | None


def adopt(asked: AdoptedRecipe, names: Mapping[str, str]) -> Outcome:
    """Makes the run, or prints it again where these files were adopted before; UserError for what can't be taken."""
    if not asked.oof:
        raise UserError("oof= names no file; give the CSV or parquet file of the out-of-fold predictions")
    if not asked.name or not NAME.fullmatch(asked.name) or asked.name in TAKEN:
        raise UserError(
            f"name={asked.name or ''} can't name a run: a letter, then letters, digits, _ . and -, and none of "
            f"{', '.join(TAKEN)}"
        )
    taken = _read(asked)
    for note in taken.notes:
        say(f"folds     {note}")
    settled = replace(
        asked,
        oof=str(Path(asked.oof).resolve()),
        test=str(Path(asked.test).resolve()) if asked.test else None,
        loss=None,
        split=None,
        recipe=None,
    )
    run = Run((Path(asked.outputs) / names["dataset"] / asked.name / _identity(settled, taken)).resolve())
    with held(run, asked.tracking, asked.outputs, "written", "") as life:
        done = life.before.get("status") == "finished" and selection.problem(run) is None
        say(f"run       {run.folder}" + (" (adopted before)" if done else ""))
        if not done or not life.mirrored:
            with life.working():
                _write(life, settled, taken, names)
        _conclude(life)
    return Outcome(run, run.scores(), [], None)


def _read(asked: AdoptedRecipe) -> Adopted:
    root = parts.files(asked.dataset, asked.data).find()
    dataset, simulated = parts.dataset(asked.dataset, root), is_simulated(root)
    table = dataset.table("train")
    theirs = foreign.read(str(asked.oof), "oof")
    known = set(foreign.texts(table["id"])) | (set(foreign.texts(table["example"])) if "example" in table else set())
    column = foreign.id_column(theirs, asked.id, known, "oof")
    ids = foreign.texts(theirs[column])
    p = foreign.probabilities(theirs, foreign.class_columns(theirs, dataset.classes, asked.columns, "oof"), ids, "oof")
    judged = table[serves(table, "validated")].reset_index(drop=True)
    at, told = foreign.places(ids, judged, "oof")
    if told:
        say(f"rows      {told}")
    own = theirs[foreign.FOLD].to_numpy()[at] if foreign.FOLD in theirs else None
    rows, n_splits, notes = _folds(asked, judged, own)
    test_ids = dataset.table("test")["id"]
    return Adopted(dataset, simulated, rows, n_splits, notes, p[at], test_ids, _test(asked, dataset, column))


def _test(asked: AdoptedRecipe, dataset: Dataset, column: str) -> np.ndarray | None:
    """(L, K) in the order of the data set's test rows; None without a file."""
    if not asked.test:
        return None
    rows = dataset.table("test")
    if not len(rows):
        raise UserError(f"test={asked.test}: {dataset.root} has no test rows to hold it against; leave test= out")
    theirs = foreign.read(asked.test, "test")
    known = set(foreign.texts(rows["id"]))
    ids = foreign.texts(theirs[column if column in theirs else foreign.id_column(theirs, asked.id, known, "test")])
    columns = foreign.class_columns(theirs, dataset.classes, asked.columns, "test")
    p = foreign.probabilities(theirs, columns, ids, "test")
    at, told = foreign.places(ids, rows, "test")
    if told:
        say(f"rows      {told}")
    return np.asarray(p[at])


def _folds(
    asked: AdoptedRecipe, rows: pd.DataFrame, own: np.ndarray | None
) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """The rows with their folds, how many there are, and sentences on where they come from."""
    if asked.folds == PREDEFINED:
        if "fold" not in rows:
            raise UserError("folds=predefined: the data set's table has no column fold")
        return _checked(rows, rows["fold"].to_numpy(), asked, ("the data set's own",))
    if asked.folds is not None:
        return _as_of(asked, rows)
    if own is None:
        note = (
            "the file has no column fold, so all rows are one fold; to blend or compare with runs of yours, give the "
            "file's folds, or folds=<run> where they are those of a run"
        )
        return rows.assign(fold=0), 1, (note,)
    codes = pd.factorize(own, sort=True)[0]
    if (codes < 0).any():
        raise UserError(f"oof: fold of id {rows['id'].iloc[int(np.flatnonzero(codes < 0)[0])]} is empty")
    numbered, run = _like_ours(asked, rows, codes)
    note = "the file's column fold" + (f", numbered as in {run.folder}, which has the same" if run else "")
    return _checked(rows, numbered, asked, (note,))


def _checked(
    rows: pd.DataFrame, fold: np.ndarray, asked: AdoptedRecipe, notes: tuple[str, ...]
) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """Their folds held to what every split here is held to; a group on both sides is refused, or told."""
    try:
        made = assign(rows, np.zeros((len(rows), 16), np.uint8), lambda _: fold, asked.strict)
    except UserError as error:
        raise UserError(f"oof: {str(error).replace('split.strict=false trains', 'strict=false takes them')}") from error
    return made.onto(rows), made.n_splits, (*notes, *made.notes)


def _as_of(asked: AdoptedRecipe, rows: pd.DataFrame) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """The folds of a run of the person's own, on their word."""
    selected = selection.select(str(asked.folds), Path(asked.outputs), "folds").runs
    if len(selected) > 1:
        raise UserError(f"folds={asked.folds} names {len(selected)} runs; give the folder or identity of one")
    run = selected[0]
    fold = _of_run(run, rows)
    if fold is None:
        raise UserError(f"folds={asked.folds}: {run.folder} has other rows than the data set")
    kept = frames.read_frame(run.checked("splits.parquet"))
    columns = [name for name in ("trained_from", "validated") if name in kept]
    rows = rows.assign(fold=fold)
    if columns:
        rows = rows.merge(kept[["id", *columns]], on="id", how="left", suffixes=("", "_ours"))
    return (
        rows,
        run.inputs.n_splits,
        (f"those of {run.folder}, as you say: whether theirs were so, nothing here can tell",),
    )


def _of_run(run: Run, rows: pd.DataFrame) -> np.ndarray | None:
    kept = frames.read_frame(run.checked("splits.parquet")).set_index("id")["fold"]
    fold = kept.reindex(rows["id"])
    return None if fold.isna().any() else fold.to_numpy(np.int64)


def _like_ours(asked: AdoptedRecipe, rows: pd.DataFrame, codes: np.ndarray) -> tuple[np.ndarray, Run | None]:
    """Their folds numbered as in a run of ours that parts the rows alike, so that the two can be blended."""
    for run in selection.everything(Path(asked.outputs)):
        try:
            if run.inputs.n_splits != codes.max() + 1 or (ours := _of_run(run, rows)) is None or (ours < 0).any():
                continue
        except (UserError, OSError, KeyError):  # another run's damage is no matter of this one
            continue
        pairs = np.unique(np.column_stack([codes, ours]), axis=0)
        if len(pairs) == codes.max() + 1:
            return pairs[codes, 1], run
    return codes, None


def _identity(settled: AdoptedRecipe, taken: Adopted) -> str:
    """A hash of the name, the rows with their folds, and the predictions: not of where the files lie."""
    digest = hashlib.sha256()
    for frame in (taken.rows.assign(id=taken.rows["id"].astype(str)), taken.test_ids.astype(str).to_frame()):
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    for array in (taken.p_nk, taken.test_lk):
        digest.update(b"|" if array is None else np.ascontiguousarray(array).tobytes())
    return identity({"format": FORMAT, "adopted": settled.name, "content": digest.hexdigest()})


def _write(life: Life, settled: AdoptedRecipe, taken: Adopted, names: Mapping[str, str]) -> None:
    run, classes = life.run, taken.dataset.classes
    test = hashlib.sha256(str(taken.test_ids.astype(str).tolist()).encode()).hexdigest()[:32]
    known = Inputs(
        names={"dataset": names["dataset"], "model": str(settled.name)},
        dataset=names["dataset"],
        model=str(settled.name),
        metric=taken.dataset.metric.name,
        direction=taken.dataset.metric.direction,
        simulated=taken.simulated,
        n_splits=taken.n_splits,
        spec=InputSpec(1, (1,), classes),
        test=test,
        notes=taken.notes,
        group=run.identity,
        adopted=True,
    )
    ids = taken.test_ids if taken.test_lk is not None else taken.test_ids[:0]
    with checksums.writing(run.folder, inputs.FILE, "splits.parquet", "test_ids.parquet", recipe.FILE):
        inputs.write(run.folder, known)
        frames.write_frame(taken.rows, run.folder / "splits.parquet")
        frames.write_frame(pd.DataFrame({"id": ids.to_numpy()}), run.folder / "test_ids.parquet")
        write_environment(run)
        recipe.write(run.folder, settled)
    predicted = None if taken.test_lk is None else frames.prediction_frame(ids, taken.test_lk, classes)
    for fold in run.folds:
        here = taken.rows["fold"].to_numpy() == fold.number
        frames.write_frame(frames.oof_frame(taken.rows[here], taken.p_nk[here], None, classes), fold.oof)
        if predicted is not None:
            frames.write_frame(predicted, fold.test)
        fold.mark_done(test=test, test_rows=len(ids))
    collect.collect(run, taken.dataset.metric)
    if settled.pictures:
        draw(run, taken.dataset.metric)
    if trouble := submission.submit(run, lambda: taken.dataset):
        say(trouble)


def _conclude(life: Life) -> None:
    scores = life.run.scores()
    rows = []
    if scores:
        rows = [(f"fold {k}", figure(score)) for k, score in zip(scores.fold_numbers, scores.folds, strict=True)]
        rows.append((f"[bold]out-of-fold, {scores.rows} rows", f"[bold]{figure(scores.oof)}"))
    life.conclude(scores, rows, [scores.metric] if scores else [])
