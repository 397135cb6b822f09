"""Net2 of the heartbeat write-up: three kernel widths side by side, added, then two convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bench.models.parts import at_least, dense, refuse_below_one
from bench.spec import InputSpec

SHORTEST = 9  # samples that the convolutions without padding need
POOLED = 4  # steps of time that the head sees, whatever the length


class HeartbeatNet2(nn.Module):
    """Logits (B, K) from signals (B, C, T).

    The sum of convolutions over 7, 11 and 17 samples (each padded to T + 4), normalised; 64 filters over 11 and 128
    over 3 samples; the maximum of each of four parts; layers of ``hidden`` units. 447,556 parameters for one channel
    and four classes, whatever the length.

    Source: the heartbeat write-up (168 points). Changed: the loss owns the softmax, any channel count goes in, a
    signal shorter than 9 samples gets zeros at its end, and two activations that change nothing are left out (a
    LeakyReLU before a ReLU, another on what a ReLU gave).
    """

    takes: ClassVar[str] = "sequence"

    def __init__(self, spec: InputSpec, hidden: Sequence[int] = (256, 1024), dropout: float = 0.1) -> None:
        super().__init__()
        refuse_below_one(hidden=hidden)
        self.views = nn.ModuleList(
            nn.Conv1d(spec.channels, 32, kernel, padding=padding) for kernel, padding in ((7, 5), (11, 7), (17, 10))
        )
        self.layers = nn.Sequential(
            *(nn.BatchNorm1d(32), nn.ReLU()),
            *(nn.Conv1d(32, 64, 11), nn.BatchNorm1d(64), nn.ReLU()),
            *(nn.Conv1d(64, 128, 3), nn.BatchNorm1d(128), nn.ReLU()),
            *(nn.AdaptiveMaxPool1d(POOLED), nn.Flatten(), nn.Dropout(dropout)),
        )
        self.head = dense((128 * POOLED, *hidden, spec.n_classes), nn.LeakyReLU)

    def forward(self, x_bct: Tensor) -> Tensor:
        x_bct = at_least(x_bct, SHORTEST)
        seven, eleven, seventeen = (view(x_bct) for view in self.views)
        out: Tensor = self.head(self.layers(seven + eleven + seventeen))
        return out
