"""HMS: the middle 50 s of an EEG as eight filtered differences of electrodes at 40 Hz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bench.features.base import Features
from bench.features.hms_sides import exchanged, reordered
from bench.signal.filters import lowpass_decimate
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE = 200
"""Hz of HMS's EEG files."""

WINDOW = 10_000
"""Rows that the experts judged, in the middle of a file: 50 s. A data set may give others: see ``window_of``."""

PAIRS = (
    ("Fp1", "T3"),
    ("T3", "O1"),
    ("Fp1", "C3"),
    ("C3", "O1"),
    ("Fp2", "C4"),
    ("C4", "O2"),
    ("Fp2", "T4"),
    ("T4", "O2"),
)
"""Left temporal, left parasagittal, right parasagittal and right temporal chain, two differences each."""


def window_of(dataset: Any) -> int:
    """Rows of an example of a data set, at 200 Hz."""
    return int(getattr(dataset, "window", WINDOW))


class HMSWaveform(Features):
    """The input of the first HMS write-up (C. Deotte, Kaggle, "WaveNet Starter - [LB 0.52]"), filtered once.

    An example's rows (the middle 10,000 of a file); NaN → the electrode's mean over them, an electrode without any
    number → 0; differences; clip to ±``clip`` µV; ÷ ``scale``; causal Butterworth low-pass of ``order`` at ``cutoff``
    Hz; every ``decimate``-th sample. At the defaults (8, 2000) float16: rounding is at most 2⁻¹¹ of a value, far
    below noise.
    """

    kind: ClassVar[Kind] = "sequence"
    datasets: ClassVar[tuple[str, ...]] = ("hms",)
    stored_dtype: ClassVar[str] = "float16"
    reads: ClassVar[dict[str, Any]] = {"columns": ["Fp1", "T3", "C3", "O1", "Fp2", "C4", "T4", "O2"]}

    def __init__(
        self,
        cutoff: float = 20.0,
        order: int = 4,
        decimate: int = 5,
        clip: float = 1024.0,
        scale: float = 32.0,
    ) -> None:
        if not 0 < cutoff < SAMPLE_RATE / 2:
            raise UserError(f"features.cutoff={cutoff:g} must lie between 0 and {SAMPLE_RATE / 2:g} Hz; choose 20")
        for key, value in (("order", order), ("decimate", decimate)):
            if value < 1:
                raise UserError(f"features.{key}={value} must be at least 1; the write-up has order 4, decimate 5")
        if not (clip > 0 and scale > 0):
            raise UserError(f"features.clip={clip:g} and features.scale={scale:g} must be above 0 µV; choose 1024, 32")
        self.cutoff, self.order, self.decimate, self.clip, self.scale = cutoff, order, decimate, clip, scale
        columns = self.reads["columns"]
        self._from = [columns.index(a) for a, _ in PAIRS]
        self._to = [columns.index(b) for _, b in PAIRS]

    def spec(self, dataset: Any) -> InputSpec:
        _, length = self.stored_shape(dataset)
        return InputSpec(len(PAIRS), (length,), dataset.classes, sample_rate=SAMPLE_RATE / self.decimate)

    def stored_shape(self, dataset: Any) -> tuple[int, ...]:
        return (len(PAIRS), -(-window_of(dataset) // self.decimate))

    def store(self, raw: np.ndarray) -> np.ndarray:
        """(rows, 8) float32 µV in the order of ``reads`` → (8, 2000) float16 of 10,000 rows, of others in proportion.

        Raises ValueError where there is an infinite value or no number at all. Columns that lie contiguous in memory
        (a Fortran-ordered ``raw``, as HMS reads it) are fastest.
        """
        electrodes_ct = _without_nan(np.ascontiguousarray(raw.T, np.float32))
        x_ct = electrodes_ct[self._from]
        x_ct -= electrodes_ct[self._to]
        np.clip(x_ct, -self.clip, self.clip, out=x_ct)
        x_ct *= np.float32(1 / self.scale)
        filtered_ct = lowpass_decimate(x_ct, self.cutoff, SAMPLE_RATE, self.order, self.decimate)
        return filtered_ct.astype(self.stored_dtype)

    def settings(self) -> dict[str, Any]:
        return {
            "version": 1,
            "cutoff": float(self.cutoff),
            "order": self.order,
            "decimate": self.decimate,
            "clip": float(self.clip),
            "scale": float(self.scale),
        }

    def mirrored(self, x: Tensor) -> Tensor:
        """(B, 8, T) as stored → the same with each difference's opposite in its place."""
        return reordered(x, exchanged(PAIRS))


def _without_nan(x_ct: np.ndarray) -> np.ndarray:
    """NaN → the channel's mean; a channel of NaN alone → 0. May write into ``x_ct``."""
    holes_c = ~np.isfinite(x_ct.sum(axis=1))  # one cheap pass: most channels have no hole
    if not holes_c.any():
        return x_ct
    if not x_ct.flags.writeable:
        x_ct = x_ct.copy()
    empty = 0
    for channel in np.flatnonzero(holes_c):
        x_t = x_ct[channel]
        nan_t = np.isnan(x_t)
        infinite = np.flatnonzero(np.isinf(x_t))
        if len(infinite):
            raise ValueError(f"{len(infinite)} infinite values in an electrode's {len(x_t)} rows")
        x_t[nan_t] = 0
        count = len(x_t) - np.count_nonzero(nan_t)
        if count:
            x_t[nan_t] = x_t.sum() / np.float32(count)
        else:
            empty += 1
    if empty == len(x_ct):
        raise ValueError(f"NaN everywhere in the {x_ct.shape[1]} rows of its {len(x_ct)} electrodes")
    return x_ct
