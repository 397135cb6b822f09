"""ROCKET: thousands of random kernels that are never trained, and one linear layer that is; for few rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.models.parts import Standardised, at_least, refuse_below_one
from bench.spec import InputSpec

LENGTHS = (7, 9, 11)


class Rocket(nn.Module):
    """Logits (B, K) from signals (B, C, T) of any length.

    Each channel is brought to mean 0 and deviation 1 (``normalise``; without it the biases, drawn from [−1, 1], are in
    the signal's own unit), goes through ``kernels`` random convolutions, and of each one's output two numbers remain:
    its maximum, and the share of it above 0. They are standardised by what the training rows of the fold show, measured
    once, and go through one linear layer, the only thing that is trained. A kernel looks at 1 to min(C, its length)
    channels, drawn so that few are likely. Each fold draws its own kernels, which are part of its weights.

    Source: Dempster, Petitjean and Webb, "ROCKET: exceptionally fast and accurate time series classification using
    random convolutional kernels", 2020 (arXiv 1910.13051).
    Changed: lengths, dilations and paddings take turns instead of being drawn, so that kernels of one kind are one
    convolution; and the layer is trained by gradient, as the paper does for large sets, where for small ones it solves
    a ridge regression: so every loss, weight and soft target works.
    """

    takes: ClassVar[str] = "sequence"

    def __init__(self, spec: InputSpec, kernels: int = 2000, normalise: bool = True) -> None:
        super().__init__()
        refuse_below_one(kernels=kernels)
        self.normalise = normalise
        self.kinds = list(_kinds(spec.size[-1]))[:kernels]  # fewer kernels than kinds: the first kinds alone
        counts = [len(range(i, kernels, len(self.kinds))) for i in range(len(self.kinds))]
        for i, ((length, _, _), count) in enumerate(zip(self.kinds, counts, strict=True)):
            self.register_buffer(f"kernel_{i}", _drawn(count, spec.channels, length))
        self.register_buffer("bias", torch.rand(kernels) * 2 - 1)
        self.bias: Tensor
        self.norm = Standardised(2 * kernels)
        self.head = nn.Linear(2 * kernels, spec.n_classes)
        nn.init.zeros_(self.head.weight)  # where rows are fewer than numbers, what a layer starts with remains in it
        nn.init.zeros_(self.head.bias)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(self.numbers(x_bct)))
        return out

    def numbers(self, x_bct: Tensor) -> Tensor:
        """(B, 2 × kernels): each kernel's share above 0, then each one's maximum."""
        if self.normalise:
            x_bct = x_bct - x_bct.mean(2, keepdim=True)
            x_bct = x_bct / x_bct.std(2, keepdim=True, correction=0).clamp_min(1e-6)
        maxima, shares, at = [], [], 0
        for i, (length, dilation, padding) in enumerate(self.kinds):
            kernel = self.get_buffer(f"kernel_{i}")
            enough = at_least(x_bct, (length - 1) * dilation + 1 - 2 * padding)
            y_bnt = nn.functional.conv1d(enough, kernel, self.bias[at : at + len(kernel)], 1, padding, dilation)
            maxima.append(y_bnt.amax(2))
            shares.append((y_bnt > 0).to(y_bnt.dtype).mean(2))
            at += len(kernel)
        return torch.cat(shares + maxima, 1)


def _kinds(samples: int) -> Iterator[tuple[int, int, int]]:
    """(length, dilation, padding) of all kinds of kernels that fit a signal, the paper's ranges by octaves."""
    dilation = 1
    while dilation == 1 or dilation * (min(LENGTHS) - 1) < samples:
        for length in LENGTHS:
            if dilation == 1 or dilation * (length - 1) < samples:
                yield length, dilation, dilation * (length - 1) // 2
                yield length, dilation, 0
        dilation *= 2


def _drawn(count: int, channels: int, length: int) -> Tensor:
    """(count, C, length) normal weights of mean 0 in each channel that a kernel looks at, 0 in the others."""
    weight = torch.randn(count, channels, length)
    weight -= weight.mean(2, keepdim=True)
    most = min(channels, length)
    looked_at = (2 ** (torch.rand(count) * torch.log2(torch.tensor(most + 1.0)))).long().clamp(1, most)
    order = torch.rand(count, channels).argsort(1).argsort(1)
    return weight * (order < looked_at[:, None])[:, :, None]
