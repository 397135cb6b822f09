"""HMS's device half for spectrograms: four regions of the head below each other, or as channels."""

from __future__ import annotations

from torch import Tensor

from bench.features.device.base import DeviceHalf


class Regions(DeviceHalf):
    """(B, 4, H, W) uint8 as stored → float32 in [0, 1]: stacked (B, 1, 4·H, W) or regions (B, 4, H, W)."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, x_brhw: Tensor) -> Tensor:
        scaled_brhw = x_brhw.float().mul_(1 / 255)
        return scaled_brhw.flatten(1, 2)[:, None] if self.layout == "stacked" else scaled_brhw
