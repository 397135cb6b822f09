"""Net6 of the heartbeat write-up: three bottlenecks on the raw trace, pooled to four steps, and a wide head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from bench.models.parts import refuse_below_one
from bench.spec import InputSpec

POOLED = 4  # steps of time that the head sees, whatever the length


class ResNet1D(nn.Module):
    """Logits (B, K) from signals (B, C, T) of any length.

    A convolution over ``kernel_size`` samples and a pool that halves the length, ``blocks`` bottlenecks of
    ``width`` → ``out_width`` channels, the mean of each quarter of the time, dropout, and a head with two hidden
    layers. The write-up ends in a softmax and reads a single channel; here the loss owns the softmax and any channel
    count goes in. A batch of one cannot be trained on (batch normalisation of the head), only predicted.
    """

    takes: ClassVar[str] = "sequence"

    def __init__(
        self,
        spec: InputSpec,
        width: int = 64,
        out_width: int = 256,
        blocks: int = 3,
        kernel_size: int = 11,
        hidden: Sequence[int] = (1024, 256),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        refuse_below_one(width=width, out_width=out_width, blocks=blocks, kernel_size=kernel_size, hidden=hidden)
        widths = [width] + [out_width] * blocks
        self.stem = nn.Sequential(
            nn.Conv1d(spec.channels, width, kernel_size, padding=kernel_size // 2),
            nn.MaxPool1d(3, stride=2, padding=1),
        )
        self.blocks = nn.Sequential(*(Bottleneck(a, width, b) for a, b in pairwise(widths)))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool1d(POOLED), nn.Dropout(dropout), nn.Flatten())
        head: list[nn.Module] = []
        features = widths[-1] * POOLED
        for size in hidden:
            head += [nn.Linear(features, size), nn.BatchNorm1d(size), nn.LeakyReLU()]
            features = size
        self.head = nn.Sequential(*head, nn.Linear(features, spec.n_classes))

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.head(self.pool(self.blocks(self.stem(x_bct))))
        return out


class Bottleneck(nn.Module):
    """1 → 3 → 1 convolutions around a skip; as in the write-up, nothing is activated after the addition."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv1d(inputs, middle, 1), nn.BatchNorm1d(middle), nn.LeakyReLU()),
            *(nn.Conv1d(middle, middle, 3, padding=1), nn.BatchNorm1d(middle), nn.LeakyReLU()),
            *(nn.Conv1d(middle, outputs, 1), nn.BatchNorm1d(outputs), nn.LeakyReLU()),
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.layers(x_bct) + self.skip(x_bct)
        return out
