"""Freesound: a mel spectrogram in decibels, as an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.features.audio import UNIT, Audio
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from bench.features.device.base import DeviceHalf


class FreesoundLogMel(Audio):
    """(1, ``n_mels``, frames) float32, what the competition's best entries read (32–44 kHz, 64–128 bands).

    Decibels down to 80 below the window's maximum, computed on the device from each step's window, then
    standardised with the training side's mean and spread a band. ``n_fft`` and ``hop`` are in samples.
    """

    kind: ClassVar[Kind] = "image"

    def __init__(
        self, sample_rate: int = 32_000, seconds: float = 2.0, n_mels: int = 64, n_fft: int = 2048, hop: int = 512
    ) -> None:
        super().__init__(sample_rate, seconds)
        if not 16 <= n_fft <= 1 << 16:
            raise UserError(f"features.n_fft={n_fft} must lie between 16 and 65536 samples; choose 2048")
        if not 1 <= hop <= n_fft:
            raise UserError(f"features.hop={hop} must lie between 1 and n_fft={n_fft}; choose {n_fft // 4}")
        if n_mels < 1:
            raise UserError(f"features.n_mels={n_mels} must be 1 or more; choose 64 to 128")
        from bench.signal.mel import mel_filters

        if not mel_filters(sample_rate, n_fft, n_mels).any(axis=1).all():
            raise UserError(
                f"features.n_mels={n_mels} bands are too many for n_fft={n_fft} at {sample_rate} Hz: some hold no "
                "frequency; choose fewer bands or a larger n_fft"
            )
        self.n_mels, self.n_fft, self.hop = n_mels, n_fft, hop

    def spec(self, dataset: Any) -> InputSpec:
        from bench.signal.mel import n_frames

        return InputSpec(1, (self.n_mels, n_frames(self.samples, self.hop)), dataset.classes)

    def device_half(self) -> DeviceHalf:
        from bench.features.device.scaling import Standardised
        from bench.signal.mel import MelSpectrogram

        mel = MelSpectrogram(self.sample_rate, self.n_fft, self.hop, self.n_mels, UNIT)
        return Standardised(mel, self.n_mels)
