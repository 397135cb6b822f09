"""How alike two stored rows are, exactly: a cosine after normalising, at a shift along the last axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.data.fingerprints import SHORT, centred_norm, support

SHARED = 0.5
"""What two rows must share, of the shorter one's length: over less, even strangers may look alike."""
PICTURE = 0.9999
"""Columns of a picture hold hundreds of numbers of noise each: strangers are near 0, a copy differs by rounding."""
SEQUENCE = 0.999
"""Of 60,000 simulated beats, which look much alike, no two strangers reach it; nor do ECG5000's of one heart."""
FEWEST = 64
SMOOTH, WHITE = 0.2, 1.6
"""A copy without noise has less than this part of it left; the least of von Neumann's ratio for what it lacks."""
NOISY = 0.97
"""A correlation from which on one short sequence may be another without its noise."""
WORTH_MORE = 0.5
"""A correlation at the given shift from which on all shifts are tried."""
FINER = 4
"""Shifts are told apart to this part of a sample: what is high-pitched agrees at no whole one."""
REACH, STEPS = 3, 16
"""Moves of up to so many samples are tried, in so many steps a sample."""


@dataclass(frozen=True)
class Likeness:
    """How alike two rows are at their best shift, and whether that makes them near-duplicates."""

    similarity: float
    shift: int
    near: bool


def likeness(a: np.ndarray, b: np.ndarray, shift: int) -> Likeness:
    """Of two rows, both (..., H, W) or both (C, T), about ``shift`` (sample s of a is s − shift of b)."""
    if a.ndim > 2:
        value = pictures(a, b, shift)
        return Likeness(value, shift, value >= PICTURE)
    value, shift = sequences(a, b, shift)
    short = max(a.shape[1], b.shape[1]) < SHORT
    near = value >= SEQUENCE or (short and shift == 0 and value >= NOISY and freed_of_noise(a, b))
    return Likeness(value, shift, near)


def pictures(a: np.ndarray, b: np.ndarray, shift: int) -> float:
    """The mean correlation of the columns that (..., H, W) ``a`` and ``b`` share, column w of a being w − shift of b.

    Each column of each panel has mean 0 and length 1 first. −1 where less than half is shared.
    """
    a, b = _shared(a, b, shift)
    if not a.size:
        return -1.0
    a, b = (x.reshape(-1, *x.shape[-2:]) for x in (a, b))
    length = centred_norm(a) * centred_norm(b)
    both = length > 0
    if not both.any():
        return -1.0
    product = np.einsum("phw,phw->pw", a, b) - a.shape[1] * a.mean(axis=1) * b.mean(axis=1)
    return float((product[both] / length[both]).mean())


def sequences(a: np.ndarray, b: np.ndarray, shift: int) -> tuple[float, int]:
    """The mean correlation of the channels that (C, T) ``a`` and ``b`` share, and the shift that is best for it.

    Sample t of a is t − shift of b. Of short sequences the given shift is tried alone; of long ones all are, and
    fractions of a sample, as a store may have resampled both. −1 where less than half is shared.
    """
    best, at = _correlation(*_shared(a, b, shift)), shift
    if max(a.shape[1], b.shape[1]) < SHORT or best >= 0.9999:
        return best, at
    best, at = max((best, at), _fraction(a, b, shift))
    if WORTH_MORE <= best < SEQUENCE:
        found = _best_shift(a, b)
        best, at = max((best, at), (_correlation(*_shared(a, b, found)), found), _fraction(a, b, found))
    return best, at


def freed_of_noise(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether one of two short sequences (C, T) is the other without its noise.

    Then one of them is smooth, and what they differ by is white: neighbours in it are as unlike as any others (the
    ratio of J. von Neumann, "Distribution of the ratio of the mean square successive difference to the variance",
    1941, which is 2 for white noise). Strangers that are nearly alike differ in their shapes, which are smooth.
    """
    if a.shape != b.shape:
        return False
    inside = _both(a, b)
    a, b = a[:, inside], b[:, inside]
    if a.shape[1] < FEWEST:
        return False
    u, v = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    rough, smooth = (u, v) if _noise(u) > _noise(v) else (v, u)
    square = np.einsum("ct,ct->c", smooth, smooth)
    if not (square > 0).all():
        return False
    rest = rough - smooth * (np.einsum("ct,ct->c", rough, smooth) / square)[:, None]
    rest -= rest.mean(axis=1, keepdims=True)
    power, step = (rest**2).sum(), (np.diff(rest, axis=1) ** 2).sum()
    return bool(_noise(smooth) < SMOOTH * np.sqrt(power / rest.size) and step > WHITE * power)


def _noise(x: np.ndarray) -> float:
    """The usual size of the noise in (C, T), by second differences, in which what is smooth is small."""
    return float(np.median(np.abs(np.diff(x, 2, axis=1))) / (0.6745 * np.sqrt(6)))


def quick(a: np.ndarray, b: np.ndarray, shift: int) -> np.ndarray:
    """(N,) mean correlations of many pairs (N, C, T) and (N, C, T) of short sequences at one shift."""
    a, b = _shared(a, b, shift)
    if not a.size:
        return np.full(len(a), -1.0)
    a, b = (x - x.mean(axis=2, keepdims=True) for x in (a, b))
    aa, bb, ab = (np.einsum("nct,nct->nc", x, y) for x, y in ((a, a), (b, b), (a, b)))
    length, counts = np.sqrt(aa * bb), (aa > 0) | (bb > 0)
    each = np.where(length > 0, ab / np.where(length > 0, length, 1), 0)
    values: np.ndarray = (each * counts).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    return values


def _best_shift(a: np.ndarray, b: np.ndarray) -> int:
    """The shift of the largest cosine of (C, T) ``a`` and ``b`` over what they share, by Fourier transforms."""
    from scipy.fft import irfft, next_fast_len, rfft

    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    n, m = a.shape[1], b.shape[1]
    size = next_fast_len(n + m, real=True)
    product = irfft((rfft(a, size) * rfft(b, size).conj()).sum(axis=0), FINER * size) * FINER
    product = product.reshape(-1, FINER)  # each sample's and those between it and the next
    shifts = np.arange(1 - m, n)
    first, last = np.maximum(0, shifts), np.minimum(n, m + shifts)
    energy_a, energy_b = (np.r_[0, np.cumsum(np.einsum("ct,ct->t", x, x), dtype=np.float64)] for x in (a, b))
    energy = (energy_a[last] - energy_a[first]) * (energy_b[last - shifts] - energy_b[first - shifts])
    usable = (last - first >= SHARED * min(n, m)) & (energy > 1e-6 * energy_a[-1] * energy_b[-1])
    if not usable.any():
        return 0
    cosine = np.where(usable, product[shifts].max(axis=1) / np.sqrt(np.where(usable, energy, 1)), -1)
    return int(shifts[cosine.argmax()])


def _shared(a: np.ndarray, b: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts of both along the last axis that lie over each other; empty where they are less than ``SHARED``."""
    first, last = max(0, shift), min(a.shape[-1], b.shape[-1] + shift)
    if last - first < max(2, SHARED * min(a.shape[-1], b.shape[-1])):
        return a[..., :0], b[..., :0]
    return a[..., first:last], b[..., first - shift : last - shift]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over channels of the correlation of (C, n) and (C, n); channels that are flat in both do not count."""
    inside = _both(a, b)
    a, b = a[:, inside], b[:, inside]
    if a.shape[-1] < 2:
        return -1.0
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    aa, bb, ab = (np.einsum("ct,ct->c", x, y) for x, y in ((a, a), (b, b), (a, b)))
    counts = (aa > 0) | (bb > 0)
    if not counts.any():
        return -1.0
    length = np.sqrt(aa * bb)
    return float(np.where(length > 0, ab / np.where(length > 0, length, 1), 0)[counts].mean())


def _both(a: np.ndarray, b: np.ndarray) -> slice:
    """Where one of both still lasts."""
    one, other = support(a), support(b)
    return slice(min(one.start, other.start), max(one.stop, other.stop))


def _fraction(a: np.ndarray, b: np.ndarray, shift: int) -> tuple[float, int]:
    """The correlation once b is moved by a part of some samples, by the phases of the cross spectrum; whole shift."""
    from scipy.fft import rfft

    a, b = _shared(a, b, shift)
    n = a.shape[-1]
    if n < 2:
        return -1.0, shift
    taper = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / max(1, n // 20)).astype(np.float32)
    spectrum_a, spectrum_b = (rfft((x - x.mean(axis=1, keepdims=True)) * taper) for x in (a, b))
    cross, power_a, power_b = spectrum_a * spectrum_b.conj(), abs(spectrum_a) ** 2, abs(spectrum_b) ** 2
    length = np.sqrt(power_a.sum(1, dtype=np.float64) * power_b.sum(1, dtype=np.float64))
    counts = length > 0
    if not counts.any():
        return -1.0, shift
    shared = (cross[counts] / length[counts, None]).mean(axis=0).astype(np.complex64)
    moves = np.arange(-REACH * STEPS, REACH * STEPS + 1) / STEPS
    angle = np.pi * np.arange(len(shared)) / (len(shared) - 1)
    turned, turn = shared * np.exp(1j * angle * moves[0]), np.exp(1j * angle / STEPS).astype(np.complex64)
    values = np.empty(len(moves))
    for k in range(len(moves)):
        values[k] = turned.real.sum(dtype=np.float64)
        turned *= turn
    k = int(values.argmax())
    if k in (0, len(values) - 1):  # the peak is elsewhere
        return -1.0, shift
    low, middle, high = values[k - 1 : k + 2]
    bend = min(low - 2 * middle + high, -1e-12)
    return float(min(middle - (high - low) ** 2 / (8 * bend), 1.0)), shift - round(float(moves[k]))
