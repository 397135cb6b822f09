"""What all features of sounds share: a clip at one sample rate as 16-bit numbers, taken in windows of some seconds."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bench.features.base import Features
from bench.spec import Part, UserError

UNIT = 2.0**-15
"""What one unit of a stored sample is worth: 16-bit files are kept as they are."""


class Audio(Features):
    """Stored half: (1, T) int16 at ``sample_rate`` Hz, T as long as the clip; a batch takes ``seconds`` of it.

    Features at one rate share a store. Resampled once, by the data set's ``read`` (``reads`` says to what rate).
    What exceeds full scale, as a lossy decoder's or a resampler's overshoot can, is clipped to it.
    """

    datasets: ClassVar[tuple[str, ...]] = ("freesound",)
    stored_dtype: ClassVar[str] = "int16"
    stored_as: ClassVar[str | None] = "audio"

    def __init__(self, sample_rate: int, seconds: float) -> None:
        if not 1000 <= sample_rate <= 192_000:
            raise UserError(f"features.sample_rate={sample_rate} must lie between 1000 and 192000 Hz; choose 44100")
        if not 0.01 <= seconds <= 600:
            raise UserError(f"features.seconds={seconds:g} must lie between 0.01 and 600; the write-up has 2")
        self.sample_rate, self.seconds = sample_rate, seconds
        self.samples = round(sample_rate * seconds)
        # an object's own, where the base class has one a class: the rate is an option
        self.reads = {"sample_rate": sample_rate}  # type: ignore[misc]

    def stored_shape(self, dataset: Any) -> tuple[int | None, ...]:
        return (1, None)

    def stored_lengths(self, dataset: Any, part: Part) -> np.ndarray:
        values: np.ndarray = dataset.lengths(part, self.sample_rate)
        return values

    def window(self, dataset: Any) -> int:
        return self.samples

    def store(self, raw: np.ndarray) -> np.ndarray:
        """(T,) float in [−1, 1] → (1, T) int16; raises ValueError where there is another number of axes."""
        if raw.ndim != 1:
            raise ValueError(f"shape {raw.shape}, expected one channel's (samples,)")
        x_t = raw * np.float32(1 / UNIT)
        np.rint(x_t, out=x_t)
        return np.clip(x_t, -32768, 32767, out=x_t).astype(np.int16)[None]

    def settings(self) -> dict[str, Any]:
        return {"version": 1, "sample_rate": self.sample_rate}
