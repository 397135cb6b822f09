"""Low and high frequencies taken away."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.augment.base import beside, changed, only_sequences, uniform, within
from bench.data.batches import Batch
from bench.spec import UserError


class BandPass:
    """Of a sequence a band of frequencies is kept, drawn for every example, with probability ``p``.

    Edges are shares of half the sampling rate: the lower one is drawn between 0 and ``low``, the upper one between
    ``high`` and 1, both uniformly, and the same for all channels. The band is cut out of the whole window's Fourier
    transform: sharply, and as if the window went on with its own beginning. A lower edge of 0 keeps the mean.
    """

    def __init__(self, low: float = 0.05, high: float = 0.5, p: float = 0.5) -> None:
        within("band_pass", 0, 1, low=low, high=high, p=p)
        if low >= high:
            raise UserError(f"augment.band_pass.low={low:g} must be below high={high:g}: nothing would be sure to stay")
        self.low, self.high, self.p = low, high, p

    def refuse(self, x: Tensor) -> None:
        only_sequences("band_pass", x, "specaugment (which hides bands of a picture's rows)")

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        self.refuse(x)
        return changed(x, self.p, self._banded), batch

    def _banded(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        at = torch.arange(spectrum.shape[-1], device=x.device) * (2 / x.shape[-1])
        low, high = uniform(len(x), 0, self.low), uniform(len(x), self.high, 1)
        kept = (at >= beside(x, low)) & (at <= beside(x, high))
        return torch.fft.irfft(spectrum * kept, n=x.shape[-1])
