"""Fingerprints: a few short vectors a stored row, which a row that is the same but for a shift or a gain shares.

Each vector describes one place on the last axis (a bin of frequency, a moment) by random projections of what stands
there, normalised: the length of a difference is then nearly kept (W. Johnson, J. Lindenstrauss 1984). Places are
chosen by their content alone, so that two cuts of one recording choose the same ones in what they share; this is the
idea of winnowing (S. Schleimer et al., "Winnowing: local algorithms for document fingerprinting", SIGMOD 2003).

- *Columns* of a picture (..., H, W): of all W those whose first projection is largest.
- *Marks* of a sequence (C, T): moments whose first projection is the largest around.
- *Outline* of a short sequence of fixed length: the whole row, smoothed, without the constant stretches at its ends.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.data.source import Source

VERSION = 1
"""Raise it when a row's vectors change."""
PROJECTIONS = 12
OUTLINE_PROJECTIONS = 24
COLUMNS = 16
"""Columns a picture is known by: of two that share half of theirs, some five are common to both."""
MARKS = 32
"""About as many moments a sequence is known by. A longer row's marks are among those of a cut of it."""
WINDOWS, LONGEST_WINDOW = 6, 1024
"""What a mark's window is of a sequence's usual length, and its most samples."""
SHORT = 512
"""Below this length a sequence has an outline, too: there is little room for marks."""
CHUNK = 64

Way = Literal["columns", "marks", "outline"]


@dataclass(frozen=True)
class Fingerprints:
    """Vectors (M, D) float32 of all rows, the row of each (M,) and its place on the row's last axis (M,), int64."""

    row: np.ndarray
    place: np.ndarray
    vector: np.ndarray


def ways(source: Source) -> list[Way]:
    """How rows of a source are described, by their shape."""
    if len(source.shape) > 2:
        return ["columns"]
    return ["marks", "outline"] if not source.open and source.shape[-1] < SHORT else ["marks"]


def read(source: Source, row: int) -> np.ndarray:
    """One row as float32: (..., H, W), or (C, T) with the row's own T."""
    if source.open:
        x = source.windows(np.array([row]), np.zeros(1, np.int64), int(source.lengths[row]))[0]
    else:
        x = source.gather(np.array([row]))[0]
    return np.atleast_2d(x.astype(np.float32))


def fingerprints(source: Source, way: Way, workers: int = 1) -> Fingerprints:
    """All rows' fingerprints; each is computed from its row alone, in ``workers`` threads."""
    which = np.arange(len(source))
    describe = Describer(source, way)

    def chunk(start: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [describe(read(source, int(row))) for row in which[start : start + CHUNK]]

    with ThreadPoolExecutor(max(1, workers)) as pool:
        each = [one for part in pool.map(chunk, range(0, len(which), CHUNK)) for one in part]
    counts = [len(place) for place, _ in each]
    empty = np.zeros((0, OUTLINE_PROJECTIONS if way == "outline" else PROJECTIONS), np.float32)
    return Fingerprints(
        np.repeat(which, counts).astype(np.int64),
        np.concatenate([np.zeros(0, np.int64), *(place for place, _ in each)]),
        np.concatenate([empty, *(vector for _, vector in each)]),
    )


class Describer:
    """Row → places (M,) int64 and vectors (M, D) float32, one way."""

    def __init__(self, source: Source, way: Way) -> None:
        rng = np.random.default_rng(0)
        self.way = way
        if way == "columns":
            *lead, height, _ = source.shape
            directions = rng.standard_normal((int(np.prod(lead)), PROJECTIONS + 1, height), np.float32)
            self.directions = directions - directions.mean(axis=2, keepdims=True)  # a column's mean drops out
            return
        lengths = source.lengths if source.open else np.array([source.shape[-1]])
        typical = int(np.median(lengths)) if len(lengths) else 1
        channels = int(np.prod(source.shape[:-1])) * (1 if way == "outline" else 2)
        window = int(np.clip(typical // WINDOWS, 16, LONGEST_WINDOW))
        self.smooth = 4 if window >= 128 else 2
        self.taps = self.smooth * np.arange(window // self.smooth)
        if way == "outline":
            self.directions = rng.standard_normal((channels * typical, OUTLINE_PROJECTIONS), np.float32)
            return
        directions = rng.standard_normal((PROJECTIONS + 1, channels, len(self.taps)), np.float32)
        self.directions = directions - directions.mean(axis=2, keepdims=True)  # a window's mean drops out

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return getattr(self, f"_{self.way}")(x)  # type: ignore[no-any-return]

    def _columns(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x_phw = x.reshape(-1, *x.shape[-2:])
        norm_pw = centred_norm(x_phw)
        projected_pdw = self.directions @ x_phw
        with np.errstate(divide="ignore", invalid="ignore"):
            projected_pdw *= np.where(norm_pw > 0, 1 / norm_pw, 0)[:, None]
        z_dw = projected_pdw.sum(0) / np.float32(np.sqrt(len(x_phw)))
        usable = np.flatnonzero((norm_pw > 0).any(0))
        place = usable[np.argsort(-z_dw[0, usable], kind="stable")[:COLUMNS]]
        return place, np.ascontiguousarray(z_dw[1:, place].T)

    def _marks(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from scipy.ndimage import maximum_filter1d

        n, taps = x.shape[1], len(self.taps)
        if n < 2:
            return np.zeros(0, np.int64), np.zeros((0, PROJECTIONS), np.float32)
        signal_ct = self._signal(x)
        height_t = self._heights(signal_ct, n)
        apart = max(n // (2 * MARKS), taps * self.smooth // 8)
        largest_t = maximum_filter1d(height_t, 2 * apart + 1, mode="nearest")
        place = np.flatnonzero((height_t == largest_t) & (height_t > 0))
        window_mck = signal_ct[:, place[:, None] + self.taps].transpose(1, 0, 2)
        norm_m = np.sqrt(window_mck.var(axis=2).sum(axis=1) * taps)
        some = norm_m > 0
        flat_mk = window_mck[some].reshape(-1, len(signal_ct) * taps) / norm_m[some, None]
        return place[some], flat_mk @ self.directions[1:].reshape(PROJECTIONS, -1).T

    def _signal(self, x: np.ndarray) -> np.ndarray:
        """(2 C, T + window): the smoothed channels and how loud what the smoothing took off is, zeros around them.

        A copy may lie between a store's samples, where it was resampled: what changes from one sample to the next is
        another there, its loudness is not.
        """
        from scipy.ndimage import uniform_filter1d

        def mean(x_ct: np.ndarray, size: int) -> np.ndarray:
            means: np.ndarray = uniform_filter1d(x_ct, size, mode="nearest")
            return means

        low_ct = mean(mean(x, self.smooth), self.smooth)
        rest_ct = x - low_ct
        loud_ct = mean(mean(rest_ct * rest_ct, 4 * self.smooth), 4 * self.smooth)
        signal_ct = np.concatenate([low_ct, np.sqrt(np.maximum(loud_ct, 0))])  # a running mean may end below 0
        signal_ct -= signal_ct.mean(axis=1, keepdims=True)
        window = len(self.taps) * self.smooth
        padded: np.ndarray = np.pad(signal_ct, ((0, 0), (window // 2, window - window // 2)))
        return padded

    def _heights(self, signal_ct: np.ndarray, n: int) -> np.ndarray:
        """(n,) first projection of the window around each moment, by its length."""
        from scipy.signal import oaconvolve

        window = len(self.taps) * self.smooth
        first_ct = np.zeros((len(signal_ct), window), np.float32)
        first_ct[:, self.taps] = self.directions[0]
        projected_t = oaconvolve(signal_ct, first_ct[:, ::-1], "valid", axes=1).sum(axis=0)[:n]
        total_ct, square_ct = (_sums(s_ct, window, n) for s_ct in (signal_ct, signal_ct**2))
        norm_t = np.sqrt(np.maximum((square_ct - total_ct**2 / window).sum(axis=0), 0) / self.smooth)
        heights: np.ndarray = projected_t / np.maximum(norm_t, 1e-6 * norm_t.max() + 1e-30)
        return heights

    def _outline(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from scipy.ndimage import uniform_filter1d

        inside = support(x)
        u_ct = np.zeros_like(x)
        part = x[:, inside]
        u_ct[:, inside] = part - part.mean(axis=1, keepdims=True) if part.size else part
        u_ct = uniform_filter1d(uniform_filter1d(u_ct, 4, mode="nearest"), 4, mode="nearest")
        norm = float(np.linalg.norm(u_ct))
        if norm == 0:
            return np.zeros(0, np.int64), np.zeros((0, OUTLINE_PROJECTIONS), np.float32)
        return np.zeros(1, np.int64), (u_ct.reshape(1, -1) / norm) @ self.directions


def _sums(x_ct: np.ndarray, window: int, n: int) -> np.ndarray:
    """(C, n) float64: sums over the ``window`` samples that begin at each of the first n."""
    total_ct = np.cumsum(np.pad(x_ct, ((0, 0), (1, 0))), axis=1, dtype=np.float64)
    sums: np.ndarray = total_ct[:, window : window + n] - total_ct[:, :n]
    return sums


def centred_norm(x_phw: np.ndarray) -> np.ndarray:
    """(P, W): the length of each column of each panel, its mean taken off; 0 where it is one number."""
    mean_pw = x_phw.mean(axis=1)
    square_pw = np.einsum("phw,phw->pw", x_phw, x_phw) - x_phw.shape[1] * mean_pw**2
    flat = square_pw <= 1e-6 * x_phw.shape[1] * mean_pw**2  # what is left of equal numbers is rounding
    return np.sqrt(np.where(flat, 0, square_pw))


def support(x: np.ndarray) -> slice:
    """Where a sequence (C, T) lasts: without the stretches at its ends in which no channel changes (padding)."""
    changes = np.flatnonzero((np.diff(x, axis=1) != 0).any(axis=0))
    return slice(int(changes[0]), int(changes[-1]) + 2) if len(changes) else slice(0, 0)
