"""Filters: array → array. Shape suffixes: c channels, t samples, b blocks, k kept samples."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

LONGEST_RESPONSE = 512
"""Samples of impulse response up to which one matrix product is cheaper than running the recursion."""

TAIL = 2.0**-26
"""Share of the impulse response's absolute sum that may be cut off: a quarter of float32's resolution."""


def lowpass_decimate(x_ct: np.ndarray, cutoff: float, rate: float, order: int, factor: int) -> np.ndarray:
    """Causal Butterworth low-pass from rest, then every ``factor``-th sample.

    ``x_ct`` is (C, T), finite, any float type; ``cutoff`` and ``rate`` are in Hz. Returns (C, ceil(T /
    factor)) float32, equal to ``scipy.signal.lfilter(*butter(order, cutoff, fs=rate), x_ct)[:, ::factor]`` in
    float64 to float32's resolution (within 1e-5 for amplitudes of 32). Raises ValueError where the cutoff
    does not lie between 0 and half of the rate, or order or factor is below 1.

    A stable recursion forgets: past some 70 samples (20 Hz of 200) the response is below what float32 can
    add. So it is a short FIR filter, and computing only the kept samples of one is a banded Toeplitz matrix
    applied to blocks of the signal: one matrix product, where the recursion has to walk every sample. A
    filter that remembers too long for that runs as second-order sections in float64.
    """
    if not 0 < cutoff < rate / 2:
        raise ValueError(f"cutoff={cutoff:g} Hz must lie between 0 and half of the rate, {rate / 2:g} Hz")
    if order < 1 or factor < 1:
        raise ValueError(f"order={order} and factor={factor} must be at least 1")
    c, t = x_ct.shape
    kept = -(-t // factor)
    matrix = _toeplitz(float(cutoff), float(rate), order, factor)
    if matrix is None:
        from scipy.signal import butter, sosfilt

        sections = butter(order, cutoff, fs=rate, output="sos")
        filtered = np.asarray(sosfilt(sections, np.asarray(x_ct, np.float64), axis=-1))
        return filtered[:, ::factor].astype(np.float32)
    hop, columns = matrix.shape
    per_block = columns // 2
    n_blocks = -(-t // hop)
    padded = np.zeros((c, n_blocks * hop), np.float32)
    padded[:, :t] = x_ct
    # Left half of a product: a block's own samples; right half: what it still adds to the block after it.
    product_cbk = (padded.reshape(c * n_blocks, hop) @ matrix).reshape(c, n_blocks, columns)
    y_cbk = product_cbk[:, :, :per_block].copy()
    y_cbk[:, 1:] += product_cbk[:, :-1, per_block:]
    return np.asarray(y_cbk.reshape(c, n_blocks * per_block)[:, :kept])


@lru_cache(maxsize=16)
def _toeplitz(cutoff: float, rate: float, order: int, factor: int) -> np.ndarray | None:
    """(hop, 2 · hop / factor) float32; None where the response is too long to be worth it.

    Row i, column k holds the response at the distance from sample i of a block to kept sample k of the same
    block (left half) or of the next block (right half). ``hop`` covers the response, so no block reaches
    further.
    """
    response = _impulse_response(cutoff, rate, order)
    if response is None:
        return None
    per_block = max(-(-len(response) // factor), 1)
    hop = per_block * factor
    distance = np.arange(2 * per_block)[None, :] * factor - np.arange(hop)[:, None]
    inside = (distance >= 0) & (distance < len(response))
    matrix = np.where(inside, response[np.clip(distance, 0, len(response) - 1)], 0).astype(np.float32)
    matrix.setflags(write=False)  # shared by every caller through the cache
    return matrix


def _impulse_response(cutoff: float, rate: float, order: int) -> np.ndarray | None:
    """The filter's float64 response, cut where the rest is below ``TAIL`` of it; None if that is too late."""
    from scipy.signal import butter, sosfilt

    impulse = np.zeros(4 * LONGEST_RESPONSE)
    impulse[0] = 1
    response = np.asarray(sosfilt(butter(order, cutoff, fs=rate, output="sos"), impulse))
    rest = np.cumsum(np.abs(response)[::-1])[::-1]  # rest[n]: absolute sum from sample n on
    length = int(np.count_nonzero(rest > TAIL * rest[0]))
    return response[:length] if length <= LONGEST_RESPONSE else None
