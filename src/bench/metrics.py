"""Competitions' scores: plain functions of (target, probability), and the ``Metric`` each one makes.

A new metric is one function and its ``Metric``: ``terms`` where it is a mean over rows, else ``whole``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.spec import Direction, Metric

SMALLEST = 1e-15
"""What Kaggle's KL metric clips a submission to, from below and (as 1 − 1e-15) from above."""

HEARTBEAT_ROWS = 20_000
"""Rows of the heartbeat competition's test file, which its summed score depends on."""


def kl_divergence(target: np.ndarray, probability: np.ndarray) -> float:
    """Kullback-Leibler divergence of (N, K) predictions from (N, K) target distributions; lower is better.

    Kaggle's metric for HMS: only the submission is clipped to [1e-15, 1 − 1e-15] and it is not normalised
    again, terms with a target of 0 count 0, summed over classes, averaged over rows. Raises ValueError where
    a prediction is NaN, below 0, above 1, or a row does not sum to 1 (``numpy.allclose``), as Kaggle does.
    """
    target, probability = _pair(target, probability)
    if probability.min() < 0 or probability.max() > 1:
        row = int(np.flatnonzero(((probability < 0) | (probability > 1)).any(axis=1))[0])
        raise ValueError(f"row {row} of the predictions holds a value outside [0, 1]: {probability[row]}")
    sums = probability.sum(axis=1)
    close = np.isclose(sums, 1)
    if not close.all():
        row = int(np.flatnonzero(~close)[0])
        raise ValueError(f"row {row} of the predictions sums to {sums[row]:.8g}, expected 1")
    return float(kl_terms(target, probability).sum(axis=1).mean())


def kl_terms(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(N, K) terms t · log(t / p) of the divergence, with p clipped as Kaggle's metric clips it.

    A row's sum is its divergence, which for a hard target is its cross entropy. The predictions are not checked.
    """
    target, probability = _pair(target, probability)
    clipped = np.clip(probability, SMALLEST, 1 - SMALLEST)
    # log(1) stands in where the target is 0: 0 · log 0 is taken as 0, the limit.
    ratio = np.divide(target, clipped, out=np.ones_like(target), where=target > 0)
    divergence: np.ndarray = target * np.log(ratio)
    return divergence


def absolute_sum(target: np.ndarray, probability: np.ndarray) -> float:
    """Σ |y − p| over rows and classes of (N, K): Tianchi heartbeat's own score; it grows with the rows.

    Raises ValueError on NaN or shapes that differ.
    """
    return float(_differences(target, probability).sum())


def absolute_sum_20k(target: np.ndarray, probability: np.ndarray) -> float:
    """``absolute_sum`` as if there were 20,000 rows, so that folds of any size and the board compare."""
    return absolute_sum(target, probability) * HEARTBEAT_ROWS / len(target)


def absolute_terms_20k(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(N, K) terms 20,000 · |y − p|, whose mean over rows is ``absolute_sum_20k`` but for its rounding."""
    return HEARTBEAT_ROWS * _differences(target, probability)


def accuracy(target: np.ndarray, probability: np.ndarray) -> float:
    """Share of the rows whose most probable class is the target's; the first one wins a tie."""
    return ACCURACY.score(target, probability)


def hits(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(N,) 1.0 where a row's most probable class is the target's, else 0.0; the first one wins a tie."""
    target, probability = _pair(target, probability)
    correct: np.ndarray = (target.argmax(axis=1) == probability.argmax(axis=1)).astype(np.float64)
    return correct


def precision_3(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(N,) whose mean is MAP@3, Freesound's score: 1 / rank where the true class is among the three most probable.

    Else a row counts 0. ``target`` and ``probability`` are (N, K); of a soft target the largest class is the true one,
    and the first class wins a tie in the prediction.
    """
    target, probability = _pair(target, probability)
    true = target.argmax(axis=1)[:, None]
    true_probability = np.take_along_axis(probability, true, axis=1)
    earlier = np.arange(target.shape[1])[None] < true
    rank = 1 + ((probability > true_probability) | ((probability == true_probability) & earlier)).sum(axis=1)
    return np.where(rank <= 3, 1 / rank, 0.0)


def area_under_curve(target: np.ndarray, probability: np.ndarray) -> float:
    """ROC AUC of the second of two classes, from (N, 2): the share of pairs put in order, ties counting half.

    NaN where the rows are all of one class: there is nothing to order, and a fold too small for a positive should
    not end a training. Raises ValueError where there are other than two classes.
    """
    from sklearn.metrics import roc_auc_score

    target, probability = _pair(target, probability)
    if target.shape[1] != 2:
        raise ValueError(f"AUC is of two classes, and there are {target.shape[1]}")
    positive = target.argmax(axis=1) == 1
    if positive.all() or not positive.any():
        return float("nan")
    return float(roc_auc_score(positive, probability[:, 1]))


def weighted_area(target: np.ndarray, probability: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """``area_under_curve`` of (N, 2) rows that are drawn several times: weights (B, N) → (B,), NaN for one class alone.

    The area is the share of pairs put in order, so all it takes is how many negatives lie below each positive; where
    they lie is found once for all draws.
    """
    target, probability = _pair(target, probability)
    positive, score = target.argmax(axis=1) == 1, probability[:, 1]
    up, down = (rows[np.argsort(score[rows], kind="stable")] for rows in map(np.flatnonzero, (positive, ~positive)))
    below, level = (np.searchsorted(score[down], score[up], side) for side in ("left", "right"))
    tied = not np.array_equal(below, level)

    def area(weight: np.ndarray) -> np.ndarray:
        areas = np.full(len(weight), np.nan)
        negatives = np.zeros(len(down) + 1)
        for i, drawn in enumerate(weight):
            np.cumsum(drawn.take(down), dtype=np.float64, out=negatives[1:])
            ups = drawn.take(up).astype(np.float64)
            ordered = ups @ negatives.take(below)
            if tied:
                ordered = (ordered + ups @ negatives.take(level)) / 2
            if pairs := ups.sum() * negatives[-1]:
                areas[i] = ordered / pairs
        return areas

    return area


def _differences(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    target, probability = _pair(target, probability)
    differences: np.ndarray = np.abs(target - probability)
    return differences


def _pair(target: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (N, K): float32 sums would move the fourth digit of a score over 100,000 rows."""
    target = np.asarray(target, np.float64)
    probability = np.asarray(probability, np.float64)
    if target.shape != probability.shape or target.ndim != 2 or len(target) == 0:
        raise ValueError(
            f"targets are {target.shape} and predictions {probability.shape}; expected both (rows, classes), not empty"
        )
    for what, values in (("targets", target), ("predictions", probability)):
        bad = np.isnan(values).any(axis=1)
        if bad.any():
            raise ValueError(f"row {int(np.flatnonzero(bad)[0])} of the {what} holds NaN")
    return target, probability


KL = Metric("kl", Direction.MIN, whole=kl_divergence, terms=kl_terms)
L1_SUM = Metric("l1_sum", Direction.MIN, whole=absolute_sum)
L1_20K = Metric("l1_20k", Direction.MIN, whole=absolute_sum_20k, terms=absolute_terms_20k, also=(L1_SUM,))
MAP3 = Metric("map3", Direction.MAX, terms=precision_3)
AUC = Metric("auc", Direction.MAX, whole=area_under_curve, weighted=weighted_area)
ACCURACY = Metric("accuracy", Direction.MAX, terms=hits)
