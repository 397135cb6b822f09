"""The convolutional networks that audio tagging reaches for: pairs of 3 × 3 convolutions, pooled over the picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from bench.models.parts import refuse_below_one
from bench.models.resizer import in_front
from bench.spec import InputSpec


class PANNs(nn.Module):
    """Logits (B, K) from images (B, C, H, W), rows of frequency and columns of time.

    A block is two 3 × 3 convolutions with batch norm and ReLU, then the mean of 2 × 2 (left out where a side is 1) and
    dropout. Rows are averaged; over columns the mean and the maximum are added, so that a short sound counts as well
    as a long one. Then a hidden layer as wide as the last block. ``filters`` [64, 128, 256, 512] is the published
    CNN10. ``resizer``: the (height, width) that a learned resizer makes of every image first.

    Source: Kong et al. 2020, "PANNs" (arXiv 1912.10211).
    """

    takes: ClassVar[str] = "image"

    def __init__(
        self,
        spec: InputSpec,
        filters: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.2,
        dropout_last: float = 0.5,
        resizer: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        refuse_below_one(filters=filters)
        self.resizer, spec = in_front(spec, resizer)
        blocks: list[nn.Module] = []
        height, width = spec.size
        for channels, out in pairwise([spec.channels, *filters]):
            blocks += [*_convolution(channels, out), *_convolution(out, out)]
            pool = (min(2, height), min(2, width))
            blocks += [nn.AvgPool2d(pool), nn.Dropout(dropout)]
            height, width = height // pool[0], width // pool[1]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Dropout(dropout_last),
            nn.Linear(filters[-1], filters[-1]),
            nn.ReLU(),
            nn.Dropout(dropout_last),
            nn.Linear(filters[-1], spec.n_classes),
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        x_bcw = self.blocks(self.resizer(x_bchw)).mean(2)
        out: Tensor = self.head(x_bcw.mean(2) + x_bcw.amax(2))
        return out


def _convolution(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
