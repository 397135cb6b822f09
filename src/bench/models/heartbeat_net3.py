"""Net3 of the heartbeat write-up: four convolutions, two pools by four, and a head on twelve steps of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bench.models.parts import at_least, dense, refuse_below_one
from bench.spec import InputSpec

SHORTEST = 16  # samples that two pools by four need
POOLED = 12  # what they leave of 205 samples: the steps that the head sees, whatever the length


class HeartbeatNet3(nn.Module):
    """Logits (B, K) from signals (B, C, T).

    Batch normalisation of the input; convolutions of 32, 64, 128, 256 filters with a normalisation after the first,
    the second (pooled) and the third; layers of ``hidden`` units. 3,425,158 parameters for one channel and four
    classes, whatever the length.

    Source: the heartbeat write-up (168 points), which does not run as printed: its forward names ``self.relu``, and
    only a LeakyReLU (``self.re``) was made, so that is what stands there now. Also changed: the loss owns the softmax,
    any channel count goes in, a signal shorter than 16 samples gets zeros at its end, and the maximum of each of
    twelve parts follows the last pool (it leaves 205 samples as they were).
    """

    takes: ClassVar[str] = "sequence"

    def __init__(self, spec: InputSpec, hidden: Sequence[int] = (1024, 128), dropout: float = 0.1) -> None:
        super().__init__()
        refuse_below_one(hidden=hidden)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(spec.channels),
            *(nn.Conv1d(spec.channels, 32, 11, padding=5), nn.LeakyReLU(), nn.BatchNorm1d(32)),
            *(nn.Conv1d(32, 64, 11, padding=5), nn.LeakyReLU(), nn.MaxPool1d(4), nn.BatchNorm1d(64)),
            *(nn.Conv1d(64, 128, 3, padding=1), nn.LeakyReLU(), nn.BatchNorm1d(128)),
            *(nn.Conv1d(128, 256, 3, padding=1), nn.LeakyReLU(), nn.MaxPool1d(4)),
            *(nn.AdaptiveMaxPool1d(POOLED), nn.Dropout(dropout), nn.Flatten()),
        )
        self.head = dense((256 * POOLED, *hidden, spec.n_classes), nn.LeakyReLU)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(at_least(x_bct, SHORTEST)))
        return out
