"""Ways to blend the predictions of several models: means, and weights fitted on out-of-fold predictions.

Shapes: M members, N rows, K classes; p_mnk are probabilities whose rows sum to 1. A way has ``fit(p_mnk, target_nk,
metric)``, which returns a ``Blend``. ``fitted`` says whether ``fit`` uses the targets: its in-sample score is then
optimistic. ``threads`` says whether several may be fitted at once. The ways that train a model on the predictions are
in ``stacking.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.metrics import SMALLEST
from bench.spec import Metric, UserError


@dataclass(frozen=True)
class Blend:
    """A fitted blend: ``apply`` maps (M, N, K) to (N, K), rows summing to 1.

    ``weights`` are the members' weights, None for a blend without any; ``parameters`` are its other fitted values.
    """

    apply: Callable[[np.ndarray], np.ndarray]
    weights: tuple[float, ...] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


class Way(ABC):
    """See this module's docstring."""

    fitted: bool
    threads: bool

    @abstractmethod
    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend: ...


def normalised(p_nk: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; a row of zeros becomes uniform."""
    sums = p_nk.sum(-1, keepdims=True)
    return np.asarray(np.divide(p_nk, sums, out=np.full_like(p_nk, 1 / p_nk.shape[-1]), where=sums > 0))


def arithmetic(p_mnk: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The (weighted) mean of the probabilities; weights sum to 1."""
    return normalised(np.tensordot(_weights(p_mnk, weights), p_mnk, 1))


def geometric(p_mnk: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The (weighted) geometric mean, normalised: the mean of the log probabilities. A 0 counts as 1e-15."""
    log_nk = np.zeros(p_mnk.shape[1:])
    for weight, p_nk in zip(_weights(p_mnk, weights), p_mnk, strict=True):  # one member's logarithms at a time
        log_nk += weight * np.log(np.maximum(p_nk, SMALLEST))
    return _softmax(log_nk)


def rank_mean(p_mnk: np.ndarray) -> np.ndarray:
    """The mean over members of a row's rank among these rows, class by class, as a share: (rank − ½) / N.

    Every member counts the same, however confident it is. Equal probabilities get their mean rank. Of two classes the
    second is ranked and the first is the rest; the shares of more classes are normalised. The result orders rows and is
    not a probability: use it for rank metrics such as AUC.
    """
    from scipy.stats import rankdata

    def share(p_mn: np.ndarray) -> np.ndarray:
        return np.asarray((rankdata(p_mn, axis=-1) - 0.5).mean(0) / p_mn.shape[1])

    if p_mnk.shape[2] == 2:
        second = share(p_mnk[:, :, 1])
        return np.stack([1 - second, second], axis=1)
    return normalised(np.stack([share(p_mnk[:, :, k]) for k in range(p_mnk.shape[2])], axis=1))


class Mean(Way):
    """The arithmetic mean of the members' probabilities."""

    fitted, threads = False, True

    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
        return Blend(arithmetic, _equal(p_mnk))


class Geometric(Way):
    """The geometric mean of the members' probabilities."""

    fitted, threads = False, True

    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
        return Blend(geometric, _equal(p_mnk))


class Rank(Way):
    """The mean of the members' ranks among the rows that are predicted together: a fold's, or the test rows."""

    fitted, threads = False, True

    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
        return Blend(rank_mean, _equal(p_mnk))


class Weights(Way):
    """A weighted arithmetic mean: weights of 0 or more that sum to 1, of the smallest cross entropy.

    Cross entropy is convex in the weights, so the optimizer finds the global optimum; the competition's metric need not
    be. (With one-hot targets a sum of absolute differences is linear in them, so its optimum is the best single
    member.) ``hill_climbing`` optimises the metric itself.
    """

    fitted, threads = True, True

    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
        weights = simplex_weights(p_mnk, target_nk)
        return Blend(lambda p_mnk: arithmetic(p_mnk, weights), tuple(map(float, weights)))


def simplex_weights(p_mnk: np.ndarray, target_nk: np.ndarray) -> np.ndarray:
    """(M,) weights of the weighted mean that minimise −Σ y log p̄, by sequential quadratic programming."""
    from scipy.optimize import minimize

    members = len(p_mnk)
    positive = target_nk > 0  # other predictions do not matter: of 41 classes one remains
    p_me, y_e = np.maximum(p_mnk[:, positive], SMALLEST), target_nk[positive] / len(target_nk)

    def entropy(w: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(w @ p_me, SMALLEST)
        return float(-y_e @ np.log(mixed)), -(p_me @ (y_e / mixed))

    optimum = minimize(
        entropy,
        np.full(members, 1 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(members)},
        options={"maxiter": 300, "ftol": 1e-10},
    )
    weights = np.clip(optimum.x, 0, None)
    return np.asarray(weights / weights.sum())


class Logits(Way):
    """softmax(Σ weight · log p + bias of the class): a weight a member and a bias a class, of smallest cross entropy.

    ``decay`` is a penalty on the distance from equal weights that sum to 1 and zero bias. Without it, members with
    nearly the same predictions would get large weights of opposite sign. Source: the 4th place at HMS.
    """

    fitted, threads = True, True

    def __init__(self, decay: float = 1e-3) -> None:
        if decay < 0:
            raise UserError(f"blend.decay={decay:g} must be 0 or more")
        self.decay = decay

    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
        from scipy.optimize import minimize

        members, rows, _ = p_mnk.shape
        log_mnk = _log(p_mnk)
        start = np.concatenate([np.full(members, 1 / members), np.zeros(p_mnk.shape[2])])
        flat = log_mnk.reshape(members, -1)
        mean_nk = target_nk / rows
        total_n = target_nk.sum(1, keepdims=True)
        pull = np.concatenate([flat @ mean_nk.ravel(), mean_nk.sum(0)])

        def entropy(x: np.ndarray) -> tuple[float, np.ndarray]:
            z_nk = (x[:members] @ flat).reshape(target_nk.shape) + x[members:]
            z_nk -= z_nk.max(1, keepdims=True)
            q_nk = np.exp(z_nk)
            sums = q_nk.sum(1, keepdims=True)
            value = float((total_n * np.log(sums)).sum() / rows - (z_nk * mean_nk).sum())
            q_nk *= total_n / (sums * rows)
            slope = np.concatenate([flat @ q_nk.ravel(), q_nk.sum(0)]) - pull
            away = x - start
            return value + self.decay * float(away @ away), slope + 2 * self.decay * away

        x = minimize(entropy, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-6}).x
        weights, bias = x[:members], x[members:]

        def apply(p_mnk: np.ndarray) -> np.ndarray:
            return _softmax(np.tensordot(weights, _log(p_mnk), 1) + bias)

        return Blend(apply, tuple(map(float, weights)), {"bias": [float(b) for b in bias]})


class HillClimbing(Way):
    """Adds members to a mean one at a time, with replacement, each time the one that improves the metric most.

    Begins with the best single member. Ends when no member improves the score, or after ``rounds``. The first member
    wins a tie. Source: Caruana et al. 2004, Ensemble Selection from Libraries of Models.
    """

    fitted, threads = True, True

    def __init__(self, rounds: int = 50) -> None:
        if rounds < 1:
            raise UserError(f"blend.rounds={rounds} must be 1 or more")
        self.rounds = rounds

    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
        count = np.zeros(len(p_mnk), int)
        total, best = np.zeros(p_mnk.shape[1:]), float("nan")
        mean_nk = np.empty_like(total)
        for taken in range(self.rounds):
            pick = None
            for m, p_nk in enumerate(p_mnk):
                np.add(total, p_nk, out=mean_nk)
                mean_nk /= taken + 1
                score = metric.score(target_nk, mean_nk)
                if metric.better(score, best) or (np.isnan(best) and np.isfinite(score)):
                    best, pick = score, m
            if pick is None:
                break
            count[pick] += 1
            total += p_mnk[pick]
        weights = count / count.sum() if count.any() else np.full(len(p_mnk), 1 / len(p_mnk))
        return Blend(lambda p_mnk: arithmetic(p_mnk, weights), tuple(map(float, weights)), {"rounds": int(count.sum())})


def _equal(p_mnk: np.ndarray) -> tuple[float, ...]:
    return (1 / len(p_mnk),) * len(p_mnk)


def _weights(p_mnk: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.full(len(p_mnk), 1 / len(p_mnk)) if weights is None else np.asarray(weights, np.float64)


def _log(p_mnk: np.ndarray) -> np.ndarray:
    log_mnk = np.maximum(p_mnk, SMALLEST)
    return np.asarray(np.log(log_mnk, out=log_mnk))


def _softmax(z_nk: np.ndarray) -> np.ndarray:
    e_nk = np.exp(z_nk - z_nk.max(-1, keepdims=True))
    return np.asarray(e_nk / e_nk.sum(-1, keepdims=True))
