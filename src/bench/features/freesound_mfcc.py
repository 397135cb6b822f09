"""Freesound: 40 mel-frequency cepstral coefficients of two seconds at 44.1 kHz, as an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.features.audio import UNIT, Audio
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from bench.features.device.base import DeviceHalf

N_FFT, HOP, N_MELS = 2048, 512, 128  # librosa's defaults, which the write-up takes


class FreesoundMFCC(Audio):
    """(1, 40, 173) float32: the Freesound write-up's second input, equal to librosa's within 2e-3.

    Computed on the device from each step's window, so that training sees another crop each epoch (the write-up drew
    one crop a clip, once), then standardised with the training side's mean and spread a coefficient (the write-up
    took those of all rows, a coefficient and frame).
    """

    kind: ClassVar[Kind] = "image"

    def __init__(self, sample_rate: int = 44_100, seconds: float = 2.0, n_mfcc: int = 40) -> None:
        super().__init__(sample_rate, seconds)
        if not 1 <= n_mfcc <= N_MELS:
            raise UserError(f"features.n_mfcc={n_mfcc} must lie between 1 and {N_MELS}; the write-up has 40")
        self.n_mfcc = n_mfcc

    def spec(self, dataset: Any) -> InputSpec:
        from bench.signal.mel import n_frames

        return InputSpec(1, (self.n_mfcc, n_frames(self.samples, HOP)), dataset.classes)

    def device_half(self) -> DeviceHalf:
        from bench.features.device.scaling import Standardised
        from bench.signal.mel import MFCC, MelSpectrogram

        mel = MelSpectrogram(self.sample_rate, N_FFT, HOP, N_MELS, UNIT)
        return Standardised(MFCC(mel, N_MELS, self.n_mfcc), self.n_mfcc)
