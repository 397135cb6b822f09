"""Net5 of the heartbeat write-up: six small convolutions and a head of 108 million parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bench.models.parts import at_least, dense, refuse_below_one
from bench.spec import InputSpec

SHORTEST = 8  # samples that three halvings need
POOLED = 25  # what they leave of 205 samples: the steps that the head sees, whatever the length


class HeartbeatNet5(nn.Module):
    """Logits (B, K) from signals (B, C, T).

    Convolutions over 3 samples of 16 … 512 filters, normalised, each second one followed by a halving of the time;
    layers of ``hidden`` units. 108,064,452 parameters for one channel and four classes, whatever the length: Adam
    keeps 1.3 GB beside 0.4 GB of weights.

    Source: the heartbeat write-up (168 points). Changed: the loss owns the softmax, any channel count goes in, a
    signal shorter than 8 samples gets zeros at its end, and the maximum of each of 25 parts follows the last halving
    (it leaves 205 samples as they were).
    """

    takes: ClassVar[str] = "sequence"

    def __init__(self, spec: InputSpec, hidden: Sequence[int] = (6400, 3200, 1600)) -> None:
        super().__init__()
        refuse_below_one(hidden=hidden)
        layers: list[nn.Module] = []
        channels = spec.channels
        for i, width in enumerate((16, 32, 64, 128, 256, 512)):
            layers += [nn.Conv1d(channels, width, 3, padding=1), nn.BatchNorm1d(width), nn.ReLU()]
            layers += [nn.MaxPool1d(2)] if i % 2 else []
            channels = width
        self.layers = nn.Sequential(*layers, nn.AdaptiveMaxPool1d(POOLED), nn.Flatten())
        self.head = dense((channels * POOLED, *hidden, spec.n_classes), nn.ReLU)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(at_least(x_bct, SHORTEST)))
        return out
