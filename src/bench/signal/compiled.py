"""Loops over a signal's samples that numpy would take many passes for, compiled by numba (which librosa needs, too).

The first call on a machine compiles for some seconds; what is compiled is kept beside this file, or in numba's cache.
Nothing here starts a thread: many processes work side by side. Shape suffixes: k kernels, j taps, g inputs, c channels,
t samples, n thresholds or intervals.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def outputs(x_ct: np.ndarray, read_gn: np.ndarray, weight_kj: np.ndarray, dilation: int) -> np.ndarray:
    """(K, T) float32: kernels on sums of channels, with zeros around the signal so that T stays.

    ``read_gn``: the channels of each sum, −1 for none. Of G sums the first K / G kernels read the first, and so on.
    """
    samples = x_ct.shape[1]
    kernels, taps = weight_kj.shape
    edge = taps // 2 * dilation
    around_t = np.zeros(samples + 2 * edge, np.float32)
    y_kt = np.zeros((kernels, samples), np.float32)
    each = kernels // len(read_gn)
    for g in range(len(read_gn)):
        around_t[:] = 0
        for c in read_gn[g]:
            if c >= 0:
                for t in range(samples):
                    around_t[edge + t] += x_ct[c, t]
        for k in range(g * each, (g + 1) * each):
            for j in range(taps):
                weight, first = weight_kj[k, j], j * dilation
                for t in range(samples):
                    y_kt[k, t] += weight * around_t[first + t]
    return y_kt


@njit(cache=True)
def gained(y_kt: np.ndarray, group: int, gained_2k: np.ndarray) -> None:
    """Adds up, for each kernel, its outputs where it has the largest of its group, and where it has the smallest, 1.

    The first of equals wins.
    """
    kernels, samples = y_kt.shape
    highest_t, lowest_t = np.empty(samples, np.int32), np.empty(samples, np.int32)
    for first in range(0, kernels, group):
        high_t, low_t = y_kt[first].copy(), y_kt[first].copy()
        highest_t[:] = first
        lowest_t[:] = first
        for k in range(first + 1, first + group):
            for t in range(samples):  # without branches, so that it is computed for many samples at once
                y = y_kt[k, t]
                higher, lower = y > high_t[t], y < low_t[t]
                high_t[t] = y if higher else high_t[t]
                highest_t[t] = k if higher else highest_t[t]
                low_t[t] = y if lower else low_t[t]
                lowest_t[t] = k if lower else lowest_t[t]
        for t in range(samples):
            gained_2k[0, highest_t[t]] += high_t[t]
            gained_2k[1, lowest_t[t]] += 1


@njit(cache=True)
def pooled_above(y_kt: np.ndarray, threshold_kn: np.ndarray, edge_k: np.ndarray, pooled_kn4: np.ndarray) -> None:
    """Writes of each output and threshold b four numbers of the samples above b (MultiRocket's pools).

    Their share; the mean of y − b over them, 0 without any; the mean of their places, −1 without any, and the longest
    run of them, both divided by the length. So many samples of ``edge`` are left out at either end.
    """
    for k in range(y_kt.shape[0]):
        y_t = y_kt[k, edge_k[k] : y_kt.shape[1] - edge_k[k]]
        samples = len(y_t)
        for n in range(threshold_kn.shape[1]):
            b = threshold_kn[k, n]
            count, total, places, run, longest = 0, 0.0, 0.0, 0, 0
            for t in range(samples):
                if y_t[t] > b:
                    count += 1
                    total += y_t[t] - b
                    places += t
                    run += 1
                    longest = max(longest, run)
                else:
                    run = 0
            pooled_kn4[k, n, 0] = count / samples
            pooled_kn4[k, n, 1] = total / count if count else 0.0
            pooled_kn4[k, n, 2] = (places / count if count else -1.0) / samples
            pooled_kn4[k, n, 3] = longest / samples


@njit(cache=True)
def quantiles_of(z_t: np.ndarray, interval_n2: np.ndarray, count_n: np.ndarray, into: np.ndarray) -> None:
    """Writes each interval's ``count`` evenly spaced quantiles, from its minimum to its maximum, one after the other.

    One quantile is the median. Of every second one the interval's mean is taken off (QUANT).
    """
    at = 0
    for n in range(len(count_n)):
        part = z_t[interval_n2[n, 0] : interval_n2[n, 1]]
        ordered, mean, count = np.sort(part), part.mean(), count_n[n]
        for i in range(count):
            place = (len(ordered) - 1) * (i / (count - 1) if count > 1 else 0.5)
            low = int(place)
            high = min(low + 1, len(ordered) - 1)
            value = ordered[low] + (place - low) * (ordered[high] - ordered[low])
            into[at + i] = value - mean if i % 2 else value
        at += count
