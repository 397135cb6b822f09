"""Spectrograms as pictures: power at low frequencies, brightness, size.

Shape suffixes: c channels, t samples, f frames, k frequency bins, h rows, w columns, r blocks of a window, a windows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

FAINTEST = 1e-6
"""What is added to a power before its logarithm: the sixth HMS decimal, as in the 16th place's write-up."""

ROWS_AT_ONCE = 32
"""Of a banded matrix: a product with so many skips most of its zeros, and is still worth a call."""

Bands = list[tuple[slice, slice, np.ndarray]]

SILENT = 1e-10
"""Power below which decibels are cut off (librosa.power_to_db's ``amin``)."""


def log_brightness(power: np.ndarray, low: float = 0.01, high: float = 0.99) -> np.ndarray:
    """Powers of any shape → float32 in [0, 1] of the same: the logarithm between two of its own quantiles.

    NaN and negative values count as 0; log10(x + 1e-6) is clipped to its ``low`` and ``high`` quantile (numpy's
    linear ones), which become 0 and 1 (M. Kotyushev, Kaggle, HMS 16th place). The logarithm's base cancels out.
    Where both quantiles are equal, as in a spectrogram of NaN alone, all is 0. Raises ValueError for infinities.
    """
    x = np.fmax(np.asarray(power, np.float32), 0)
    x += np.float32(FAINTEST)
    if np.isinf(x.max()):
        raise ValueError(f"{np.count_nonzero(np.isinf(x))} infinite values in the spectrogram")
    edges = []  # powers keep their order under the logarithm, so that only four of the sorted ones need it
    for place in ((x.size - 1) * share for share in (low, high)):
        i = int(place)
        order = np.partition(x.ravel(), i)  # one place a time: several take numpy four times as long as both together
        a, b = np.log([order[i], order[i + 1 :].min(initial=np.inf) if place > i else order[i]], dtype=np.float64)
        edges.append(a + (b - a) * (place - i))
    bottom, top = edges
    if not top > bottom:
        return np.zeros_like(x)
    np.log(x, out=x)
    x -= np.float32(bottom)
    x *= np.float32(1 / (top - bottom))
    return np.clip(x, 0, 1, out=x)


def hann_power(x_ct: np.ndarray, n_fft: int, hop: int, n_bins: int) -> np.ndarray:
    """(C, T) float32 → (C, F, K) float32: |DFT|² of Hann windows of ``n_fft`` samples, bins 0 … ``n_bins`` − 1.

    Not centred: frame f begins at sample f · ``hop``, F = 1 + (T − n_fft) // hop; equals ``librosa.stft(center=False)``
    squared, to float32's resolution of the window's largest bin. Raises ValueError where ``hop`` does not divide
    ``n_fft``, T is below ``n_fft``, or ``n_bins`` exceeds n_fft // 2.

    Neighbouring windows share all but one hop, and few bins are wanted: so each hop's share of each bin is computed
    once, by a matrix product, and a window is a sum of them, kept as differences of running sums that restart every
    n_fft samples. The Hann window is three neighbouring bins of that sum: 1/2, and −1/4 of either side.
    """
    c, t = x_ct.shape
    if n_fft % hop or t < n_fft or not 0 < n_bins <= n_fft // 2:
        raise ValueError(f"n_fft={n_fft}, hop={hop}, {n_bins} bins don't fit {t} samples")
    blocks, frames = n_fft // hop, 1 + (t - n_fft) // hop
    windows = -(-t // n_fft) + 1  # the last one of zeros: what follows the end
    padded = np.zeros((c, windows * n_fft), np.float32)
    padded[:, :t] = x_ct
    hops_rct = padded.reshape(c * windows, blocks, hop).transpose(1, 0, 2)
    shares = np.matmul(hops_rct, _dft(n_fft, hop, n_bins)).reshape(blocks, c, windows, -1)
    for r in range(1, blocks):
        shares[r] += shares[r - 1]
    sums = np.empty((blocks, c, windows - 1, shares.shape[-1]), np.float32)  # of the window that begins with each hop
    sums[0] = 0
    np.subtract(shares[:-1, :, 1:], shares[:-1, :, :-1], out=sums[1:])
    sums += shares[-1, :, :-1]
    z_rcak = sums.view(np.complex64)  # bins −1 … n_bins
    parts = np.multiply(z_rcak, _turns(n_fft, hop, n_bins), out=z_rcak).view(np.float32)
    hann = parts[..., :-4] + parts[..., 4:]
    hann *= np.float32(-0.5)
    hann += parts[..., 2:-2]
    hann *= hann
    power_rcak = hann[..., ::2] + hann[..., 1::2]
    return np.asarray(power_rcak.transpose(1, 2, 0, 3).reshape(c, -1, n_bins)[:, :frames])


@lru_cache(maxsize=4)
def _dft(n_fft: int, hop: int, n_bins: int) -> np.ndarray:
    """(n_fft / hop, hop, 2 · (n_bins + 2)) float32: e^(−2πi k t / n_fft), k from −1, real and imaginary in turn."""
    k, t = np.arange(-1, n_bins + 1), np.arange(n_fft)
    waves = np.exp(-2j * np.pi * (np.outer(t, k) % n_fft) / n_fft).astype(np.complex64)
    matrix: np.ndarray = waves.view(np.float32).reshape(n_fft // hop, hop, -1)
    matrix.setflags(write=False)  # shared by every caller through the cache
    return matrix


@lru_cache(maxsize=4)
def _turns(n_fft: int, hop: int, n_bins: int) -> np.ndarray:
    """(n_fft / hop, 1, 1, n_bins + 2) complex64, of size 1/2: what makes bins count time from their window's start.

    The sums count it from the recording's start, so that bins turn against each other from hop to hop.
    """
    angles = np.exp(2j * np.pi * np.outer(np.arange(n_fft // hop) * hop, np.arange(-1, n_bins + 1)) / n_fft) / 2
    turns: np.ndarray = angles.astype(np.complex64)[:, None, None]
    turns.setflags(write=False)
    return turns


def mean_decibels(power_cfm: np.ndarray, depth: float = 80.0) -> np.ndarray:
    """(C, F, M) float32 powers, overwritten → (F, M) float32 in [0, 1]: the mean over the channels that are not silent.

    Of each channel 10 log10 relative to its own maximum, from −``depth`` (and below), which becomes 0, up to 0, which
    becomes 1: ``librosa.power_to_db(ref=np.max, top_db=depth)`` / depth + 1. A channel without any power counts not at
    all; where all are, all is 0.
    """
    if len(power_cfm) * depth > 370:
        raise ValueError(f"{len(power_cfm)} channels of {depth:g} dB: their product would leave float32's range")
    largest_c = power_cfm.max(axis=(1, 2))
    heard = largest_c > np.float32(SILENT)
    share_c = np.divide(1, largest_c, out=np.zeros_like(largest_c), where=heard)
    floor_c = np.where(heard, np.maximum(10 ** (-depth / 10), SILENT * share_c), 1).astype(np.float32)
    power_cfm *= share_c[:, None, None]
    np.maximum(power_cfm, floor_c[:, None, None], out=power_cfm)
    mean_fm: np.ndarray = power_cfm.prod(axis=0)  # one logarithm of the product, instead of one a channel
    np.log(mean_fm, out=mean_fm)
    mean_fm *= np.float32(10 / np.log(10) / depth / max(np.count_nonzero(heard), 1))
    mean_fm += np.float32(heard.any())
    return mean_fm


def bands(weights: np.ndarray) -> Bands:
    """(new, size), each row zero but for a few neighbours → some rows at a time: which, their columns, and those."""
    blocks = []
    for start in range(0, len(weights), ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, len(weights)))
        used = np.flatnonzero(weights[rows].any(axis=0))
        inputs = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        blocks.append((rows, inputs, np.ascontiguousarray(weights[rows, inputs], np.float32)))
    return blocks


def weighted(x: np.ndarray, by: Bands) -> np.ndarray:
    """(..., size) float32 → (..., new): ``x @ weights.T``, of the weights' ``bands``."""
    y = np.empty((*x.shape[:-1], by[-1][0].stop), np.float32)
    for columns, inputs, weights in by:
        np.matmul(x[..., inputs], weights.T, out=y[..., columns])
    return y


def resized(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """(..., H, W) float32 → (..., height, width): bilinear, over the whole of what a pixel covers where it shrinks.

    Equals ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)``.
    """
    y = np.empty((*x.shape[:-2], height, x.shape[-1]), np.float32)
    for rows, inputs, weights in _bands(x.shape[-2], height):
        np.matmul(weights, x[..., inputs, :], out=y[..., rows, :])
    return weighted(y, _bands(x.shape[-1], width))


@lru_cache(maxsize=16)
def _bands(size: int, new: int) -> Bands:
    return bands(_weights(size, new))


def _weights(size: int, new: int) -> np.ndarray:
    """(new, size) float32, each row a triangle around its pixel's centre that sums to 1."""
    pitch = size / new
    centre = (np.arange(new) + 0.5) * pitch - 0.5
    distance = np.abs(np.arange(size)[None] - centre[:, None]) / max(pitch, 1.0)
    weights = np.maximum(0, 1 - distance)
    return np.asarray((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))
