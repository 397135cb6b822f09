"""Significance of a difference: a t-test over folds, a bootstrap over rows, and Holm's correction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from bench.spec import Metric, UserError

LEVEL = 0.05
"""The significance level; intervals have the confidence 1 − LEVEL."""
CELLS = 2_000_000
"""The most counts in memory at once: 8 MB."""


@dataclass(frozen=True)
class FoldTest:
    """A paired test of the differences of k folds: mean, standard error, t, p and the mean's 95 % interval."""

    mean: float
    error: float
    t: float
    p: float
    low: float
    high: float


def corrected_t_test(differences: np.ndarray, ratio: float) -> FoldTest:
    """Nadeau and Bengio's corrected resampled t-test of (k,) paired differences, two-sided, k − 1 degrees of freedom.

    t = mean / sqrt((1 / k + n_test / n_train) · s²), s² the differences' variance with k − 1 below; ``ratio`` is
    n_test / n_train. Folds share training rows, so their scores are not independent: with the plain 1 / k the test
    finds differences that do not exist. Raises ValueError for k < 2.

    Source: Nadeau and Bengio 2003, Inference for the Generalization Error, Machine Learning 52, 239–281,
    https://doi.org/10.1023/A:1024068626366. They derive it for random splits. Its use on the folds of a
    cross-validation is common (Bouckaert and Frank 2004), but a heuristic.
    """
    from scipy import special  # Student's distribution; scipy.stats takes a second to import

    k = len(differences)
    if k < 2:
        raise ValueError(f"a paired t-test needs 2 differences or more, and there are {k}")
    mean = float(np.mean(differences))
    error = float(np.sqrt((1 / k + ratio) * np.var(differences, ddof=1)))
    if error <= 1e-12 * abs(mean) or error == 0:  # every fold differs by the same
        t = 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
        return FoldTest(mean, error, t, 1.0 if mean == 0 else 0.0, mean, mean)
    t = mean / error
    half = float(special.stdtrit(k - 1, 1 - LEVEL / 2)) * error
    return FoldTest(mean, error, t, float(2 * special.stdtr(k - 1, -abs(t))), mean - half, mean + half)


def over_folds(scores: Sequence[float], n_folds: int) -> tuple[float, float]:
    """The 95 % t-interval of the mean of fold scores, of one cross-validation of ``n_folds`` or of several seeds' each.

    Corrected as the test is, by n_test / n_train = 1 / (n_folds − 1); with s seeds s · n_folds − 1 degrees of freedom
    (Bouckaert and Frank 2004, Evaluating the Replicability of Significance Tests, PAKDD, 3–12). Splits in order of time
    train on fewer rows, so theirs is too narrow. Raises ValueError for fewer than two folds.
    """
    test = corrected_t_test(np.asarray(scores), 1 / (n_folds - 1) if n_folds > 1 else 0.0)
    return test.low, test.high


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number, step by step from the smallest (Holm 1979, Scand. J. Statist. 6, 65–70).

    If no difference exists, the chance that any corrected p-value falls below 0.05 is at most 1 in 20.
    """
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(raised, 1.0)
    return [float(value) for value in corrected]


def two_sided(differences: np.ndarray) -> float:
    """The bootstrap's p-value: twice the share of resampled differences on the rarer side of 0, never 0 itself."""
    side = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (side + 1) / (len(differences) + 1)))


def interval(values: np.ndarray) -> tuple[float, float]:
    """The percentile interval of resampled values."""
    low, high = np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def units(table: pd.DataFrame) -> tuple[np.ndarray, str]:
    """The units of resampling: (N,) codes of the rows from 0, and their kind: ``group``, ``example`` or ``row``.

    Rows of a group (a patient) are alike: drawing them one by one would make every interval too narrow. The rows of an
    example also stay together. A row without a group is its own unit.
    """
    alone = np.arange(len(table))
    tied = [(name, table[name].factorize()[0]) for name in ("group", "example") if name in table]
    if not tied:
        return alone, "row"
    codes = [np.where(code < 0, code.max() + 1 + alone, code) for _, code in tied]
    code = codes[0]
    if len(codes) == 2:  # an example may join two groups: what hangs together is one
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        first, second = codes
        nodes = first.max() + 1 + second.max() + 1
        edges = coo_array((np.ones(len(first)), (first, first.max() + 1 + second)), shape=(nodes, nodes))
        code = connected_components(edges, directed=False)[1][first]
    return np.unique(code, return_inverse=True)[1], tied[0][0]


def draws(n_units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn, with replacement: blocks (b, n_units) of whole float32, ``resamples`` rows in all.

    The same seed gives the same draws; with fewer ``resamples`` they are the first ones of the same sequence.
    """
    if n_units < 2:
        raise UserError("all rows are of one group, so there is nothing to draw a difference's interval from")
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS // n_units)
    for start in range(0, resamples, at_once):
        block = np.empty((min(at_once, resamples - start), n_units), dtype=np.float32)
        for row in block:
            row[:] = np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)
        yield block


def resampled_means(rows: np.ndarray, unit: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(B, R) means of (N, R) row scores, one per draw of units."""
    columns = [*rows.T, np.ones(len(rows))]
    sums = np.stack([np.bincount(unit, column) for column in columns], axis=1)  # what a unit adds, however often drawn
    drawn = np.concatenate([count @ sums for count in draws(len(sums), resamples, seed)])
    return np.asarray(drawn[:, :-1] / drawn[:, -1:])


def resampled_by_class(rows: np.ndarray, target: np.ndarray, unit: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(B, R, K) means of (N, R) row scores per draw and class, weighted by the (N, K) targets.

    NaN where a draw has no row of the class.
    """
    columns, k = np.column_stack([rows, np.ones(len(rows))]), target.shape[1]
    members = [np.flatnonzero(target[:, c]) for c in range(k)]
    shares = [columns[at] * target[at, c, None] for c, at in enumerate(members)]
    blocks = []
    for count in draws(int(unit.max()) + 1, resamples, seed):
        sums = [count.take(unit[at], axis=1) @ share for at, share in zip(members, shares, strict=True)]
        blocks.append(np.stack(sums, axis=2))
    drawn = np.concatenate(blocks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(drawn[:, :-1] / drawn[:, -1:])


def resampled_scores(
    metric: Metric, target: np.ndarray, probabilities: Sequence[np.ndarray], unit: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """(B, R) scores of R runs' (N, K) predictions, for metrics that are not means over rows.

    All runs are scored on the same draws. A draw on which the metric is not defined (one class alone) is NaN. Without
    ``Metric.weighted``, every draw costs a full evaluation of the metric.
    """
    weighted = metric.weighted or partial(_repeated, metric)
    scorers = [weighted(target, p) for p in probabilities]
    alone = np.array_equal(unit, np.arange(len(target)))
    scores = []
    for count in draws(int(unit.max()) + 1, resamples, seed):
        weight = count if alone else count[:, unit]
        scores.append(np.stack([scorer(weight) for scorer in scorers], axis=1))
    return np.concatenate(scores)


def _repeated(metric: Metric, target: np.ndarray, probability: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def score(weight: np.ndarray) -> np.ndarray:
        drawn = [np.repeat(np.arange(len(target)), row.astype(np.int64)) for row in weight]
        return np.array([metric.score(target[rows], probability[rows]) for rows in drawn])

    return score
