"""HMS: the competition's own 10-minute spectrograms as an image."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bench.features.hms_regions import CHAINS, HMSRegions
from bench.signal.spectrograms import log_brightness

SPECTROGRAM = (300, 400)
"""Rows of 2 s (10 minutes) and columns: 100 frequencies from 0.59 to 19.92 Hz a region."""


class HMSSpectrogram(HMSRegions):
    """10 minutes around the judged 10 s, 100 frequencies a region, at most 1/510 from the third write-up's scaling.

    Missing values → 0; log10(x + 1e-6); clipped to the example's own 1 % and 99 % quantile, which become 0 and 1
    (M. Kotyushev, Kaggle, HMS 16th place). A spectrogram without any number is black. Stacked (1, 400, 300), regions
    (4, 100, 300).
    """

    reads: ClassVar[dict[str, Any]] = {"spectrogram": True}
    size: ClassVar[tuple[int, int]] = (SPECTROGRAM[1] // len(CHAINS), SPECTROGRAM[0])

    def store(self, raw: np.ndarray) -> np.ndarray:
        """(300, 400) float32 power, NaN possible → (4, 100, 300) uint8.

        Raises ValueError for another shape and for infinities.
        """
        return to_bytes(brightness(raw)).reshape(len(CHAINS), *self.size)


def brightness(raw: np.ndarray) -> np.ndarray:
    """(300, 400) power → (400, 300) float32 in [0, 1], frequencies down, time to the right."""
    if raw.shape != SPECTROGRAM:
        raise ValueError(f"the spectrogram's window is {raw.shape}, expected {SPECTROGRAM} (10 minutes, 2 s a row)")
    return np.ascontiguousarray(log_brightness(raw).T)


def to_bytes(x: np.ndarray) -> np.ndarray:
    """Float32 in [0, 1] → the nearest of 256 levels; may write into ``x``."""
    x *= 255
    x += 0.5
    return x.astype(np.uint8)
