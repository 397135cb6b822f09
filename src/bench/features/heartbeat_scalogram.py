"""Heartbeat: the beat's wavelet transform as an image, for models that take one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.features.heartbeat_waveform import HeartbeatWaveform
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from bench.features.device.base import DeviceHalf


class HeartbeatScalogram(HeartbeatWaveform):
    """(1, ``n_scales``, ``width``) float32: Morlet wavelets over the beat, high frequencies on top.

    Frequencies are evenly spaced in their logarithm, from ``highest`` (cycles a sample) down to ``lowest`` (cycles a
    beat); ``width`` columns, None: one a sample. Decibels down to ``top_db`` below the beat's largest, computed on the
    device from the stored waveform, then standardised with the training side's mean and spread a scale. The zeros that
    fill a short beat come out as the lowest value.

    Source: none of the competition's. Image networks read scalograms of ECG in Byeon, Pan and Kwak, "Intelligent deep
    models based on scalograms of electrocardiogram signals for biometrics", Sensors 19, 2019 (there of Morse wavelets).
    """

    kind: ClassVar[Kind] = "image"

    def __init__(
        self,
        n_scales: int = 64,
        width: int | None = None,
        lowest: float = 3.0,
        highest: float = 0.25,
        top_db: float = 40.0,
    ) -> None:
        if n_scales < 2:
            raise UserError(f"features.n_scales={n_scales} must be 2 or more; choose 64")
        if width is not None and width < 1:
            raise UserError(f"features.width={width} must be 1 or more, or null for a column a sample")
        if not lowest >= 0.5:
            raise UserError(f"features.lowest={lowest:g} must be 0.5 cycles a beat or more; choose 3")
        if not 0 < highest <= 0.5:
            raise UserError(f"features.highest={highest:g} must lie between 0 and 0.5 cycles a sample; choose 0.25")
        if not top_db > 0:
            raise UserError(f"features.top_db={top_db:g} must be above 0; choose 40")
        self.n_scales, self.width, self.lowest, self.highest, self.top_db = n_scales, width, lowest, highest, top_db

    def spec(self, dataset: Any) -> InputSpec:
        if self.lowest / dataset.length >= self.highest:
            raise UserError(
                f"features.lowest={self.lowest:g} cycles in a beat of {dataset.length} samples is no lower than "
                f"features.highest={self.highest:g} cycles a sample; choose a smaller lowest"
            )
        return InputSpec(1, (self.n_scales, self.width or dataset.length), dataset.classes)

    def device_half(self) -> DeviceHalf:
        from bench.features.device.scaling import Standardised
        from bench.signal.time_frequency import Scalogram

        front = Scalogram(self.n_scales, self.lowest, self.highest, self.top_db, self.width)
        return Standardised(front, self.n_scales)
