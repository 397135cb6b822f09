"""Stacking: a small model on the members' concatenated predictions, (M, N, K) → (N, M·K).

It is fitted on out-of-fold rows, and its score on those rows is optimistic: score it on folds that it was not fitted
on. Only one is fitted at a time, since torch's seed and Python's warning filters belong to the whole process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.ensembling.ways import Blend, Way, normalised
from bench.metrics import SMALLEST
from bench.spec import Metric, UserError

if TYPE_CHECKING:
    from torch import nn


def side_by_side(p_mnk: np.ndarray) -> np.ndarray:
    """(M, N, K) → (N, M·K), member by member."""
    return p_mnk.transpose(1, 0, 2).reshape(p_mnk.shape[1], -1)


def summed(p_mnk: np.ndarray) -> np.ndarray:
    """(M, N, K) → (N, K), to the same bits in any order of the members."""
    values: np.ndarray = np.sort(p_mnk, axis=0).sum(0)
    return values


class Network(Way):
    """Linear → 64, batch norm, leaky ReLU, → 128, batch norm, leaky ReLU, → K, softmax, on the probabilities.

    It ``reads`` the members side by side, or their sum. Source: section 3.3 of the fifth write-up, which names both and
    tried the first; it does not say how the network is trained. Here Adam minimises cross
    entropy with the (soft) targets. One CPU thread is used, so that the same members always give the same bits.
    """

    fitted, threads = True, False

    def __init__(
        self,
        hidden: list[int],
        epochs: int = 20,
        batch_size: int = 256,
        lr: float = 1e-3,
        seed: int = 0,
        reads: Literal["side_by_side", "sum"] = "side_by_side",
    ) -> None:
        for key, value in (("epochs", epochs), ("batch_size", batch_size - 1), *(("hidden", h) for h in hidden)):
            if value < 1:
                raise UserError(f"blend.{key} must be {2 if key == 'batch_size' else 1} or more")
        if not lr > 0:
            raise UserError(f"blend.lr={lr:g} must be above 0")
        self.hidden, self.epochs, self.batch_size, self.lr, self.seed = hidden, epochs, batch_size, lr, seed
        self.inputs = {"side_by_side": side_by_side, "sum": summed}[reads]

    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                net = self._trained(p_mnk, target_nk)
        finally:
            torch.set_num_threads(threads)

        def apply(p_mnk: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                logits = net(torch.from_numpy(self.inputs(p_mnk).astype(np.float32)))
            return np.asarray(logits.double().softmax(-1).numpy())

        return Blend(apply)

    def _trained(self, p_mnk: np.ndarray, target_nk: np.ndarray) -> nn.Module:
        import torch
        from torch import nn

        from bench.training.batch_statistics import along, measuring

        x, y = torch.from_numpy(self.inputs(p_mnk).astype(np.float32)), torch.from_numpy(target_nk.astype(np.float32))
        layers: list[nn.Module] = []
        width = x.shape[1]
        for wide in self.hidden:
            layers += [nn.Linear(width, wide), nn.BatchNorm1d(wide), nn.LeakyReLU()]
            width = wide
        net = nn.Sequential(*layers, nn.Linear(width, y.shape[1]))
        optimizer = torch.optim.Adam(net.parameters(), self.lr, fused=True)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(x)).split(self.batch_size):
                if len(rows) > 1:  # batch norm needs two
                    loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
        if len(x) > 1:
            with measuring(net, along(net)):  # running averages of a few steps still depend on the start
                net(x)
        return net.eval()


class Ridge(Way):
    """Ridge regression of the targets on the probabilities, clipped at 0 and normalised."""

    fitted, threads = True, False

    def __init__(self, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise UserError(f"blend.alpha={alpha:g} must be above 0")
        self.alpha = alpha

    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
        from sklearn.linear_model import Ridge as Regression

        model = Regression(alpha=self.alpha, solver="cholesky").fit(side_by_side(p_mnk), target_nk)
        return Blend(lambda p_mnk: normalised(np.maximum(model.predict(side_by_side(p_mnk)), 0)))


class Logistic(Way):
    """Multinomial logistic regression on log probabilities. A soft target becomes one weighted row per class.

    ``C`` is scikit-learn's: a larger one means less regularisation. A class without training rows gets probability 0.
    """

    fitted, threads = True, False

    def __init__(self, C: float = 0.01, max_iter: int = 200) -> None:
        if not C > 0:
            raise UserError(f"blend.C={C:g} must be above 0")
        if max_iter < 1:
            raise UserError(f"blend.max_iter={max_iter} must be 1 or more")
        self.C, self.max_iter = C, max_iter

    def fit(self, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Metric) -> Blend:
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        classes = target_nk.shape[1]
        x = self._inputs(p_mnk)
        middle, spread = x.mean(0), x.std(0)
        spread[spread == 0] = 1
        row, label = np.nonzero(target_nk)
        if len(np.unique(label)) < 2:
            raise UserError("blend=stack_logistic: the rows to learn from are all of one class; choose another blend")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early it is a milder model, not a wrong one
            model = LogisticRegression(C=self.C, max_iter=self.max_iter)
            model.fit(((x - middle) / spread)[row], label, sample_weight=target_nk[row, label])

        def apply(p_mnk: np.ndarray) -> np.ndarray:
            p_nk = np.zeros((p_mnk.shape[1], classes))
            p_nk[:, model.classes_] = model.predict_proba((self._inputs(p_mnk) - middle) / spread)
            return normalised(p_nk)

        return Blend(apply)

    @staticmethod
    def _inputs(p_mnk: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(np.maximum(side_by_side(p_mnk), SMALLEST)))
