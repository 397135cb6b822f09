"""Freesound: two seconds of the sound itself at 16 kHz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.features.audio import UNIT, Audio
from bench.spec import InputSpec, Kind

if TYPE_CHECKING:
    from bench.features.device.base import DeviceHalf


class FreesoundWaveform(Audio):
    """(1, 32000) float32 in [−0.5, 0.5], each window by its own extremes: the Freesound write-up's raw input."""

    kind: ClassVar[Kind] = "sequence"

    def __init__(self, sample_rate: int = 16_000, seconds: float = 2.0) -> None:
        super().__init__(sample_rate, seconds)

    def spec(self, dataset: Any) -> InputSpec:
        return InputSpec(1, (self.samples,), dataset.classes, sample_rate=float(self.sample_rate))

    def device_half(self) -> DeviceHalf:
        from bench.features.device.scaling import MinMax

        return MinMax(UNIT)
