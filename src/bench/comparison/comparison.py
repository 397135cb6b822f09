"""The numbers of a comparison of finished runs: by fold, by row and by class.

There are two tests, for two sources of chance. The bootstrap over out-of-fold rows tests the difference between *these*
trained models. The corrected t-test over folds also allows for the chance in training. A run is called better only
where both tests find a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from bench.comparison.reading import Rows
from bench.comparison.significance import (
    LEVEL,
    FoldTest,
    corrected_t_test,
    holm,
    interval,
    resampled_by_class,
    resampled_means,
    resampled_scores,
    two_sided,
    units,
)
from bench.runs.run import Run
from bench.spec import Direction, Metric

Verdict = Literal["better", "better on these rows", "not told apart", "the same"]
DISTANCE = "distance"
"""A row's loss where the metric has none: half the sum of |target − prediction|, 1 − p(true) of a hard target."""

FEW = 10
"""The fewest rows of a class for which its difference gets an interval."""


@dataclass(frozen=True)
class Pair:
    """The best run against another one; ``best`` and ``other`` are positions among the runs.

    A gain above 0 means that the best run is better. gains are per fold (k,), ``folds`` is their test (None for fewer
    than two); gain, low and high are of the out-of-fold score. p_folds and p_rows are corrected for the number of
    pairs of runs; p_folds is NaN without a test.
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
    """Compared runs, best out-of-fold score first; all arrays and lists per run are in this order.

    folds are (R, k) scores, by fold ``numbers``; intervals (R, 2) are of the out-of-fold scores; losses (N, R) are each
    row's ``loss``: the metric where it is a mean over rows, else ``distance``. loss_direction says which way is better.
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
    loss_direction: Direction
    classes: pd.DataFrame
    resamples: int
    seed: int


def compare(
    runs: Sequence[Run],
    rows: Rows,
    probabilities: Sequence[np.ndarray],
    metric: Metric,
    resamples: int = 4000,
    seed: int = 0,
) -> Comparison:
    """Computes a comparison. The runs, and their (N, K) probabilities, may come in any order."""
    from threadpoolctl import threadpool_limits

    direction, target = metric.direction, rows.target
    scores = np.array([metric.score(target, p) for p in probabilities])
    order = np.argsort(-direction.sign * scores, kind="stable")
    probabilities, scores = [probabilities[i] for i in order], scores[order]
    fold = rows.table["fold"].to_numpy()
    numbers = np.unique(fold)
    folds = np.array([[metric.score(target[fold == k], p[fold == k]) for k in numbers] for p in probabilities])
    shares = [share for p in probabilities if (share := metric.rows(target, p)) is not None]
    losses, loss, loss_direction = np.stack([distance(target, p) for p in probabilities], 1), DISTANCE, Direction.MIN
    if shares:
        losses, loss, loss_direction = np.stack(shares, axis=1), metric.name, direction
    unit, kind = units(rows.table)
    with threadpool_limits(1):  # products of long thin arrays: more threads wait for each other
        if shares:
            resampled = resampled_means(losses, unit, resamples, seed)
        else:
            resampled = resampled_scores(metric, target, probabilities, unit, resamples, seed)
        by_class = resampled_by_class(losses, target, unit, min(resamples, 1000), seed)
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
        pairs=_pairs(direction, folds, scores, resampled, rows.ratio, probabilities),
        losses=losses,
        loss=loss,
        loss_direction=loss_direction,
        classes=_by_class(rows, probabilities, losses, loss_direction, by_class),
        resamples=resamples,
        seed=seed,
    )


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N,) total variation distance of (N, K) distributions: 0 for equal ones, 1 for those that share no class."""
    difference = one - other
    return np.asarray(np.abs(difference, out=difference).sum(axis=1) / 2)


def apart(compared: Comparison, pair: Pair) -> np.ndarray:
    """(N,) ``distance`` between the pair's predictions of each row."""
    return distance(compared.probabilities[pair.best], compared.probabilities[pair.other])


def disagreements(compared: Comparison, most: int = 100) -> pd.DataFrame:
    """The rows with the largest ``distance`` between the best run's prediction and each other run's.

    Columns: best, other (identities), id, fold, disagreement, each one's loss, target_<class>, best_<class>,
    other_<class>.
    """
    parts, names = [], compared.rows.classes
    for pair in compared.pairs:
        one, other = compared.probabilities[pair.best], compared.probabilities[pair.other]
        distances = apart(compared, pair)
        top = np.argsort(-distances, kind="stable")[:most]
        part = compared.rows.table.iloc[top][["id", "fold"]].reset_index(drop=True)
        part.insert(0, "best", compared.runs[pair.best].identity)
        part.insert(1, "other", compared.runs[pair.other].identity)
        blocks = {"target": compared.rows.target, "best": one, "other": other}
        numbers = {
            "disagreement": distances[top],
            f"best {compared.loss}": compared.losses[top, pair.best],
            f"other {compared.loss}": compared.losses[top, pair.other],
            **{f"{kind}_{c}": block[top, i] for kind, block in blocks.items() for i, c in enumerate(names)},
        }
        parts.append(part.join(pd.DataFrame(numbers)))
    return pd.concat(parts, ignore_index=True)


def _pairs(
    direction: Direction,
    folds: np.ndarray,
    scores: np.ndarray,
    resampled: np.ndarray,
    ratio: float,
    probabilities: Sequence[np.ndarray],
) -> list[Pair]:
    """The best run against every other. p-values are corrected for all pairs, since these scores chose the best."""
    sign, judged = direction.sign, np.isfinite(folds).all(0)  # a fold of one class has no AUC
    every = list(combinations(range(len(scores)), 2))
    gains = {(a, b): sign * (folds[a] - folds[b]) for a, b in every}
    drawn = {(a, b): sign * (resampled[:, a] - resampled[:, b]) for a, b in every}
    tests = {p: corrected_t_test(gains[p][judged], ratio) for p in every} if judged.sum() > 1 else {}
    p_folds = dict(zip(every, holm([tests[p].p for p in every]), strict=True)) if tests else {}
    p_rows = dict(zip(every, holm([two_sided(drawn[p]) for p in every]), strict=True))
    pairs = []
    for key in [(0, other) for other in range(1, len(scores))]:
        test, p_fold = tests.get(key), p_folds.get(key, float("nan"))
        gain = float(sign * (scores[0] - scores[key[1]]))
        sure = gain > 0 and p_rows[key] < LEVEL
        verdict: Verdict = "better on these rows" if sure else "not told apart"
        if sure and test is not None and test.mean > 0 and p_fold < LEVEL:
            verdict = "better"
        if np.array_equal(probabilities[0], probabilities[key[1]]):
            verdict = "the same"
        pairs.append(Pair(*key, gains[key], test, p_fold, gain, *interval(drawn[key]), p_rows[key], verdict))
    return pairs


def _by_class(
    rows: Rows, probabilities: Sequence[np.ndarray], losses: np.ndarray, direction: Direction, resampled: np.ndarray
) -> pd.DataFrame:
    """A table with one row per class and run. A class without rows gets NaN.

    class; run (position); rows: those whose most probable class it is; share: of all targets; score: the mean loss,
    weighted by the class's share of each target, so that shares times scores add up to the loss of all rows; accuracy:
    on ``rows``; gain, low, high: of the best run over this one, with the 95 % interval of the (B, R, K) ``resampled``
    scores, which is NaN for fewer than FEW rows.
    """
    k, sign = len(rows.classes), direction.sign
    commonest, sums = rows.target.argmax(1), rows.target.sum(0)
    count = np.bincount(commonest, minlength=k)
    with np.errstate(invalid="ignore", divide="ignore"):
        score = (losses.T @ rows.target) / sums
        right = [np.bincount(commonest[p.argmax(1) == commonest], minlength=k) / count for p in probabilities]
    parts = []
    for i in range(len(probabilities)):
        ahead = sign * (resampled[:, 0] - resampled[:, i])
        bounds = np.full((k, 2), np.nan)
        for c in np.flatnonzero(count >= FEW):
            bounds[c] = interval(ahead[np.isfinite(ahead[:, c]), c])
        columns = {"class": rows.classes, "run": i, "rows": count, "share": sums / sums.sum(), "score": score[i]}
        gains = {"gain": sign * (score[0] - score[i]), "low": bounds[:, 0], "high": bounds[:, 1]}
        parts.append(pd.DataFrame({**columns, "accuracy": right[i], **gains}))
    return pd.concat(parts, ignore_index=True)
