"""QUANT's numbers of one signal: quantiles over intervals that halve, of the signal and three things made of it."""

from __future__ import annotations

import numpy as np

from bench.signal.multirocket import padded_to

DEPTH, DIVISOR = 6, 4
"""The paper's: intervals halve five times; a quantile for every four samples."""
MOST = 50_000
"""Numbers of an example, above which depth and divisor are chosen so that there are fewer."""
SHORTEST = 4


class Quant:
    """(C, T) float32 → (``size``,) float32; nothing is drawn, nothing is fitted.

    Of each channel, its smoothed difference, its second difference and the size of its Fourier transform: halves,
    quarters … of the length, and the same shifted by half of one; of each interval 1 + (samples − 1) // divisor evenly
    spaced quantiles, off every second of which the interval's mean is taken. Signals of other lengths have intervals in
    proportion, with as many quantiles.

    Source: Dempster, Schmidt and Webb, "QUANT: a minimalist interval method for time series classification", 2024
    (arXiv 2308.00928). Changed: long signals and many channels have fewer intervals or quantiles (``MOST``), and the
    Fourier transform is the unitary one, so that lengths compare.
    """

    def __init__(self, channels: int, length: int, depth: int | None, divisor: int | None) -> None:
        self.length = max(length, SHORTEST)
        self.depth, self.divisor = self._fitting(channels, depth, divisor)
        self._parts = [
            (n, intervals(n, self.depth), counts(intervals(n, self.depth), self.divisor)) for n in lengths(self.length)
        ]
        self.size = channels * sum(int(count_n.sum()) for _, _, count_n in self._parts)

    def _fitting(self, channels: int, depth: int | None, divisor: int | None) -> tuple[int, int]:
        depths = range(DEPTH, 0, -1) if depth is None else [depth]
        divisors = [DIVISOR * 2**i for i in range(16)] if divisor is None else [divisor]
        for tried in depths:
            for each in divisors:
                of_channel = sum(int(counts(intervals(n, tried), each).sum()) for n in lengths(self.length))
                if channels * of_channel <= MOST:
                    return tried, each
        return depths[-1], divisors[-1]

    def __call__(self, x_ct: np.ndarray) -> np.ndarray:
        from bench.signal.compiled import quantiles_of

        x_ct = padded_to(x_ct, SHORTEST).astype(np.float64)
        numbers = np.empty(self.size)
        at = 0
        for made_ct, (reference, interval_n2, count_n) in zip(representations(x_ct), self._parts, strict=True):
            samples = made_ct.shape[1]
            start_n = np.minimum(interval_n2[:, 0] * samples // reference, samples - 1)
            stop_n = np.maximum(interval_n2[:, 1] * samples // reference, start_n + 1)
            own_n2, size = np.stack([start_n, stop_n], 1), int(count_n.sum())
            for z_t in np.ascontiguousarray(made_ct):
                quantiles_of(z_t, own_n2, count_n, numbers[at : at + size])
                at += size
        return numbers.astype(np.float32)


def lengths(samples: int) -> tuple[int, int, int, int]:
    """Of what ``representations`` makes of so many samples."""
    return samples, samples - 1, samples - 2, samples // 2 + 1


def representations(x_ct: np.ndarray) -> tuple[np.ndarray, ...]:
    """The signal, its difference as a mean of five, its second difference, its Fourier transform's absolute value."""
    edged = np.pad(np.diff(x_ct), ((0, 0), (2, 2)), "edge")
    smooth = np.lib.stride_tricks.sliding_window_view(edged, 5, 1).mean(-1)
    return x_ct, smooth, np.diff(x_ct, 2), np.abs(np.fft.rfft(x_ct, norm="ortho"))


def intervals(samples: int, depth: int) -> np.ndarray:
    """(N, 2) int64 begin and end: the whole, then 2, 4 … parts, each set also shifted by half of a part."""
    found = []
    for level in range(min(depth, int(np.log2(samples)) + 1)):
        ends = np.linspace(0, samples, 2**level + 1).astype(np.int64)
        parts = np.stack([ends[:-1], ends[1:]], 1)
        found.append(parts)
        if level and np.sort(np.diff(parts)[:, 0])[(len(parts) - 1) // 2] > 1:
            found.append(parts[:-1] + int(np.ceil(samples / 2**level / 2)))
    return np.concatenate(found)


def counts(interval_n2: np.ndarray, divisor: int) -> np.ndarray:
    """(N,) int64 quantiles of each interval."""
    values: np.ndarray = 1 + (np.diff(interval_n2)[:, 0] - 1) // divisor
    return values
