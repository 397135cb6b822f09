"""InceptionTime: kernels of three lengths side by side, residual every third block; a strong default for any signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.models.parts import refuse_below_one
from bench.spec import InputSpec, UserError


class InceptionTime(nn.Module):
    """Logits (B, K) from signals (B, C, T) of any length.

    ``depth`` inception blocks of 4 × ``filters`` channels, a shortcut around each three, the mean over time, one
    linear layer. ``bottleneck`` channels enter the long kernels (only where there is more than one channel).

    Source: Fawaz et al., "InceptionTime: finding AlexNet for time series classification", 2020 (arXiv 1909.04939).
    Changed: kernels of 39, 19 and 9 samples instead of 40, 20 and 10, because an even window has no middle and would
    shift the signal by half a sample a block; and this is one network: the paper's answer is the mean of five seeds.
    """

    takes: ClassVar[str] = "sequence"

    def __init__(
        self,
        spec: InputSpec,
        filters: int = 32,
        depth: int = 6,
        kernels: Sequence[int] = (39, 19, 9),
        bottleneck: int = 32,
    ) -> None:
        super().__init__()
        refuse_below_one(filters=filters, kernels=kernels, bottleneck=bottleneck)
        if depth < 1 or any(k % 2 == 0 for k in kernels):
            raise UserError(f"inceptiontime got depth {depth} and kernels {list(kernels)}: give 1 or more and odd ones")
        width = filters * (len(kernels) + 1)
        widths = [spec.channels] + [width] * depth
        self.blocks = nn.ModuleList(Inception(widths[i], filters, kernels, bottleneck) for i in range(depth))
        self.shortcuts = nn.ModuleList(
            nn.Sequential(nn.Conv1d(widths[i - 2], width, 1, bias=False), nn.BatchNorm1d(width))
            for i in range(2, depth, 3)
        )
        self.head = nn.Linear(width, spec.n_classes)

    def forward(self, x_bct: Tensor) -> Tensor:
        past = x_bct
        for i, block in enumerate(self.blocks):
            x_bct = block(x_bct)
            if i % 3 == 2:
                past = x_bct = torch.relu(x_bct + self.shortcuts[i // 3](past))
        out: Tensor = self.head(x_bct.mean(2))
        return out


class Inception(nn.Module):
    """(B, C, T) → (B, filters × (kernels + 1), T): long kernels on a bottleneck, and the neighbours' maximum."""

    def __init__(self, channels: int, filters: int, kernels: Sequence[int], bottleneck: int) -> None:
        super().__init__()
        inner = bottleneck if channels > 1 else channels
        self.bottleneck = nn.Conv1d(channels, inner, 1, bias=False) if channels > 1 else nn.Identity()
        self.kernels = nn.ModuleList(nn.Conv1d(inner, filters, k, padding=k // 2, bias=False) for k in kernels)
        self.peaks = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(channels, filters, 1, bias=False))
        self.norm = nn.BatchNorm1d(filters * (len(kernels) + 1))

    def forward(self, x_bct: Tensor) -> Tensor:
        inner = self.bottleneck(x_bct)
        return torch.relu(self.norm(torch.cat([*(k(inner) for k in self.kernels), self.peaks(x_bct)], dim=1)))
