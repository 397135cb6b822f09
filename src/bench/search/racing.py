"""Which candidates of a race can no longer win: a repeated-measures test over the folds that all of them have seen."""

from __future__ import annotations

import numpy as np

LEVEL = 0.05
"""The chance, in each comparison with the best, of dropping a candidate that is as good."""


def losers(scores: np.ndarray, ratio: float) -> np.ndarray:
    """(C,) True for the candidates that are worse than the best; ``scores`` (C, k): of C candidates on k folds, higher
    is better.

    A fold is a block: what makes it hard for all candidates is no difference between them. Each candidate's mean is
    held against the best one's by a one-sided t-test with the residual variance of candidates × folds, (C − 1)(k − 1)
    degrees of freedom, and Nadeau and Bengio's correction for folds that share training rows (``ratio``: n_test /
    n_train), as in ``comparison.significance``. The test is repeated among those left until it drops none: a candidate
    that is far off would hide, by its own variance, what lies closer.

    Source: Kuhn 2014, Futility Analysis in the Cross-Validation of Machine Learning Models, arXiv:1405.6974 (R's
    ``finetune::tune_race_anova``; there a mixed model, which for complete blocks gives these differences).
    Raises ValueError for less than two folds.
    """
    from scipy import special

    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"a race needs candidates × 2 folds or more, not {scores.shape}")
    left = np.ones(len(scores), bool)
    while left.sum() > 1:
        y = scores[left]
        c, k = y.shape
        means = y.mean(axis=1)
        residuals = y - means[:, None] - y.mean(axis=0) + y.mean()
        freedom = (c - 1) * (k - 1)
        error = np.sqrt(2 * np.square(residuals).sum() / freedom * (1 / k + ratio))
        behind = means.max() - means
        tiny = 1e-12 * max(1.0, np.abs(y).max())  # equal but for rounding
        worse = (behind > tiny) & (behind > special.stdtrit(freedom, 1 - LEVEL) * error)
        if not worse.any():
            break
        left[np.flatnonzero(left)[worse]] = False
    return ~left
