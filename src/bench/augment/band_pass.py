"""Low and high frequencies taken away."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.augment.base import ExampleChange, beside, uniform
from bench.spec import UserError


class BandPass(ExampleChange):
    """Of a sequence a band of frequencies is kept, drawn for every example, with probability ``p``.

    Edges are shares of half the sampling rate: the lower one is drawn between 0 and ``low``, the upper one between
    ``high`` and 1, both uniformly, and the same for all channels. The band is cut out of the whole window's Fourier
    transform: sharply, and as if the window went on with its own beginning. A lower edge of 0 keeps the mean.
    """

    def __init__(self, low: float = 0.05, high: float = 0.5, p: float = 0.5) -> None:
        self.within(0, 1, low=low, high=high)
        if low >= high:
            raise UserError(f"augment.band_pass.low={low:g} must be below high={high:g}: nothing would be sure to stay")
        super().__init__(p)
        self.low, self.high = low, high

    def refuse(self, x: Tensor) -> None:
        self.only_sequences(x, "specaugment (which hides bands of a picture's rows)")

    def change(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        at = torch.arange(spectrum.shape[-1], device=x.device) * (2 / x.shape[-1])
        low, high = uniform(len(x), 0, self.low), uniform(len(x), self.high, 1)
        kept = (at >= beside(x, low)) & (at <= beside(x, high))
        banded: Tensor = torch.fft.irfft(spectrum * kept, n=x.shape[-1])
        return banded
