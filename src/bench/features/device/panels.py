"""SETI's device half: the chosen panels, their background taken off, in one of three arrangements."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from bench.features.device.base import DeviceHalf

Background = Literal["none", "mean", "median"]

SMALLEST_STD = 1e-3
"""Of a panel whose numbers have a standard deviation near 1: a dead column stays zero instead of blowing up."""


class Panels(DeviceHalf):
    """(B, 6, H, W) as stored → float32: stacked (B, 1, P·H, W), channels (B, P, H, W), sequence (B, W, P·H).

    ``on_only`` keeps panels 0, 2 and 4 (P = 3). ``background`` other than none takes each column's own level over
    the panel's time off (its mean or, less moved by a signal, its median) and divides by its standard deviation.
    """

    def __init__(self, layout: str, on_only: bool, background: Background) -> None:
        super().__init__()
        self.layout, self.on_only, self.background = layout, on_only, background

    def forward(self, x_bphw: Tensor) -> Tensor:
        if self.on_only:
            x_bphw = x_bphw[:, ::2]
        x_bphw = x_bphw.float()
        if self.background != "none":
            x_bphw = without_background(x_bphw, self.background)
        if self.layout == "channels":
            return x_bphw.contiguous()
        stacked_btf = x_bphw.flatten(1, 2)
        return stacked_btf[:, None] if self.layout == "stacked" else stacked_btf.transpose(1, 2).contiguous()


def without_background(x_bphw: Tensor, level: Literal["mean", "median"]) -> Tensor:
    """Each column of each panel as (value − level) / standard deviation, over the rows of time."""
    mean_bp1w = x_bphw.mean(2, keepdim=True)
    centred_bphw = x_bphw - mean_bp1w
    # torch.var_mean over this axis takes five times as long on a CPU
    spread_bp1w = centred_bphw.square().mean(2, keepdim=True).sqrt_().clamp_min_(SMALLEST_STD)
    if level == "median":
        median_bpw = centred_bphw.transpose(2, 3).contiguous().median(dim=3).values
        centred_bphw -= median_bpw[:, :, None]
    return centred_bphw.div_(spread_bp1w)
