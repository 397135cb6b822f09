"""Whether a difference is more than chance: a t-test over folds, a bootstrap over rows, a correction for many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.metrics import (
    HEARTBEAT_ROWS,
    SMALLEST,
    absolute_sum_20k,
    accuracy,
    area_under_curve,
    kl_divergence,
    mean_average_precision_3,
)
from bench.spec import Metric, UserError

LEVEL = 0.05
"""What a p-value must lie below; intervals are of 1 − LEVEL."""
CELLS = 4_000_000
"""Drawn counts that are held at once: 32 MB."""


@dataclass(frozen=True)
class FoldTest:
    """A paired test of k folds' differences: their mean, its standard error, t, p, and the mean's 95 % interval."""

    mean: float
    error: float
    t: float
    p: float
    low: float
    high: float


def corrected_t_test(differences: np.ndarray, ratio: float) -> FoldTest:
    """Nadeau and Bengio's corrected resampled t-test of (k,) paired differences, two-sided, k − 1 degrees of freedom.

    t = mean / sqrt((1 / k + n_test / n_train) · s²), s² the differences' variance with k − 1 below; ``ratio`` is
    n_test / n_train. Folds share their training rows, so their scores are no independent draws: the plain 1 / k finds
    differences that are not there. Source: Nadeau and Bengio 2003, Inference for the Generalization Error, Machine
    Learning 52, 239–281, https://doi.org/10.1023/A:1024068626366; they derive it for random splits, its use on the
    folds of a cross-validation is common (Bouckaert and Frank 2004) and a heuristic. Raises ValueError for k < 2.
    """
    from scipy import stats

    k = len(differences)
    if k < 2:
        raise ValueError(f"a paired t-test needs 2 differences or more, and there are {k}")
    mean = float(np.mean(differences))
    error = float(np.sqrt((1 / k + ratio) * np.var(differences, ddof=1)))
    if error <= 1e-12 * abs(mean) or error == 0:  # every fold differs by the same
        t = 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
        return FoldTest(mean, error, t, 1.0 if mean == 0 else 0.0, mean, mean)
    t = mean / error
    half = float(stats.t.ppf(1 - LEVEL / 2, k - 1)) * error
    return FoldTest(mean, error, t, float(2 * stats.t.sf(abs(t), k - 1)), mean - half, mean + half)


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number, step by step from the smallest (Holm 1979, Scand. J. Statist. 6, 65–70).

    Below 0.05 after it means: in all of them together, a difference that is not there is found once in 20 times.
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
    """What is drawn as one: (N,) code from 0 of each row, and ``group``, ``example`` or ``row``.

    Rows of a group (a patient) are alike, and drawing them apart would make any interval too narrow; neither are the
    rows of an example ever parted. A row without a group stands alone.
    """
    alone = np.arange(len(table))
    tied = [(name, table[name].factorize()[0]) for name in ("group", "example") if name in table]
    if not tied:
        return alone, "row"
    found = [np.where(code < 0, code.max() + 1 + alone, code) for _, code in tied]
    code = found[0]
    if len(found) == 2:  # an example may join two groups: what hangs together is one
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        first, second = found
        nodes = first.max() + 1 + second.max() + 1
        edges = coo_array((np.ones(len(first)), (first, first.max() + 1 + second)), shape=(nodes, nodes))
        code = connected_components(edges, directed=False)[1][first]
    return np.unique(code, return_inverse=True)[1], tied[0][0]


def row_scores(metric: Metric, target: np.ndarray, probability: np.ndarray) -> np.ndarray | None:
    """The (N,) scores of single rows, where the metric is their mean; None where it is something else (ranks).

    Whether it is their mean is tried, not looked up, so that a metric of anybody's own has it, too: those that ROWS
    does not know are called row by row, some 100 µs each.
    """
    if known := ROWS.get(metric.score):
        scores = known(target, probability)
        return scores if _is_mean(scores, metric, target, probability) else None
    few = np.unique(np.linspace(0, len(target) - 1, min(len(target), 50)).astype(int))
    for rows in (few, np.arange(len(target))):
        try:
            scores = np.array([metric.score(target[[i]], probability[[i]]) for i in rows])
        except ValueError:
            return None
        if not _is_mean(scores, metric, target[rows], probability[rows]):
            return None
    return scores


def _is_mean(scores: np.ndarray, metric: Metric, target: np.ndarray, probability: np.ndarray) -> bool:
    return bool(np.isclose(scores.mean(), metric.score(target, probability), rtol=1e-9, atol=1e-12))  # not for NaN


def _kl(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return (target * np.log(np.divide(target, clipped, out=np.ones_like(target), where=target > 0))).sum(1)


def _map3(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    true = target.argmax(1)[:, None]
    own = np.take_along_axis(probability, true, axis=1)
    first = np.arange(target.shape[1])[None] < true
    before = ((probability > own) | ((probability == own) & first)).sum(1)
    return np.where(before < 3, 1 / (1 + before), 0.0)


ROWS: dict[Callable[..., float], Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    kl_divergence: _kl,
    absolute_sum_20k: lambda target, probability: HEARTBEAT_ROWS * np.abs(target - probability).sum(1),
    mean_average_precision_3: _map3,
    accuracy: lambda target, probability: (target.argmax(1) == probability.argmax(1)).astype(np.float64),
}
"""What single rows score, for many rows at once, of the metrics that are means over rows."""


def draws(n_units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn, with replacement: blocks (b, n_units) of int64, ``resamples`` rows in all."""
    if n_units < 2:
        raise UserError("all rows are of one group, so there is nothing to draw a difference's interval from")
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS // n_units)
    for start in range(0, resamples, at_once):
        block = np.empty((min(at_once, resamples - start), n_units), dtype=np.int64)
        for row in block:
            row[:] = np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)
        yield block


def resampled_sums(columns: np.ndarray, unit: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(B, M) sums of (N, M) columns over the rows of each of B draws of units; for one seed the draws are the same."""
    order = np.argsort(unit, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(unit[order]) > 0])
    sums = np.add.reduceat(columns[order], starts, axis=0)
    return np.concatenate([count.astype(np.float64) @ sums for count in draws(len(starts), resamples, seed)])


def resampled_scores(
    metric: Metric, target: np.ndarray, probabilities: Sequence[np.ndarray], unit: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """(B, R) scores of R runs' (N, K) predictions, each draw the same for all of them: for metrics that are no means.

    AUC takes 0.1 ms a draw of 10,000 rows, any other metric what it takes by itself. A draw that the metric can't
    judge (one class alone) is NaN.
    """
    auc = metric.score is area_under_curve
    scorers = [
        weighted_auc(target.argmax(1) == 1, p[:, 1]) if auc else _repeated(metric, target, p) for p in probabilities
    ]
    return np.concatenate(
        [
            np.stack([scorer(count[:, unit]) for scorer in scorers], axis=1)
            for count in draws(int(unit.max()) + 1, resamples, seed)
        ]
    )


def weighted_auc(positive: np.ndarray, score: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """(N,) bool and (N,) score → a function from (b, N) whole row weights to (b,) ROC AUC, ties counting half.

    The area is the share of pairs put in order, so all it takes is how many negatives lie below each positive; where
    they lie is found once for all draws.
    """
    up, down = np.flatnonzero(positive), np.flatnonzero(~positive)
    down = down[np.argsort(score[down], kind="stable")]
    below, level = (np.searchsorted(score[down], score[up], side) for side in ("left", "right"))

    def auc(weight: np.ndarray) -> np.ndarray:
        negatives = np.zeros((len(weight), len(down) + 1), dtype=np.int64)
        np.cumsum(weight[:, down], axis=1, out=negatives[:, 1:])
        drawn = weight[:, up]
        ordered = np.einsum("bi,bi->b", drawn, negatives[:, below] + negatives[:, level])
        with np.errstate(invalid="ignore"):
            return ordered / 2 / (drawn.sum(1) * negatives[:, -1])

    return auc


def _repeated(metric: Metric, target: np.ndarray, probability: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def score(weight: np.ndarray) -> np.ndarray:
        drawn = [np.repeat(np.arange(len(target)), row) for row in weight]
        return np.array([metric.score(target[rows], probability[rows]) for rows in drawn])

    return score
