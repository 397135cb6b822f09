"""A learned resizer: what a network should see of an image that is too large for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec import InputSpec, UserError


def in_front(
    spec: InputSpec, size: Sequence[int] | None, filters: int = 16, blocks: int = 1
) -> tuple[nn.Module, InputSpec]:
    """A resizer to ``size`` (height, width), or nothing for None; and the spec of what comes out of it."""
    if size is None:
        return nn.Identity(), spec
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"model.resizer={list(size)} is not a size; give [height, width] or null")
    return Resizer(spec.channels, size, filters, blocks), replace(spec, size=tuple(size))


class Resizer(nn.Module):
    """(B, C, H, W) → (B, C, *size), trained with the network behind it.

    7 × 7 and 1 × 1 convolutions, bilinear resize, ``blocks`` residual blocks, a shortcut around them, 7 × 7; the
    input, resized plainly, is added at the end.

    Source: Talebi and Milanfar, "Learning to resize images for computer vision tasks", 2021 (arXiv 2103.09950), as
    used by the SETI write-up. Changed: both resizes are antialiased, because a plain bilinear one gives half of 1,638
    rows no weight on the way to 384 (faint lines vanish); and as many channels come out as go in.
    """

    def __init__(self, channels: int, size: Sequence[int], filters: int = 16, blocks: int = 1) -> None:
        super().__init__()
        self.size = tuple(size)
        self.before = nn.Sequential(
            *(nn.Conv2d(channels, filters, 7, padding=3), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(filters, filters, 1), nn.LeakyReLU(0.2), nn.BatchNorm2d(filters)),
        )
        self.blocks = nn.Sequential(*(Residual(filters) for _ in range(blocks)))
        self.middle = nn.Sequential(nn.Conv2d(filters, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters))
        self.after = nn.Conv2d(filters, channels, 7, padding=3)

    def forward(self, x_bchw: Tensor) -> Tensor:
        small = self.resize(self.before(x_bchw))
        out: Tensor = self.after(small + self.middle(self.blocks(small))) + self.resize(x_bchw)
        return out

    def resize(self, x_bchw: Tensor) -> Tensor:
        # in float32, because a CPU has no antialiased resize of bf16
        small = F.interpolate(x_bchw.float(), self.size, mode="bilinear", align_corners=False, antialias=True)
        return small.to(x_bchw.dtype)


class Residual(nn.Module):
    """Two 3 × 3 convolutions around a skip."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(filters, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(filters, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters)),
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        out: Tensor = x_bchw + self.layers(x_bchw)
        return out
