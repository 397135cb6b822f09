"""Traces as an EEG reviewer's screen shows them: filtered, and drawn as one span of rows a column.

Shape suffixes: c traces, t samples, w columns.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

NOTHING = 255
"""Both ends of a column's span where there is no line."""

MOST_ROWS = 254
"""Rows of a slot that a span in one byte can name."""


def without_mains(x_ct: np.ndarray, rate: float) -> np.ndarray:
    """(C, T) finite, in any unit, → float64: causal, from rest, 59–61 Hz taken out, then 1–70 Hz kept.

    Two Butterworth filters of order 5 (M. Kotyushev, Kaggle, HMS 16th place). There each runs as a ratio of
    polynomials, a trace at a time; here both run as second-order sections, all traces at once. They agree within
    1e-7 of the largest value. Raises ValueError where ``rate`` is not above 140 Hz.
    """
    from scipy.signal import sosfilt

    if not rate > 140:
        raise ValueError(f"rate={rate:g} Hz must be above 140: the filters reach 70 Hz")
    return np.asarray(sosfilt(_sections(float(rate)).copy(), np.asarray(x_ct, np.float64), axis=-1))


@lru_cache(maxsize=4)
def _sections(rate: float) -> np.ndarray:
    from scipy.signal import butter

    stop = butter(5, (59, 61), btype="bandstop", fs=rate, output="sos")
    keep = butter(5, (1, 70), btype="bandpass", fs=rate, output="sos")
    sections = np.concatenate([stop, keep])
    sections.setflags(write=False)
    return sections


def bridged(x_ct: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(C, T) with NaN → the same with each gap as a straight line, and where the gaps were, (C, T) bool or None.

    A gap at an end takes its neighbour's value; a trace of NaN alone is 0. A filter sees no step where a recording
    pauses, which filling with 0 or the mean would give it. May write into ``x_ct``.
    """
    gaps_c = np.isnan(x_ct.sum(axis=1))
    if not gaps_c.any():
        return x_ct, None
    gaps_ct = np.isnan(x_ct)
    time = np.arange(x_ct.shape[1])
    for c in np.flatnonzero(gaps_c):
        gap_t = gaps_ct[c]
        x_ct[c, gap_t] = 0 if gap_t.all() else np.interp(time[gap_t], time[~gap_t], x_ct[c, ~gap_t])
    return x_ct, gaps_ct


def spans(y_ct: np.ndarray, width: int, rows: int, gaps_ct: np.ndarray | None = None) -> np.ndarray:
    """A line a trace over ``width`` columns and ``rows`` rows: (2, C, width) uint8, its topmost and its lowest row.

    ``y_ct`` (C, T) is finite; 1 lies at the slot's upper edge, −1 at its lower one, what is beyond is held there.
    Sample i stands in the middle of its share of the width, at (i + ½) · width / T columns; the line joins
    neighbours straight. A column's span reaches from the lowest to the highest point that the line has between the
    column's two edges, joins that cross an edge included: exactly the pixels that the line passes through, and
    neighbouring columns always touch. Row r holds the values from 1 − 2 (r + 1) / rows to 1 − 2 r / rows.

    Where ``gaps_ct`` is True there is no sample, and no line to it; a column without any line is (255, 255).
    Raises ValueError where there are more columns than samples, or ``rows`` is not in 1 … 254.
    """
    t = y_ct.shape[1]
    if not 1 <= width <= t:
        raise ValueError(f"{width} columns for {t} samples: there must be at least one sample a column")
    if not 1 <= rows <= MOST_ROWS:
        raise ValueError(f"{rows} rows, expected 1 to {MOST_ROWS}")
    if gaps_ct is not None:
        y_ct = np.where(gaps_ct, np.nan, y_ct)
    first, before, share = _edges(t, width)
    # the line's height at each column's edges: (C, width + 1)
    edge_cw = y_ct[:, before] * (1 - share) + y_ct[:, np.minimum(before + 1, t - 1)] * share
    heights = np.stack([edge_cw[:, :-1]] * 2)
    last = np.append(first[1:], t) - 1
    within = [y_ct[:, np.minimum(first + i, last)] for i in range(int((last - first).max()) + 1)]
    for point_cw in (edge_cw[:, 1:], *within):
        np.fmax(heights[0], point_cw, out=heights[0])
        np.fmin(heights[1], point_cw, out=heights[1])
    heights *= -rows / 2
    heights += rows / 2
    np.clip(heights, 0, rows - 1, out=heights)  # NaN stays
    if gaps_ct is None:
        return heights.astype(np.uint8, order="C")  # a positive number is cut to the row that holds it
    return np.where(np.isnan(heights), NOTHING, np.nan_to_num(heights)).astype(np.uint8, order="C")


@lru_cache(maxsize=16)
def _edges(samples: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each column's first sample (W,); for its edges (W + 1,) the sample before and the way from it to the next."""
    # sample i stands at i + ½ where column c begins at c · samples / width; in integers, so that none is rounded
    first = -(-(2 * np.arange(width) * samples - width) // (2 * width))
    at = np.clip(np.arange(width + 1) * (samples / width) - 0.5, 0, samples - 1)
    before = np.maximum(np.ceil(at).astype(np.int64) - 1, 0)  # an edge on a sample ends the join that comes to it
    edges = np.maximum(first, 0), before, at - before
    for array in edges:
        array.setflags(write=False)
    return edges
