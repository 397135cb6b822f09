"""Pictures of short signals, frequencies × time, of whole batches: Morlet wavelets and Fourier windows.

Both read a signal as if it were mirrored at its ends: zeros, or its own other end, would put an edge there. Both
answer in decibels below the example's own largest value, so that a signal's unit and gain don't matter, and have the
highest frequency on top. Shape suffixes: b examples, t samples, s scales, k frequency bins, f frames.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

AT_ONCE = 8
"""Examples a processor transforms at a time: the spectra of 64 scales of them still fit its cache."""

OMEGA_0 = 6.0
"""Radians of the Morlet wavelet's oscillation within one standard deviation of its envelope."""

SMALLEST = 1e-8
"""Of a signal's largest value, squared: what is weaker everywhere is not brought up to 0 dB."""


class Scalogram(nn.Module):
    """(B, T) samples of any type → (B, ``n_scales``, ``width`` or T) float32 decibels.

    Row s is the power of the continuous wavelet transform at the s-th of ``frequencies``; ``width`` columns are
    resampled from the T (antialiased), None leaves one a sample. Always float32, also under autocast.
    """

    def __init__(self, n_scales: int, lowest: float, highest: float, top_db: float, width: int | None = None) -> None:
        super().__init__()
        self.n_scales, self.lowest, self.highest, self.top_db, self.width = n_scales, lowest, highest, top_db, width

    def forward(self, x_bt: Tensor) -> Tensor:
        with torch.autocast(x_bt.device.type, enabled=False):
            x_bt = x_bt.float()
            if x_bt.is_cuda or torch.compiler.is_exporting():  # a graph of any batch size has no number of parts
                return decibels(self.power(x_bt), x_bt, self.top_db)
            return decibels(torch.cat([self.power(part) for part in x_bt.split(AT_ONCE)]), x_bt, self.top_db)

    def power(self, x_bt: Tensor) -> Tensor:
        """(B, T) float32 → (B, S, width), before the logarithm."""
        length = x_bt.shape[1]
        spectra_sk2 = morlet(length, self.n_scales, self.lowest, self.highest, x_bt.device)
        # Real and imaginary parts as a last axis, since ONNX knows no complex numbers.
        z_bk2 = torch.view_as_real(torch.fft.fft(mirrored(x_bt, spectra_sk2.shape[1])))
        w_bst = torch.fft.ifft(torch.view_as_complex(z_bk2[:, None] * spectra_sk2))
        real_bst, imaginary_bst = torch.view_as_real(w_bst)[..., :length, :].unbind(-1)
        power_bst = real_bst.square() + imaginary_bst.square()
        if self.width in (None, length):
            return power_bst
        size = (self.n_scales, self.width)
        return F.interpolate(power_bst[:, None], size, mode="bilinear", align_corners=False, antialias=True)[:, 0]


def frequencies(length: int, n_scales: int, lowest: float, highest: float) -> np.ndarray:
    """(S,) cycles a sample, evenly spaced in their logarithm, ``highest`` first.

    ``lowest`` is in cycles a signal of ``length`` samples: the slowest wave of which it holds so many.
    """
    return np.geomspace(highest, lowest / length, n_scales)


def mirrored(x_bt: Tensor, period: int) -> Tensor:
    """(B, T) → (B, period): the signal, its last value held, the signal backwards, its first value held.

    What is held fills a mirrored signal of 2 T samples up to ``period``.
    """
    held = period - 2 * x_bt.shape[1]
    last, first = x_bt[:, -1:].expand(-1, held // 2), x_bt[:, :1].expand(-1, held - held // 2)
    return torch.cat((x_bt, last, x_bt.flip(1), first), 1)


@lru_cache(maxsize=8)
def morlet(length: int, n_scales: int, lowest: float, highest: float, device: torch.device) -> Tensor:
    """(S, K, 2) float32: the spectra of analytic Morlet wavelets over ``torch.fft.fft``'s bins, which are real, twice.

    2 exp(−(scale · ω − 6)² / 2) for ω > 0, else 0: a sine of amplitude 1 shows 1 at its own frequency, whatever that
    is. Source: Torrence and Compo, "A practical guide to wavelet analysis", 1998 (table 1), there scaled to equal
    energy, which would favour low frequencies. Kept: made anew, it would make the device wait in every step.
    """
    omega_k = 2 * np.pi * np.fft.fftfreq(quick_length(2 * length))
    scale_s = OMEGA_0 / (2 * np.pi * frequencies(length, n_scales, lowest, highest))
    spectra_sk = 2 * np.exp(-0.5 * (scale_s[:, None] * omega_k[None] - OMEGA_0) ** 2) * (omega_k > 0)
    return torch.from_numpy(spectra_sk.astype(np.float32)).to(device)[..., None].repeat(1, 1, 2)


def quick_length(n: int) -> int:
    """The first length from ``n`` on that has no prime factor above 5: 432 is seven times as quick as 2 × 205."""
    rest = n
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return n if rest == 1 else quick_length(n + 1)


class Spectrogram(nn.Module):
    """(B, T) samples of any type → (B, 1 + ``n_fft`` // 2, 1 + T // ``hop``) float32 decibels.

    Power of the Fourier transforms of Hann windows of ``window`` samples (even, at most 2 T), one around each
    ``hop``-th sample, zeros behind them up to ``n_fft``: more rows from as many samples. A sine of amplitude 1 shows
    about 1 at its own frequency. Always float32, also under autocast.
    """

    hann: Tensor

    def __init__(self, window: int, hop: int, n_fft: int, top_db: float) -> None:
        super().__init__()
        self.hop, self.n_fft, self.top_db = hop, n_fft, top_db
        hann = torch.hann_window(window, dtype=torch.float64)
        self.register_buffer("hann", (hann * (2 / hann.sum())).float(), persistent=False)

    def forward(self, x_bt: Tensor) -> Tensor:
        with torch.autocast(x_bt.device.type, enabled=False):
            x_bt, window = x_bt.float(), len(self.hann)
            before, after = x_bt[:, : window // 2].flip(1), x_bt[:, x_bt.shape[1] - window // 2 :].flip(1)
            frames_bft = torch.cat((before, x_bt, after), 1).unfold(1, window, self.hop) * self.hann
            power_bfk = torch.fft.rfft(frames_bft, self.n_fft).abs().square_()
            return decibels(power_bfk.transpose(1, 2).flip(1), x_bt, self.top_db)


def decibels(power_bst: Tensor, x_bt: Tensor, top_db: float) -> Tensor:
    """10 log10 of each example's power by its own largest: from 0 down to −``top_db``, where it is cut off.

    The largest counts as at least ``SMALLEST`` of the signal's own: of one that never changes, only rounding is left.
    """
    largest_b = torch.maximum(power_bst.amax((1, 2)), SMALLEST * x_bt.square().amax(1)).clamp_min_(1e-30)
    return (power_bst / largest_b[:, None, None]).clamp_min_(10 ** (-top_db / 10)).log10_().mul_(10)
