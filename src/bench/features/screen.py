"""HMS's device half for the whole image: bytes of two spectrograms and spans of twenty traces → pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

AT_ONCE = 2
"""Pictures a processor draws at a time: more leave its cache. Other devices draw the batch at once."""


class Screen(nn.Module):
    """(B, N) uint8 as ``HMSImage`` stores it → (B, 1, height, left + columns) float32 in [0, 1].

    N = height · left + 2 · traces · columns: the spectrograms' bytes (0 … 255 become 0 … 1), then each trace's first
    and last row a column, in a slot of 2 · pitch rows, pitch = height / traces; slot i begins at row
    (i − ½) · pitch. A pixel within a span is 1.
    """

    rows: Tensor

    def __init__(self, height: int, left: int, columns: int, traces: int) -> None:
        super().__init__()
        self.height, self.left, self.columns, self.traces = height, left, columns, traces
        self.pitch = height // traces
        self.register_buffer("rows", torch.arange(2 * self.pitch, dtype=torch.uint8)[:, None], persistent=False)

    def forward(self, x_bn: Tensor) -> Tensor:
        pictures = torch.empty(len(x_bn), 1, self.height, self.left + self.columns, device=x_bn.device)
        at_once = AT_ONCE if x_bn.device.type == "cpu" else max(len(x_bn), 1)
        slots = min(at_once, len(x_bn)), self.traces // 2, 2 * self.pitch, self.columns
        above, below = (torch.empty(slots, dtype=torch.uint8, device=x_bn.device) for _ in range(2))
        for x, into in zip(x_bn.split(at_once), pictures.split(at_once), strict=True):
            self._draw(x, into[:, 0], above[: len(x)], below[: len(x)])  # the same memory again: it is in the cache
        return pictures

    def _draw(self, x_bn: Tensor, into_bhw: Tensor, above_bsrw: Tensor, below_bsrw: Tensor) -> None:
        n = self.height * self.left
        spectrograms_bhw = x_bn[:, :n].view(-1, self.height, self.left)
        into_bhw[:, :, : self.left] = spectrograms_bhw.float().mul_(1 / 255)
        first_bsw, last_bsw = x_bn[:, n:].view(-1, 2, self.traces, self.columns).unbind(1)
        length_bsw = last_bsw - first_bsw
        # Slots of even number tile without a gap from half a pitch above the picture; so do the odd ones, one pitch
        # further down, to half a pitch below it.
        above = self._tiled(first_bsw[:, ::2], length_bsw[:, ::2], above_bsrw)
        below = self._tiled(first_bsw[:, 1::2], length_bsw[:, 1::2], below_bsrw)
        half, shared = self.pitch // 2, self.height - self.pitch
        above[:, self.pitch :].bitwise_or_(below[:, :shared])
        lines_bhw = into_bhw[:, :, self.left :]
        lines_bhw[:, : self.height - half] = above[:, half:]
        lines_bhw[:, self.height - half :] = below[:, shared : self.height - half]

    def _tiled(self, first_bsw: Tensor, length_bsw: Tensor, out_bsrw: Tensor) -> Tensor:
        """Every second trace's slots below each other: (B, height, columns) uint8, 1 in a span.

        Bytes wrap around: above a span row − first is 256 − something, and exceeds any length, as it does below one.
        """
        beyond_bsrw = torch.sub(self.rows, first_bsw[:, :, None], out=out_bsrw)
        return torch.le(beyond_bsrw, length_bsw[:, :, None], out=beyond_bsrw).flatten(1, 2)
