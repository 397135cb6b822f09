"""Bands of time and frequency hidden."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.augment.base import ExampleChange


class SpecAugment(ExampleChange):
    """Bands of an image's rows (frequency) and columns (time) become ``value``; a sequence has columns alone.

    Each of ``rows`` and ``columns`` bands is up to ``row_share`` and ``column_share`` of the side wide, its width and
    place drawn for every example and band. With probability ``p`` an example is changed at all. 0 is the mean of
    standardised features. Source: Park et al. 2019 (arXiv 1904.08779), without its warping of time.
    """

    def __init__(
        self,
        rows: int = 1,
        columns: int = 1,
        row_share: float = 0.1,
        column_share: float = 0.1,
        value: float = 0.0,
        p: float = 1.0,
    ) -> None:
        self.within(0, 1, row_share=row_share, column_share=column_share)
        self.within(0, math.inf, rows=rows, columns=columns)
        super().__init__(p)
        self.rows, self.columns, self.value = rows, columns, value
        self.row_share, self.column_share = row_share, column_share

    def change(self, x: Tensor) -> Tensor:
        hidden = self._bands(x, x.shape[-1], self.columns, self.column_share)[:, None]  # (B, 1, T)
        if x.ndim == 4:
            rows = self._bands(x, x.shape[-2], self.rows, self.row_share)
            hidden = hidden[:, :, None] | rows[:, None, :, None]
        return x.masked_fill(hidden, self.value)

    @staticmethod
    def _bands(x: Tensor, size: int, count: int, share: float) -> Tensor:
        """(B, size) bool: True inside any of ``count`` bands an example."""
        width_nk = torch.randint(0, math.floor(share * size) + 1, (len(x), count, 1))
        first_nk = (torch.rand(len(x), count, 1) * (size - width_nk + 1)).floor()
        first, end = (edge.to(x.device, non_blocking=True) for edge in (first_nk, first_nk + width_nk))
        at = torch.arange(size, device=x.device)
        return ((at >= first) & (at < end)).any(1)
