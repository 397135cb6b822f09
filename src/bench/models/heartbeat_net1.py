"""Net1 of the heartbeat write-up: strided convolutions, the last one dilated, and three linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bench.models.parts import at_least, dense, refuse_below_one
from bench.spec import InputSpec

SHORTEST = 186  # samples that the strided and dilated kernels need to see anything
POOLED = 4  # steps of time that the head sees, whatever the length


class HeartbeatNet1(nn.Module):
    """Logits (B, K) from signals (B, C, T).

    Batch normalisation of the input, convolutions of 64, 128, 256, 256 filters (strides 1, 5, 3, 1; the last over 21
    samples, every other one), the maximum of each of four parts, dropout, layers of ``hidden`` units. 1,306,118
    parameters for one channel and four classes, whatever the length.

    Source: the heartbeat write-up (168 points). Changed: the loss owns the softmax, any channel count goes in, and a
    signal shorter than 186 samples gets zeros at its end (as the competition's own beats do). As printed, 205 samples
    leave two steps of time, which the pool to four repeats.
    """

    takes: ClassVar[str] = "sequence"

    def __init__(self, spec: InputSpec, hidden: Sequence[int] = (256, 128), dropout: float = 0.5) -> None:
        super().__init__()
        refuse_below_one(hidden=hidden)
        self.layers = nn.Sequential(
            *(nn.BatchNorm1d(spec.channels), nn.Conv1d(spec.channels, 64, 11, padding=5), nn.LeakyReLU()),
            *(nn.Conv1d(64, 128, 11, stride=5), nn.BatchNorm1d(128), nn.LeakyReLU()),
            *(nn.Conv1d(128, 256, 6, stride=3), nn.BatchNorm1d(256), nn.LeakyReLU()),
            *(nn.Conv1d(256, 256, 11, padding=5, dilation=2), nn.BatchNorm1d(256), nn.LeakyReLU()),
            *(nn.AdaptiveMaxPool1d(POOLED), nn.Dropout(dropout), nn.Flatten()),
        )
        self.head = dense((256 * POOLED, *hidden, spec.n_classes), nn.LeakyReLU)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(at_least(x_bct, SHORTEST)))
        return out
