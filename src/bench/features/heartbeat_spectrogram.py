"""Heartbeat: the beat's short-time Fourier transform as an image, for models that take one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.features.heartbeat_waveform import HeartbeatWaveform
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from bench.features.device.base import DeviceHalf


class HeartbeatSpectrogram(HeartbeatWaveform):
    """(1, 1 + ``n_fft`` // 2, 1 + length // ``hop``) float32: Hann windows of ``window`` samples, high frequencies
    on top.

    One resolution for all frequencies, where a scalogram's wavelets are short for high ones and long for low ones.
    Zeros fill a window up to ``n_fft``. Decibels down to ``top_db`` below the beat's largest, computed on the device
    from the stored waveform, then standardised with the training side's mean and spread a frequency.

    Source: none of the competition's; scipy.signal.stft's definition, with mirrored ends instead of zeros.
    """

    kind: ClassVar[Kind] = "image"

    def __init__(self, window: int = 32, hop: int = 2, n_fft: int = 126, top_db: float = 40.0) -> None:
        if window < 4 or window % 2:
            raise UserError(f"features.window={window} must be an even number of samples from 4 on; choose 32")
        if not 1 <= hop <= window:
            raise UserError(f"features.hop={hop} must lie between 1 and window={window} samples; choose {window // 8}")
        if n_fft < window:
            raise UserError(f"features.n_fft={n_fft} must be window={window} or more; choose {4 * window}")
        if not top_db > 0:
            raise UserError(f"features.top_db={top_db:g} must be above 0; choose 40")
        self.window_samples, self.hop, self.n_fft, self.top_db = window, hop, n_fft, top_db

    def spec(self, dataset: Any) -> InputSpec:
        if self.window_samples > 2 * dataset.length:
            raise UserError(
                f"features.window={self.window_samples} is more than twice a beat's {dataset.length} samples; choose "
                f"features.window={max(4, dataset.length // 4 * 2)} or less"
            )
        return InputSpec(1, (1 + self.n_fft // 2, 1 + dataset.length // self.hop), dataset.classes)

    def device_half(self) -> DeviceHalf:
        from bench.features.device.scaling import Standardised
        from bench.signal.time_frequency import Spectrogram

        front = Spectrogram(self.window_samples, self.hop, self.n_fft, self.top_db)
        return Standardised(front, 1 + self.n_fft // 2)
