"""MultiRocket's numbers of one signal: 84 fixed kernels at many dilations, four pools above each of many thresholds.

Shape suffixes: k kernels, j taps, c channels, t samples, n thresholds of a kernel.
"""

from __future__ import annotations

from itertools import combinations
from statistics import NormalDist

import numpy as np

TAPS = 9
TRIPLES = np.array(list(combinations(range(TAPS), 3)))
KERNELS = len(TRIPLES)
"""84: of nine taps three are 2, the others −1."""
DILATIONS = 32
"""The most dilations of a kernel."""
MOST_CHANNELS = 9
GOLDEN = (5**0.5 + 1) / 2


class MultiRocket:
    """(C, T) float32 → (``size``,) float32, deterministic given ``seed``, and without anything that was fitted.

    On the signal and on its difference, each of the 84 kernels is laid at dilations from 1 to what fits ``length``
    samples; above each of its thresholds remain the share of samples, the mean of what exceeds it, the mean of their
    places and their longest run. Of several channels a kernel at a dilation reads the sum of 1 to 9, drawn so that few
    are likely. Signals of other lengths are taken whole, with the same dilations; places and runs are shares of the
    length, so that lengths compare.

    Source: Tan, Dempster, Bergmeir and Webb, "MultiRocket: multiple pooling operators and transformations for fast and
    effective time series classification", 2022 (arXiv 2102.00457), kernels and dilations of MiniRocket (2012.08791).
    Changed: thresholds are not quantiles of some training examples' outputs, which would have to be fitted in every
    fold, but quantiles of a normal distribution times the root mean square of the example's own outputs at that
    dilation, all kernels taken together.
    """

    def __init__(self, channels: int, length: int, kernels: int, seed: int) -> None:
        """``kernels`` are thresholds of the signal, as many again of the difference; the paper has 6,216 of each."""
        per_kernel = max(1, kernels // KERNELS)
        self.dilations = dilations(max(length, TAPS), per_kernel)
        levels = np.arange(1, KERNELS * per_kernel + 1) * GOLDEN % 1
        normal = np.array([NormalDist().inv_cdf(level) for level in levels])
        counts = [KERNELS * count for _, count in self.dilations]
        self._levels = [part.reshape(KERNELS, -1) for part in np.split(normal, np.cumsum(counts)[:-1])]
        self.weights_kj = np.full((KERNELS, TAPS), -1, np.float32)
        np.put_along_axis(self.weights_kj, TRIPLES, 2, 1)
        self.read = _channels(channels, 2 * len(self.dilations), seed)
        self.size = 2 * 4 * KERNELS * per_kernel

    def __call__(self, x_ct: np.ndarray) -> np.ndarray:
        x_ct = padded_to(x_ct, TAPS + 1)
        return np.concatenate([*self._pooled(x_ct, 0), *self._pooled(np.diff(x_ct), len(self.dilations))])

    def _pooled(self, x_ct: np.ndarray, first: int) -> list[np.ndarray]:
        from bench.signal.compiled import outputs, pooled_above

        parts = []
        for i, (dilation, count) in enumerate(self.dilations):
            y_kt = outputs(x_ct, self.read[first + i], self.weights_kj, dilation)
            threshold_kn = (self._levels[i] * np.sqrt(np.square(y_kt).mean())).astype(np.float32)
            edge = TAPS // 2 * dilation if y_kt.shape[1] > (TAPS - 1) * dilation else 0
            edge_k = edge * ((np.arange(KERNELS) + i) % 2)  # every second kernel without what padding reaches
            pooled_kn4 = np.empty((KERNELS, count, 4), np.float32)
            pooled_above(y_kt, threshold_kn, edge_k, pooled_kn4)
            parts.append(pooled_kn4.ravel())
        return parts


def dilations(length: int, per_kernel: int) -> list[tuple[int, int]]:
    """(dilation, thresholds of each kernel at it), from 1 to (length − 1) / 8, evenly spaced in their logarithm."""
    n = min(per_kernel, DILATIONS)
    exponents = np.linspace(0, np.log2((length - 1) / (TAPS - 1)), n)
    values, counts = np.unique((2**exponents).astype(int), return_counts=True)
    counts = (counts * (per_kernel / n)).astype(int)
    for i in range(per_kernel - int(counts.sum())):
        counts[i % len(counts)] += 1
    return list(zip(values.tolist(), counts.tolist(), strict=True))


def padded_to(x_ct: np.ndarray, samples: int) -> np.ndarray:
    """The signal with zeros after its end where it has fewer ``samples``."""
    short = samples - x_ct.shape[1]
    return np.pad(x_ct, ((0, 0), (0, short))) if short > 0 else x_ct


def _channels(channels: int, n: int, seed: int) -> np.ndarray:
    """(n, 84, 1 to 9) the channels that each kernel reads, −1 where they are fewer; (n, 1, 1) where there is one."""
    if channels == 1:
        return np.zeros((n, 1, 1), np.int64)
    rng = np.random.default_rng((seed, channels, n))
    most = min(channels, MOST_CHANNELS)
    how_many = (2 ** rng.uniform(0, np.log2(most + 1), (n, KERNELS, 1))).astype(int)
    drawn = rng.random((n, KERNELS, channels)).argsort(2)[..., :most]
    return np.where(np.arange(most) < how_many, drawn, -1)
