"""Heartbeat: the beat as the file has it, one channel."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bench.features.base import Features
from bench.spec import InputSpec, Kind


class HeartbeatWaveform(Features):
    """One beat as (1, length) float32; float32 because it is small and the file has up to seven digits."""

    kind: ClassVar[Kind] = "sequence"
    datasets: ClassVar[tuple[str, ...]] = ("heartbeat",)
    stored_dtype: ClassVar[str] = "float32"
    stored_as: ClassVar[str | None] = "heartbeat_waveform"

    def spec(self, dataset: Any) -> InputSpec:
        return InputSpec(1, (dataset.length,), dataset.classes)

    def stored_shape(self, dataset: Any) -> tuple[int, ...]:
        return (1, dataset.length)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """(1, length) → the same as float32; raises ValueError where the shape is another."""
        if raw.ndim != 2 or len(raw) != 1:
            raise ValueError(f"shape {raw.shape}, expected (1, length)")
        return np.asarray(raw, np.float32)

    def settings(self) -> dict[str, Any]:
        return {"version": 1}
