"""Ridge regression onto distributions over classes, in closed form, and what it predicts of rows that it has not seen.

Shape suffixes: n rows, f features, k classes, r rank, b the rows of one block. All arithmetic is float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = tuple(10 ** (half / 2) for half in range(-14, 5))
"""What is tried where no penalty is given, in units of the number of features: 1e-7 … 100."""
AT_ONCE = 4096
"""Features, or rows, that are turned into float64 at a time."""
SMALLEST = 1e-10
"""Share of the largest eigenvalue below which a direction is no direction."""


@dataclass(frozen=True)
class Solution:
    """logits = temperature · (weight_kf · (x − mean_f) / scale_f + bias_k)."""

    mean_f: Tensor
    scale_f: Tensor
    weight_kf: Tensor
    bias_k: Tensor
    penalty: float
    temperature: float


def solve(
    x_nf: Tensor, target_nk: Tensor, weight_n: Tensor, block_n: Tensor, penalties: Sequence[float] = PENALTIES
) -> Solution:
    """The ridge regression of all rows, its penalty and temperature chosen by predictions of blocks left out.

    Rows of one block (a patient, copies of one signal) are left out together; a row of its own block is left out
    alone. Rows whose block is below 0 (made up, pseudo-labelled) take no part in choosing. Of the ``penalties``, in
    units of the number of features, the one with the smallest squared error is taken, and the temperature by which
    the softmax of its predictions fits best.
    """
    x_nf, weight_n = x_nf.float(), weight_n.double()
    judged = block_n >= 0
    some = judged if bool(judged.any()) else torch.ones_like(judged)
    block = block_n[some]
    if len(block.unique()) < 2:  # nothing would be left to learn from
        block = torch.arange(len(block), device=block.device)
    ridge = Ridge(x_nf[some], target_nk[some], weight_n[some])
    tried = [ridge.left_out(penalty * x_nf.shape[1], block) for penalty in penalties]
    weight, target = weight_n[some], target_nk[some].double()
    errors = [float((weight * (p - target).square().sum(1)).sum()) for p in tried]
    best = len(errors) - 1 - min(range(len(errors)), key=lambda i: errors[::-1][i])  # of equals the largest
    temperature = fitted_temperature(tried[best], target, weight)
    whole = ridge if bool(some.all()) else Ridge(x_nf, target_nk, weight_n)
    weight_kf = whole.weights(penalties[best] * x_nf.shape[1])
    return Solution(whole.mean_f, whole.scale_f, weight_kf, whole.level_k, penalties[best], temperature)


class Ridge:
    """The eigenvectors of standardised rows, from which every penalty's solution is a product away."""

    def __init__(self, x_nf: Tensor, target_nk: Tensor, weight_n: Tensor) -> None:
        """x (N, F) float32, target (N, K), weight (N,) above 0; ValueError for fewer than two rows."""
        n, f = x_nf.shape
        if n < 2:
            raise ValueError("a ridge regression needs two rows or more")
        share_n = weight_n / weight_n.sum()
        self.mean_f, self.scale_f = standardising(x_nf, share_n)
        self._x_nf = (x_nf - self.mean_f.float()) / self.scale_f.float()
        self._root_n = (share_n * n).sqrt()  # a weight is relative: of all rows its mean is 1
        self.level_k = share_n @ target_nk.double()
        self._y_nk = (target_nk.double() - self.level_k) * self._root_n[:, None]
        if n <= f:
            values, vectors = torch.linalg.eigh(self._rows_by_rows())
            kept = values > SMALLEST * values[-1].clamp_min(1e-300)
            self._values_r, self._u_nr = values[kept], vectors[:, kept]
        else:
            values, vectors = torch.linalg.eigh(self._features_by_features())
            kept = values > SMALLEST * values[-1].clamp_min(1e-300)
            self._values_r = values[kept]
            self._u_nr = self._times(vectors[:, kept]) / self._values_r.sqrt()
        self._uy_rk = self._u_nr.T @ self._y_nk

    def weights(self, penalty: float) -> Tensor:
        """(K, F) of standardised features, of the regression without a block left out."""
        dual_nk = self._u_nr @ (self._uy_rk / (self._values_r + penalty)[:, None])
        rooted_nk = dual_nk * self._root_n[:, None]
        parts = [part.double().T @ rooted_nk for part in self._x_nf.split(AT_ONCE, 1)]
        return torch.cat(parts).T.contiguous()

    def left_out(self, penalty: float, block_n: Tensor) -> Tensor:
        """(N, K) what each row is predicted by the regression of all rows but its block's; blocks from 0 on.

        Exact, by the hat matrix H: of rows b left out the error is (I − H_bb)⁻¹ times the error with them. What brings
        features to one scale was learned with them.
        """
        shrunk_r = self._values_r / (self._values_r + penalty)
        error_nk = self._y_nk - self._u_nr @ (shrunk_r[:, None] * self._uy_rk)
        v_n = self._root_n / self._root_n.square().sum().sqrt()  # the mean is fitted, too
        for rows_gb in _by_size(block_n):
            u_gbr, v_gb = self._u_nr[rows_gb], v_n[rows_gb]
            hat_gbb = (u_gbr * shrunk_r) @ u_gbr.transpose(1, 2) + v_gb[:, :, None] * v_gb[:, None, :]
            rest_gbb = torch.eye(rows_gb.shape[1], dtype=hat_gbb.dtype, device=hat_gbb.device) - hat_gbb
            error_nk[rows_gb.flatten()] = torch.linalg.solve(rest_gbb, error_nk[rows_gb]).flatten(0, 1)
        predicted_nk: Tensor = (self._y_nk - error_nk) / self._root_n[:, None] + self.level_k
        return predicted_nk

    def _rows_by_rows(self) -> Tensor:
        gram_nn = self._root_n.new_zeros(len(self._x_nf), len(self._x_nf))
        for part in self._x_nf.split(AT_ONCE, 1):
            rooted_nf = part.double() * self._root_n[:, None]
            gram_nn.addmm_(rooted_nf, rooted_nf.T)
        return gram_nn

    def _features_by_features(self) -> Tensor:
        f = self._x_nf.shape[1]
        gram_ff = self._root_n.new_zeros(f, f)
        for part, root in zip(self._x_nf.split(AT_ONCE), self._root_n.split(AT_ONCE), strict=True):
            rooted_nf = part.double() * root[:, None]
            gram_ff.addmm_(rooted_nf.T, rooted_nf)
        return gram_ff

    def _times(self, vectors_fr: Tensor) -> Tensor:
        parts = zip(self._x_nf.split(AT_ONCE), self._root_n.split(AT_ONCE), strict=True)
        return torch.cat([(part.double() * root[:, None]) @ vectors_fr for part, root in parts])


def standardising(x_nf: Tensor, share_n: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale (F,) float64 of each feature, rows counting by their share.

    The scale is the standard deviation and, where most rows have 0, up to 1 more, so that a count that a few rows have
    does not outweigh all else (Dempster et al. 2023, Hydra's sparse scaling). What is constant keeps its unit.
    """
    means, scales = [], []
    for part in x_nf.split(AT_ONCE, 1):
        wide_nf = part.double()
        mean = share_n @ wide_nf
        deviation = (share_n @ (wide_nf - mean).square()).sqrt()
        zeros = share_n @ (wide_nf == 0).double()
        constant = deviation <= 1e-6 * mean.abs().clamp_min(1e-12)
        means.append(mean)
        scales.append(torch.where(constant, torch.ones_like(mean), deviation + zeros**4))
    return torch.cat(means), torch.cat(scales)


def fitted_temperature(answer_nk: Tensor, target_nk: Tensor, weight_n: Tensor) -> float:
    """The factor a > 0 for which softmax(a · answer) has the smallest cross entropy with the targets.

    One in N + 1 of each target is spread over all classes: where every row is right, a would grow without end.
    """
    n, k = target_nk.shape
    target_nk = (target_nk * n + 1 / k) / (n + 1)
    low, high, middle = 1e-3, 1e4, 1.0
    for _ in range(60):  # the slope by a has one sign change
        middle = math.sqrt(low * high)
        off_nk = (middle * answer_nk).softmax(1) - target_nk
        too_large = float((weight_n * (off_nk * answer_nk).sum(1)).sum()) > 0
        low, high = (low, middle) if too_large else (middle, high)
    return middle


def _by_size(block_n: Tensor) -> list[Tensor]:
    """Rows (G, B) of blocks of one size, for each size that there is; large blocks one at a time."""
    order = block_n.argsort(stable=True)
    sizes = block_n[order].unique_consecutive(return_counts=True)[1]
    blocks = order.split(sizes.tolist())
    grouped: dict[int, list[Tensor]] = {}
    for rows in blocks:
        grouped.setdefault(len(rows), []).append(rows)
    stacked = [(size, torch.stack(rows)) for size, rows in grouped.items()]
    return [part for size, rows in stacked for part in rows.split(max(1, AT_ONCE // size**2))]
