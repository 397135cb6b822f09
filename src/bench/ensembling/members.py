"""Reads the predictions of finished runs, out of fold and for test, after checking that their rows match."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.atomic import read_json
from bench.datasets.base import TARGET
from bench.ensembling.ways import geometric, normalised
from bench.runs import selection
from bench.runs.frames import PREDICTION, predictions, read_frame
from bench.runs.run import Run
from bench.spec import Metric, UserError
from bench.training import parts

SUM = 1e-3
"""Tolerance for the sum of a row of probabilities, wide enough for float16."""


@dataclass(frozen=True)
class Members:
    """Runs with the same validated rows. Their order is that of their digests, whatever order they were named in.

    ``rows`` has id, fold and target_<class> of the first run. ``p_mnk`` (M, N, K) are the out-of-fold probabilities in
    the order of ``rows``. ``test_ids`` and ``test_mlk`` (M, L, K) are those of the test rows, None if no run has any.
    ``digests`` are hashes of each run's predictions.
    """

    runs: list[Run]
    digests: list[str]
    metric: Metric
    rows: pd.DataFrame
    p_mnk: np.ndarray
    test_ids: pd.Series | None
    test_mlk: np.ndarray | None

    @property
    def target(self) -> np.ndarray:
        """(N, K) float64."""
        return np.asarray(self.rows[[c for c in self.rows.columns if c.startswith(TARGET)]], np.float64)

    @property
    def fold(self) -> np.ndarray:
        return np.asarray(self.rows["fold"])


def read(runs: Sequence[Run], folds: str) -> Members:
    """Reads the runs' predictions. ``folds`` is the mean of a run's test predictions: arithmetic or geometric.

    Raises UserError at the first file that is invalid, or that does not match the first run.
    """
    for run in runs:
        selection.refuse_unvalidated(run)
        selection.refuse_one_fold(run)
    for run in runs[1:]:
        _refuse_other_kind(runs[0], run)
    entries = [(run, _oof(run), _test(run, folds)) for run in runs]
    first, rows, test = entries[0]
    for run, oof, theirs in entries[1:]:
        _refuse_other_rows(first, run, rows, oof)
        _refuse_other_test(first, run, test, theirs)
    digests = [_digest(oof, theirs) for _, oof, theirs in entries]
    order = sorted(range(len(entries)), key=lambda m: digests[m])
    entries = [entries[m] for m in order]
    _, rows, test = entries[0]
    aligned = [_in_order(oof, rows["id"]) for _, oof, _ in entries]
    tests = [_in_order(theirs, test["id"]) for _, _, theirs in entries if theirs is not None and test is not None]
    metric = parts.metric(runs[0].made_by.dataset)
    return Members(
        [run for run, _, _ in entries],
        [digests[m] for m in order],
        metric,
        rows[[c for c in rows.columns if not c.startswith(PREDICTION)]],
        np.stack([normalised(predictions(oof)) for oof in aligned]),
        test["id"] if test is not None else None,
        np.stack([normalised(predictions(frame)) for frame in tests]) if tests else None,
    )


def _refuse_other_kind(first: Run, run: Run) -> None:
    """Raises UserError if the runs' inputs don't match; reads no predictions."""
    ours, theirs = first.inputs, run.inputs
    for key, what in (("dataset", "data set"), ("simulated", "mark of simulated data"), ("metric", "metric")):
        expected, other = getattr(ours, key), getattr(theirs, key)
        if expected != other:
            raise _other(first, run, f"its {what} is {other}, not {expected}")
    classes, other_classes = first.spec.classes, run.spec.classes
    if classes != other_classes:
        odd = next((f"{b}, not {a}" for a, b in zip(classes, other_classes, strict=False) if a != b), None)
        raise _other(
            first,
            run,
            f"its classes are {len(other_classes)}, not {len(classes)}" if odd is None else f"a class is {odd}",
        )
    if ours.n_splits != theirs.n_splits:
        raise _other(first, run, f"it has {theirs.n_splits} folds, not {ours.n_splits}")


def _refuse_other_rows(first: Run, run: Run, ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    _refuse_other_ids(first, run, ours["id"], theirs["id"], "oof.parquet")
    theirs = _in_order(theirs, ours["id"])
    for column in ("fold", *(c for c in ours.columns if c.startswith(TARGET))):
        differs = np.flatnonzero(ours[column].to_numpy() != theirs[column].to_numpy())
        if len(differs):
            at = differs[0]
            raise _other(
                first,
                run,
                f"{column} of id {ours['id'].iloc[at]} is {theirs[column].iloc[at]}, not {ours[column].iloc[at]}",
            )


def _refuse_other_test(first: Run, run: Run, ours: pd.DataFrame | None, theirs: pd.DataFrame | None) -> None:
    if (ours is None) != (theirs is None):
        lacks, has = (run, first) if theirs is None else (first, run)
        raise UserError(
            f"{lacks.folder} has no test.parquet and {has.folder} has one; run the command that trained it again with "
            "the test files there"
        )
    if ours is not None and theirs is not None:
        _refuse_other_ids(first, run, ours["id"], theirs["id"], "test.parquet")


def _refuse_other_ids(first: Run, run: Run, ours: pd.Series, theirs: pd.Series, file: str) -> None:
    if ours.equals(theirs):
        return
    for required, present, who in ((ours, theirs, run), (theirs, ours, first)):
        known = set(present.tolist())
        missing = [one for one in required.tolist() if one not in known]
        if missing:
            others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
            raise _other(first, run, f"{who.folder / file} lacks id {missing[0]}{others} of the other's rows")


def _in_order(frame: pd.DataFrame, ids: pd.Series) -> pd.DataFrame:
    """The frame's rows in the order of ``ids``, all of which it has."""
    return frame if frame["id"].equals(ids) else frame.set_index("id").loc[ids].reset_index()


def _other(first: Run, run: Run, what: str) -> UserError:
    return UserError(f"{run.folder} can't be blended with {first.folder}: {what}; choose runs that match")


def _oof(run: Run) -> pd.DataFrame:
    """id, fold, target_<class>, pred_<class> of a run, in the order of its classes."""
    path = run.checked("oof.parquet")
    classes = run.spec.classes
    frame = _frame(path, ["id", "fold", *(f"{TARGET}{c}" for c in classes), *(f"{PREDICTION}{c}" for c in classes)])
    missing = set(range(run.inputs.n_splits)) - set(frame["fold"])
    if missing:
        raise UserError(f"{path} has no row of fold {min(missing)}; run the command that trained it again")
    return frame


def _test(run: Run, folds: str) -> pd.DataFrame | None:
    """id and pred_<class> of the test rows; None where the run has none.

    ``test.parquet`` is the arithmetic mean of the folds that saw the latest test files. The geometric mean is computed
    from the same folds.
    """
    path = run.checked("test.parquet")
    if not path.exists():
        return None
    columns = ["id", *(f"{PREDICTION}{c}" for c in run.spec.classes)]
    frame = _frame(path, columns)
    if folds == "arithmetic":
        return frame
    fresh = [fold for fold in run.folds if fold.test.exists() and _saw(fold.done) == run.inputs.test]
    if not fresh:
        raise UserError(
            f"folds={folds}: no fold of {run.folder} has a test.parquet; run its command again, or leave it out"
        )
    frames = [_frame(fold.checked(fold.test), columns) for fold in fresh]
    for fold, one in zip(fresh, frames, strict=True):
        if set(one["id"]) != set(frame["id"]):
            raise UserError(f"{fold.test} has other ids than {path}; run the command that trained it again")
    frames = [_in_order(one, frame["id"]) for one in frames]
    mean = geometric(np.stack([predictions(one) for one in frames]))
    return frame[["id"]].join(pd.DataFrame(mean, columns=columns[1:]))


def _saw(done: Path) -> Any:
    return read_json(done).get("test")


def _frame(path: Path, columns: list[str]) -> pd.DataFrame:
    """Reads the columns of a file, and checks that they exist, that ids are unique and that rows are probabilities."""
    try:
        frame = read_frame(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}); run the command that trained it again") from error
    for column in columns:
        if column not in frame:
            raise UserError(f"{path} has no column {column}; run the command that trained it again")
    twice = frame["id"][frame["id"].duplicated()]
    if len(twice):
        raise UserError(f"{path} has id {twice.iloc[0]} more than once; train the run anew")
    values = predictions(frame := frame[columns])
    sums = values.sum(1)
    wrong = np.flatnonzero(~(np.isfinite(values).all(1) & (values >= 0).all(1) & (np.abs(sums - 1) <= SUM)))
    if len(wrong):
        at = wrong[0]
        bad = np.flatnonzero(~(np.isfinite(values[at]) & (values[at] >= 0)))
        names = [c for c in columns if c.startswith(PREDICTION)]
        what = f"{names[bad[0]]} is {values[at, bad[0]]}" if len(bad) else f"the predictions sum to {sums[at]:.6g}"
        raise UserError(f"{path}: {what} at id {frame['id'].iloc[at]}, which is no distribution; leave the run out")
    return frame.reset_index(drop=True)


def _digest(oof: pd.DataFrame, test: pd.DataFrame | None) -> str:
    """Hash of ids, folds, targets and predictions, independent of the order of rows and of the file's encoding."""
    digest = hashlib.sha256()
    for frame in (oof, test):
        if frame is not None:
            plain = frame.assign(id=frame["id"].astype(str)).sort_values("id")
            digest.update(pd.util.hash_pandas_object(plain, index=False).to_numpy().tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:32]
