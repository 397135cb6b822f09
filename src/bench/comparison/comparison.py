"""Are finished runs really different? The numbers: fold by fold, row by row, class by class.

Two sources of chance are told apart. The bootstrap over out-of-fold rows says how sure the difference of *these*
trained models is; the corrected t-test over folds also knows that another training would have gone otherwise. Only
what both see is called better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from bench.comparison.significance import (
    LEVEL,
    FoldTest,
    corrected_t_test,
    holm,
    interval,
    resampled_scores,
    resampled_sums,
    row_scores,
    two_sided,
    units,
)
from bench.datasets.base import open_to
from bench.runs.run import Run
from bench.spec import Metric, UserError

Verdict = Literal["better", "better on these rows", "not told apart", "the same"]
DISTANCE = "distance"
"""A row's loss where the metric has none: half the sum of |target − prediction|, 1 − p(true) of a hard target."""

FEW = 10
"""Rows of a class from which its difference gets an interval."""


@dataclass(frozen=True)
class Rows:
    """What compared runs have in common: the validated rows, and what each fold trained on.

    table has id, fold, and group and example where there are any; target is (N, K); ratio is the folds' mean of
    validated by trained rows.
    """

    table: pd.DataFrame
    target: np.ndarray
    classes: tuple[str, ...]
    ratio: float
    simulated: bool


@dataclass(frozen=True)
class Pair:
    """The best run (``best``, a position among the runs) against ``other``; a gain above 0 says that it is better.

    gains are per fold (k,), ``folds`` their test (None for fewer than two); gain, low and high are of the
    out-of-fold score. p_folds and p_rows are corrected for all pairs of runs; p_folds is NaN without a test.
    """

    best: int
    other: int
    gains: np.ndarray
    folds: FoldTest | None
    p_folds: float
    gain: float
    low: float
    high: float
    p_rows: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Runs, best out-of-fold score first; what is per run follows their order.

    folds is (R, k) of the fold numbers, intervals (R, 2) of the out-of-fold scores, losses (N, R) each row's
    ``loss`` (the metric where it is a mean over rows, else ``distance``; loss_direction says which way is better).
    """

    metric: Metric
    runs: list[Run]
    probabilities: list[np.ndarray]
    rows: Rows
    unit: str
    n_units: int
    numbers: list[int]
    folds: np.ndarray
    scores: np.ndarray
    intervals: np.ndarray
    pairs: list[Pair]
    losses: np.ndarray
    loss: str
    loss_direction: Literal["min", "max"]
    classes: pd.DataFrame
    resamples: int
    seed: int


def read(runs: Sequence[Run]) -> tuple[Rows, list[np.ndarray]]:
    """The runs' rows and their (N, K) predictions, in one order; UserError that names the first difference there is."""
    if len(runs) < 2:
        raise UserError(f"runs names {len(runs)} run; a comparison takes two or more, as runs=[<folder>,<folder>]")
    first = runs[0]
    seen: dict[str, Run] = {}
    for run in runs:
        if lacking := [n for n in ("scores.json", "oof.parquet", "splits.parquet") if not (run.folder / n).exists()]:
            raise UserError(f"{run.folder} has no {lacking[0]}: the command that made the run makes what is missing")
        if run.identity in seen:
            raise UserError(f"{run.folder} and {seen[run.identity].folder} are one run: the same recipe, data and seed")
        seen[run.identity] = run
        _refuse("data sets", first, first.inputs["dataset"], run, run.inputs["dataset"])
        kinds = [("simulated" if r.inputs["simulated"] else "real") + " data" for r in (first, run)]
        _refuse("simulated and real rows", first, kinds[0], run, kinds[1])
        measures = [f"{r.inputs['metric']} ({r.inputs['direction']})" for r in (first, run)]
        _refuse("metrics", first, measures[0], run, measures[1])
        _refuse_classes(first, run)
    frames = [_frame(run) for run in runs]
    for run, frame in zip(runs[1:], frames[1:], strict=True):
        _refuse_rows(first, frames[0], run, frame)
    classes = runs[0].spec.classes
    target = frames[0][[f"target_{c}" for c in classes]].to_numpy(np.float64)
    probabilities = [frame[[f"pred_{c}" for c in classes]].to_numpy(np.float64) for frame in frames]
    table = frames[0][[c for c in ("id", "fold", "group", "example") if c in frames[0]]]
    return Rows(table, target, classes, _ratio(first, table), bool(first.inputs["simulated"])), probabilities


def compare(
    runs: Sequence[Run],
    rows: Rows,
    probabilities: Sequence[np.ndarray],
    metric: Metric,
    resamples: int = 4000,
    seed: int = 0,
) -> Comparison:
    """All numbers of a comparison; runs and their predictions in any order, they come out best first."""
    target, sign = rows.target, 1.0 if metric.direction == "max" else -1.0
    scores = np.array([metric.score(target, p) for p in probabilities])
    order = np.argsort(-sign * scores, kind="stable")
    probabilities, scores = [probabilities[i] for i in order], scores[order]
    fold = rows.table["fold"].to_numpy()
    numbers = np.unique(fold)
    folds = np.array([[metric.score(target[fold == k], p[fold == k]) for k in numbers] for p in probabilities])
    single = [row_scores(metric, target, p) for p in probabilities]
    means = [s for s in single if s is not None]
    losses, loss, loss_direction = np.stack([np.abs(target - p).sum(1) / 2 for p in probabilities], 1), DISTANCE, "min"
    if len(means) == len(single):
        losses, loss, loss_direction = np.stack(means, axis=1), metric.name, metric.direction
    unit, kind = units(rows.table)
    if loss == metric.name:
        sums = resampled_sums(np.column_stack([losses, np.ones(len(losses))]), unit, resamples, seed)
        resampled = sums[:, :-1] / sums[:, -1:]
    else:
        resampled = resampled_scores(metric, target, probabilities, unit, resamples, seed)
    resampled = resampled[np.isfinite(resampled).all(1)]
    return Comparison(
        metric=metric,
        runs=[runs[i] for i in order],
        probabilities=probabilities,
        rows=rows,
        unit=kind,
        n_units=int(unit.max()) + 1,
        numbers=[int(k) for k in numbers],
        folds=folds,
        scores=scores,
        intervals=np.array([interval(column) for column in resampled.T]),
        pairs=_pairs(sign, folds, scores, resampled, rows.ratio, probabilities),
        losses=losses,
        loss=loss,
        loss_direction=loss_direction,  # type: ignore[arg-type]
        classes=_by_class(rows, probabilities, losses, loss_direction, unit, min(resamples, 1000), seed),
        resamples=resamples,
        seed=seed,
    )


def apart(of: Comparison, pair: Pair) -> np.ndarray:
    """(N,) how far the pair's predictions of each row are apart: 0 where they are the same, 1 where they share none."""
    return np.abs(of.probabilities[pair.best] - of.probabilities[pair.other]).sum(1) / 2


def disagreements(of: Comparison, most: int = 100) -> pd.DataFrame:
    """The rows where the best run and each other differ most: half the sum of their predictions' distances.

    Columns: best, other (identities), id, fold, disagreement, each one's loss, target_<class>, best_<class>,
    other_<class>.
    """
    parts, names = [], of.rows.classes
    for pair in of.pairs:
        one, other = of.probabilities[pair.best], of.probabilities[pair.other]
        distance = apart(of, pair)
        top = np.argsort(-distance, kind="stable")[:most]
        part = of.rows.table.iloc[top][["id", "fold"]].reset_index(drop=True)
        part.insert(0, "best", of.runs[pair.best].identity)
        part.insert(1, "other", of.runs[pair.other].identity)
        blocks = {"target": of.rows.target, "best": one, "other": other}
        numbers = {
            "disagreement": distance[top],
            f"best {of.loss}": of.losses[top, pair.best],
            f"other {of.loss}": of.losses[top, pair.other],
            **{f"{kind}_{c}": block[top, i] for kind, block in blocks.items() for i, c in enumerate(names)},
        }
        parts.append(part.join(pd.DataFrame(numbers)))
    return pd.concat(parts, ignore_index=True)


def _pairs(
    sign: float, folds: np.ndarray, scores: np.ndarray, resampled: np.ndarray, ratio: float, said: Sequence[np.ndarray]
) -> list[Pair]:
    """The best against every other. All pairs are corrected for: the best was chosen by these very numbers."""
    judged = np.isfinite(folds).all(0)  # a fold of one class has no AUC
    every = list(combinations(range(len(scores)), 2))
    gains = {(a, b): sign * (folds[a] - folds[b]) for a, b in every}
    drawn = {(a, b): sign * (resampled[:, a] - resampled[:, b]) for a, b in every}
    tests = {p: corrected_t_test(gains[p][judged], ratio) for p in every} if judged.sum() > 1 else {}
    p_folds = dict(zip(every, holm([tests[p].p for p in every]), strict=True)) if tests else {}
    p_rows = dict(zip(every, holm([two_sided(drawn[p]) for p in every]), strict=True))
    found = []
    for key in [(0, other) for other in range(1, len(scores))]:
        test, p_fold = tests.get(key), p_folds.get(key, float("nan"))
        gain = float(sign * (scores[0] - scores[key[1]]))
        sure = gain > 0 and p_rows[key] < LEVEL
        verdict: Verdict = "better on these rows" if sure else "not told apart"
        if sure and test is not None and test.mean > 0 and p_fold < LEVEL:
            verdict = "better"
        if np.array_equal(said[0], said[key[1]]):
            verdict = "the same"
        found.append(Pair(*key, gains[key], test, p_fold, gain, *interval(drawn[key]), p_rows[key], verdict))
    return found


def _by_class(
    rows: Rows,
    probabilities: Sequence[np.ndarray],
    losses: np.ndarray,
    direction: str,
    unit: np.ndarray,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """One row a class and run: what the loss is on that class's rows, and how far the best run is ahead there.

    class, run (position), rows (whose commonest class it is), share (of all targets), score (the loss's mean, rows
    counting by the class's share of their target: shares times scores add up to the loss of all rows), accuracy (on
    the rows whose commonest class it is), gain, low, high (of the best run over this one, with its 95 % interval, NaN
    where fewer than FEW rows would make it up). NaN for a class that no row has.
    """
    sign = 1.0 if direction == "max" else -1.0
    r, k = losses.shape[1], len(rows.classes)
    commonest, sums = rows.target.argmax(1), rows.target.sum(0)
    count = np.bincount(commonest, minlength=k)
    parts = [losses[:, [i]] * rows.target for i in range(r)]
    drawn = resampled_sums(np.concatenate([*parts, rows.target], axis=1), unit, resamples, seed).reshape(-1, r + 1, k)
    found = []
    with np.errstate(invalid="ignore", divide="ignore"):
        score = (losses.T @ rows.target) / sums
        by_run = drawn[:, :-1] / drawn[:, -1:]
        hits = [np.bincount(commonest[p.argmax(1) == commonest], minlength=k) / count for p in probabilities]
    for i in range(r):
        ahead = sign * (by_run[:, 0] - by_run[:, i])
        bounds = np.full((k, 2), np.nan)
        for c in np.flatnonzero(count >= FEW):
            bounds[c] = interval(ahead[np.isfinite(ahead[:, c]), c])
        columns = {"class": rows.classes, "run": i, "rows": count, "share": sums / sums.sum(), "score": score[i]}
        gains = {"gain": sign * (score[0] - score[i]), "low": bounds[:, 0], "high": bounds[:, 1]}
        found.append(pd.DataFrame({**columns, "accuracy": hits[i], **gains}))
    return pd.concat(found, ignore_index=True)


def _frame(run: Run) -> pd.DataFrame:
    """A run's out-of-fold rows, sorted by id, with what its splits say of group and example."""
    oof = pd.read_parquet(run.folder / "oof.parquet")
    splits = pd.read_parquet(run.folder / "splits.parquet")
    more = splits[["id", *(c for c in ("group", "example") if c in splits)]]
    frame = oof.merge(more, on="id", how="left", validate="one_to_one")
    return frame.assign(id=frame["id"].astype(str)).sort_values("id", kind="stable", ignore_index=True)


def _refuse(what: str, first: Run, here: str, run: Run, there: str) -> None:
    if here != there:
        raise UserError(f"{what} differ: {first.folder} has {here}, {run.folder} {there}; these can't be compared")


def _refuse_classes(first: Run, run: Run) -> None:
    here, there = first.spec.classes, run.spec.classes
    if here != there:
        odd = sorted(set(here) ^ set(there))
        what = f"class {odd[0]!r} is in one of them alone" if odd else "they stand in another order"
        raise UserError(f"classes differ between {first.folder} and {run.folder}: {what}; these can't be compared")


def _refuse_rows(first: Run, here: pd.DataFrame, run: Run, there: pd.DataFrame) -> None:
    """Refuses two frames, sorted by id, whose rows, targets, folds or groups are not the same."""
    names = f"{first.folder} and {run.folder}"
    if odd := sorted(set(here["id"]) ^ set(there["id"])):
        owner = first if odd[0] in set(here["id"]) else run
        raise UserError(
            f"rows differ: {first.folder} validates {len(here)} and {run.folder} {len(there)}, id {odd[0]} is in "
            f"{owner.folder} alone; compare runs on the same rows, with all their folds trained"
        )
    columns = [c for c in here if c.startswith("target_")]
    values = [frame[columns].to_numpy(np.float64) for frame in (here, there)]
    if len(rows := np.flatnonzero(np.abs(values[0] - values[1]).max(1) > 1e-6)):
        raise UserError(f"targets differ between {names}: of {len(rows)} rows, first id {here['id'].iloc[rows[0]]}")
    if len(rows := np.flatnonzero(here["fold"].to_numpy() != there["fold"].to_numpy())):
        at = rows[0]
        raise UserError(
            f"folds differ between {names}: id {here['id'].iloc[at]} is validated by fold {here['fold'].iloc[at]} and "
            f"by fold {there['fold'].iloc[at]}; only runs that split alike were trained on the same rows, so train one "
            "of them with the other's split"
        )
    for column in ("group", "example"):
        codes = [frame[column].factorize()[0] if column in frame else np.empty(0) for frame in (here, there)]
        if not np.array_equal(codes[0], codes[1]):
            raise UserError(f"{column}s differ between {names} (splits.parquet); train both on the same files")


def _ratio(run: Run, table: pd.DataFrame) -> float:
    """The folds' mean of validated by trained rows; several rows of an example count as one, as they do in training."""
    splits = pd.read_parquet(run.folder / "splits.parquet")
    trained = splits["trained"].to_numpy(bool) if "trained" in splits else np.ones(len(splits), bool)
    if "weight" in splits:
        trained &= splits["weight"].to_numpy() > 0
    what = "example" if "example" in splits else "id"
    validated = table.groupby("fold")[what].nunique()
    return float(np.mean([n / splits[what][trained & open_to(splits, k)].nunique() for k, n in validated.items()]))
