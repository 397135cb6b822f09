"""Mel spectrograms and MFCC of whole batches, as librosa defines them.

Shape suffixes: b examples, t samples, f frames, k frequency bins, m mel bands, c cepstral coefficients.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn

AT_ONCE = 2
"""Examples a processor transforms at a time: 2 s at 44.1 kHz of them still fit its cache."""

BANDS_AT_ONCE = 16
"""Mel bands a matrix product: neighbours share bins, and a product over all bins is 97 % zeros."""

SMALLEST = 1e-10
"""Power below which the logarithm is cut off (librosa.power_to_db's ``amin``)."""


def mel_filters(sample_rate: float, n_fft: int, n_mels: int) -> np.ndarray:
    """(M, 1 + n_fft // 2) float64 of ``librosa.filters.mel``: triangles of equal area, evenly spaced in mel.

    Slaney's scale and norm (M. Slaney, "Auditory Toolbox", Interval Research 1998-010), from 0 to half of the rate. A
    band narrower than a bin can come out empty (all zero).
    """
    from librosa.filters import mel

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Empty filters")  # who can't use them says so with its own keys
        values: np.ndarray = mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, dtype=np.float64)
        return values


def n_frames(samples: int, hop: int) -> int:
    """Frames of a centred transform: one around each ``hop``-th sample."""
    return 1 + samples // hop


class MelSpectrogram(nn.Module):
    """(B, T) samples of any type → (B, M, F) float32 decibels.

    Equals ``librosa.power_to_db(librosa.feature.melspectrogram(y, sr, n_fft, hop_length, n_mels))``: Hann windows,
    zeros around the ends, power, ``mel_filters``, 10 log10, cut off ``top_db`` below the example's own maximum.
    ``scale`` is what one unit of the samples is worth (2⁻¹⁵ for 16-bit numbers); it costs nothing. T must be at
    least 1. Always float32: under autocast, bfloat16 would leave two digits of the power.
    """

    window: Tensor

    def __init__(
        self, sample_rate: float, n_fft: int, hop: int, n_mels: int, scale: float = 1.0, top_db: float = 80.0
    ) -> None:
        super().__init__()
        self.n_fft, self.hop, self.top_db = n_fft, hop, top_db
        window = torch.hann_window(n_fft, dtype=torch.float64) * scale
        self.register_buffer("window", window.float(), persistent=False)
        filters = mel_filters(sample_rate, n_fft, n_mels).astype(np.float32)
        self.spans: list[tuple[int, int]] = []
        for i, start in enumerate(range(0, n_mels, BANDS_AT_ONCE)):
            bands = filters[start : start + BANDS_AT_ONCE]
            used = np.flatnonzero(bands.any(axis=0))
            first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
            self.spans.append((first, last))
            # each row twice, for the squares of real and imaginary parts: summing those first would cost a pass
            twice = torch.from_numpy(bands[:, first:last].T.repeat(2, axis=0))
            self.register_buffer(f"bands_{i}", twice, persistent=False)

    def forward(self, x_bt: Tensor) -> Tensor:
        with torch.autocast(x_bt.device.type, enabled=False):
            if x_bt.is_cuda or torch.compiler.is_exporting():  # a graph of any batch size has no number of parts
                return self._decibels(x_bt)
            return torch.cat([self._decibels(x) for x in x_bt.split(AT_ONCE)])

    def _decibels(self, x_bt: Tensor) -> Tensor:
        pad, samples = self.n_fft // 2, x_bt.shape[1]
        padded = torch.zeros(x_bt.shape[0], samples + 2 * pad, device=x_bt.device)
        padded[:, pad : pad + samples] = x_bt
        z_bfk = torch.fft.rfft(padded.unfold(1, self.n_fft, self.hop) * self.window)
        squares = torch.view_as_real(z_bfk).square_().flatten(2)  # (B, F, 2 K)
        bands = [
            squares[..., 2 * first : 2 * last] @ self.get_buffer(f"bands_{i}")
            for i, (first, last) in enumerate(self.spans)
        ]
        db_bfm = torch.cat(bands, -1).clamp_(min=SMALLEST).log10_().mul_(10)
        floor = db_bfm.amax((1, 2), keepdim=True) - self.top_db
        return torch.maximum(db_bfm, floor).transpose(1, 2)


class MFCC(nn.Module):
    """(B, T) samples → (B, C, F) mel-frequency cepstral coefficients, as ``librosa.feature.mfcc`` gives them.

    The orthonormal cosine transform (type II) of the decibels of ``mel`` over its bands, its first ``n_mfcc`` rows.
    """

    cosines: Tensor

    def __init__(self, mel: MelSpectrogram, n_mels: int, n_mfcc: int) -> None:
        super().__init__()
        self.mel = mel
        rows, bands = np.arange(n_mfcc)[:, None], np.arange(n_mels)[None]
        cosines = np.cos(np.pi * rows * (bands + 0.5) / n_mels) * np.sqrt(2 / n_mels)
        cosines[0] *= np.sqrt(0.5)
        self.register_buffer("cosines", torch.from_numpy(cosines.astype(np.float32)), persistent=False)

    def forward(self, x_bt: Tensor) -> Tensor:
        db_bmf = self.mel(x_bt)
        with torch.autocast(x_bt.device.type, enabled=False):
            out: Tensor = self.cosines @ db_bmf
            return out
