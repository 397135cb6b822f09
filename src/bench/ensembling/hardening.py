"""Hardening: makes probabilities one-hot, which improves a sum of absolute differences (the heartbeat metric).

With one-hot targets that metric improves if a class of a probability above one half gets all of the row. Metrics that
punish certainty (Kullback-Leibler) get much worse. A hardening has ``fit(p_nk, target_nk, metric)``, which returns a
function (N, K) → (N, K) and the fitted parameters; ``fitted`` says whether ``fit`` uses the targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from bench.ensembling.ways import normalised
from bench.spec import Metric, UserError

Harden = Callable[[np.ndarray], np.ndarray]
GRID = np.round(np.arange(0.3, 1.001, 0.01), 2)
"""Thresholds that are tried; at 1 nothing is hardened."""


class Hardening(ABC):
    """See this module's docstring."""

    fitted: bool

    @abstractmethod
    def fit(self, p_nk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> tuple[Harden, dict[str, float]]: ...


def threshold(p_nk: np.ndarray, above: float | Sequence[float], order: Sequence[int] | None = None) -> np.ndarray:
    """Rows with a class above ``above`` become one-hot; of several such classes the first in ``order`` wins.

    ``above`` is one number for all classes, or one a class.

    The default order is 1, 2, …, 0, as in the heartbeat write-up: 1, 2, 3, 0, with above = 0.49. Raises UserError if
    ``order`` does not name each class once, or ``above`` has another number of entries than there are classes.
    """
    classes = p_nk.shape[1]
    order = [*range(1, classes), 0] if order is None else list(order)
    if sorted(order) != list(range(classes)):
        raise UserError(f"harden.order={order} must name each of the {classes} classes once, as 0 to {classes - 1}")
    limits = np.asarray(above, np.float64)
    if limits.ndim and len(limits) != classes:
        raise UserError(
            f"harden.above={list(limits.tolist())} must be one number, or one for each of {classes} classes"
        )
    over = (p_nk > limits)[:, order]
    hard, picked = p_nk.copy(), np.asarray(order)[over.argmax(1)]
    hard[over.any(1)] = np.eye(classes)[picked[over.any(1)]]
    return hard


def margin(p_nk: np.ndarray, above: float, lead: float) -> np.ndarray:
    """Rows whose largest probability is above ``above``, or leads the second by ``lead``, become one-hot.

    In all other rows only the two largest probabilities stay, normalised. The first class wins a tie.
    """
    rows, order = np.arange(len(p_nk)), np.argsort(-p_nk, axis=1, kind="stable")
    first, second = p_nk[rows, order[:, 0]], p_nk[rows, order[:, 1]]
    two = np.zeros_like(p_nk)
    two[rows, order[:, 0]], two[rows, order[:, 1]] = first, second
    certain = (first > above) | (first - second >= lead)
    return np.where(certain[:, None], np.eye(p_nk.shape[1])[order[:, 0]], normalised(two))


class Threshold(Hardening):
    """``threshold`` with a given ``above``; null finds the one of 0.30, 0.31, … 1 that scores best by the metric.

    A list is one threshold a class, in the classes' order. Source: fifth write-up, which has four of 0.49 and the order
    1, 2, 3, 0.
    """

    def __init__(self, above: float | list[float] | None = 0.49, order: list[int] | None = None) -> None:
        limits = above if isinstance(above, list) else [] if above is None else [above]
        if not all(0 < limit <= 1 for limit in limits):
            shown = above if isinstance(above, list) else f"{above:g}"
            raise UserError(f"harden.above={shown} must be above 0 and 1 or less; null finds it")
        self.above, self.order, self.fitted = above, order, above is None

    def fit(self, p_nk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> tuple[Harden, dict[str, float]]:
        if isinstance(self.above, list):
            limits = self.above
            fitted = {f"above_{k}": limit for k, limit in enumerate(limits)}
            return lambda p_nk: threshold(p_nk, limits, self.order), fitted
        above = self.above
        if above is None:
            above, best = 1.0, metric.score(target_nk, p_nk)
            for tried in GRID[::-1]:  # from the highest: of equal scores the one that hardens least wins
                score = metric.score(target_nk, threshold(p_nk, tried, self.order))
                if metric.better(score, best):
                    above, best = float(tried), score
        return lambda p_nk: threshold(p_nk, above, self.order), {"above": above}


class Margin(Hardening):
    """``margin`` with 0.5 and 0.04: published for the heartbeat competition."""

    fitted = False

    def __init__(self, above: float = 0.5, lead: float = 0.04) -> None:
        if not 0 < above <= 1 or not 0 <= lead <= 1:
            raise UserError(f"harden.above={above:g} must be in (0, 1] and harden.lead={lead:g} in [0, 1]")
        self.above, self.lead = above, lead

    def fit(self, p_nk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> tuple[Harden, dict[str, float]]:
        return lambda p_nk: margin(p_nk, self.above, self.lead), {}
