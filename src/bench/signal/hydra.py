"""Hydra's numbers of one signal: groups of random kernels that compete at every sample, and how often each wins.

Shape suffixes: k kernels, c channels, t samples.
"""

from __future__ import annotations

import numpy as np

from bench.signal.multirocket import padded_to

TAPS = 9
MOST_CHANNELS = 8


class Hydra:
    """(C, T) float32 → (``size``,) float32, deterministic given ``seed``, and without anything that is fitted.

    On the signal by half of the groups and on its difference by the others, at dilations 1, 2, 4 … of what fits
    ``length`` samples. At every sample the kernel of a group with the largest output gains that output, and the one
    with the smallest gains 1; the square roots of these sums remain. Of several channels a group reads the sum of 2 to
    8 that are drawn. Signals of other lengths are taken whole, and their sums brought to ``length`` samples.

    Source: Dempster, Schmidt and Webb, "Hydra: competing convolutional kernels for fast and accurate time series
    classification", 2023 (arXiv 2203.13652).
    """

    def __init__(self, channels: int, length: int, groups: int, kernels: int, seed: int) -> None:
        """``groups`` of so many ``kernels`` at every dilation; the paper has 64 of 8."""
        rng = np.random.default_rng((seed, channels))
        self.length, self.kernels, self._half = length, kernels, max(1, groups // 2)
        fit = max(1.0, (length - 1) / (TAPS - 1))
        self.dilations = [2**i for i in range(int(np.log2(fit)) + 1)]
        shape = (len(self.dilations), 2, self._half * kernels, TAPS)
        weights = rng.standard_normal(shape)
        weights -= weights.mean(-1, keepdims=True)
        weights /= np.abs(weights).sum(-1, keepdims=True)
        self.weights = weights.astype(np.float32)
        reads = int(np.clip(channels // 2, 2, MOST_CHANNELS))
        drawn = rng.integers(channels, size=(len(self.dilations), 2, self._half, reads))
        self.read = drawn if channels > 1 else np.zeros((len(self.dilations), 2, 1, 1), np.int64)
        self.size = len(self.dilations) * 2 * self._half * kernels * 2

    def __call__(self, x_ct: np.ndarray) -> np.ndarray:
        from bench.signal.compiled import gained, outputs

        x_ct = padded_to(x_ct, 2)
        made = (x_ct, np.diff(x_ct))
        sums = np.zeros((len(self.dilations), 2, 2, self._half * self.kernels))
        for i, dilation in enumerate(self.dilations):
            for of, y_ct in enumerate(made):
                y_kt = outputs(y_ct, self.read[i, of], self.weights[i, of], dilation)
                gained(y_kt, self.kernels, sums[i, of])
        numbers: np.ndarray = np.sqrt(np.maximum(sums, 0) * (self.length / x_ct.shape[1])).astype(np.float32).ravel()
        return numbers
