"""HMS's device half for the whole image: bytes of two spectrograms and bits of twenty traces → pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.features.device.base import DeviceHalf

BITS = 8
"""Pixels of a line a byte, the leftmost first."""


class Screen(DeviceHalf):
    """(B, N) uint8 as ``HMSImage`` stores it → (B, 1, height, left + columns) float32 in [0, 1].

    N is height · left bytes of spectrograms (0 … 255 become 0 … 1), then of each block of ``blocks[i]`` neighbouring
    traces (blocks[i] + 1) · pitch rows of ⌈columns / 8⌉ bytes, a pixel a bit. ``traces`` of them are drawn, the rest
    is kept for the other side; pitch = height / traces. A block reaches half a pitch beyond its traces' share of the
    height on either side, where it overlaps with its neighbours. What would stand above or below the picture is held
    at its edge.
    """

    masks: Tensor

    def __init__(self, height: int, left: int, columns: int, traces: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.height, self.left, self.columns = height, left, columns
        self.pitch, self.line = height // traces, -(-columns // BITS)
        self.drawn = [block for block, until in zip(blocks, accumulate(blocks), strict=True) if until <= traces]
        masks = torch.tensor([128 >> i for i in range(BITS)], dtype=torch.uint8)
        self.register_buffer("masks", masks, persistent=False)

    def forward(self, x_bn: Tensor) -> Tensor:
        shape, dtype = (1, self.height, self.left + self.columns), torch.bfloat16 if self.narrow else torch.float32
        pictures = torch.empty(x_bn.shape[0], *shape, dtype=dtype, device=x_bn.device)
        n = self.height * self.left
        spectrograms_bn, blocks_brw = x_bn[:, :n], x_bn[:, n:].unflatten(1, (-1, self.line))
        looked_up = x_bn.is_cpu and not torch.compiler.is_exporting()  # numpy is in no graph
        if looked_up and self.left % BITS == 0 and self.columns % BITS == 0:
            self._look_up(spectrograms_bn, blocks_brw, pictures)
            return pictures
        lines_bhw = self._merged(blocks_brw, blocks_brw.new_empty(x_bn.shape[0], self.height + self.pitch, self.line))
        pictures[:, 0, :, : self.left] = spectrograms_bn.unflatten(1, (self.height, self.left)).float().mul_(1 / 255)
        pictures[:, 0, :, self.left :] = (lines_bhw[..., None] & self.masks).ne_(0).flatten(2)[..., : self.columns]
        return pictures

    def _merged(self, blocks: Any, into: Any) -> Any:
        """The blocks' rows (..., R, W), arrays or tensors, each below the other, or-ed where they overlap.

        They become (..., height, W) in ``into``, which has half a pitch more on either side.
        """
        pitch, half = self.pitch, self.pitch // 2
        start = at = 0
        for traces in self.drawn:
            block = blocks[..., start : start + (traces + 1) * pitch, :]
            if at:
                into[..., at : at + pitch, :] |= block[..., :pitch, :]
            first = pitch if at else 0
            into[..., at + first : at + (traces + 1) * pitch, :] = block[..., first:, :]
            start, at = start + (traces + 1) * pitch, at + traces * pitch
        outside, edge = 0, half
        while outside < edge:  # half of what is left above the picture joins the other half, at last the first row
            n = (edge - outside + 1) // 2
            into[..., edge + 1 - n : edge + 1, :] |= into[..., outside : outside + n, :]
            outside += n
        edge, outside = half + self.height - 1, self.height + pitch
        while outside > edge + 1:
            n = (outside - edge) // 2
            into[..., edge : edge + n, :] |= into[..., outside - n : outside, :]
            outside -= n
        return into[..., half : half + self.height, :]

    def _look_up(self, spectrograms_bn: Tensor, blocks_brw: Tensor, into_b1hw: Tensor) -> None:
        """Draws on a processor: eight pixels at a time are copied from a table, each byte's and the spectrograms' own.

        So every pixel is written once, in order, which takes no longer than filling the pictures with a constant.
        """
        height, left = self.height, self.left // BITS
        table = torch.empty(256 + height * left, BITS, dtype=into_b1hw.dtype)
        table[:256] = (torch.arange(256, dtype=torch.uint8)[:, None] & self.masks).ne(0)
        entries = np.empty((height, left + self.line), np.intp)
        entries[:, :left] = 256 + np.arange(height * left).reshape(height, left)
        lines_hw = np.empty((height + self.pitch, self.line), np.uint8)
        eights = _in_numpy(into_b1hw.view(-1, *entries.shape, BITS))
        for x_n, blocks_rw, pixels in zip(spectrograms_bn, blocks_brw.numpy(), eights, strict=True):
            table[256:].view(-1).copy_(x_n.float().mul_(1 / 255))
            entries[:, left:] = self._merged(blocks_rw, lines_hw)
            np.take(
                _in_numpy(table), entries, axis=0, out=pixels, mode="clip"
            )  # another mode would draw it elsewhere first


def _in_numpy(values: Tensor) -> np.ndarray:
    """The same memory; numpy has no bfloat16, and to copy it needs to know how wide it is."""
    array: np.ndarray = (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy()
    return array
