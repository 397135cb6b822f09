"""The raw-wave network of the Freesound write-up: eight convolutions, pooled hard, and the loudest moment decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bench.models.parts import at_least, dense, glorot, refuse_below_one
from bench.spec import InputSpec, UserError


class CNN1D(nn.Module):
    """Logits (B, K) from signals (B, C, T).

    Stage i is two ReLU convolutions of ``filters[i]`` filters over ``kernels[i]`` samples without padding; between
    stages the maximum of ``pools[i]`` samples and dropout; after the last the maximum over all time, dropout and ReLU
    layers of ``hidden`` units. 360,513 parameters for one channel and 41 classes, whatever the length.

    Source: the Freesound beginner's write-up (Keras), its initialisation included. Changed: the loss owns the
    softmax, any channel count goes in, and a signal shorter than the stack can read (1,616 samples as set; smaller
    ``pools`` lower it) gets zeros at its end.
    """

    takes: ClassVar[str] = "sequence"

    def __init__(
        self,
        spec: InputSpec,
        filters: Sequence[int] = (16, 32, 32, 256),
        kernels: Sequence[int] = (9, 3, 3, 3),
        pools: Sequence[int] = (16, 4, 4),
        hidden: Sequence[int] = (64, 1028),
        dropout: float = 0.1,
        dropout_last: float = 0.2,
    ) -> None:
        super().__init__()
        refuse_below_one(filters=filters, kernels=kernels, pools=pools, hidden=hidden)
        if not len(filters) == len(kernels) == len(pools) + 1:
            raise UserError(
                f"cnn1d got {len(filters)} filters, {len(kernels)} kernels and {len(pools)} pools: "
                "give as many kernels as filters, and a pool between each two"
            )
        stages: list[nn.Module] = []
        channels = spec.channels
        for i, (width, kernel) in enumerate(zip(filters, kernels, strict=True)):
            stages += [nn.Conv1d(channels, width, kernel), nn.ReLU(), nn.Conv1d(width, width, kernel), nn.ReLU()]
            if i < len(pools):
                stages += [nn.MaxPool1d(pools[i]), nn.Dropout(dropout)]
            channels = width
        self.stages = nn.Sequential(*stages)
        self.shortest = 2 * kernels[-1] - 1
        for kernel, pool in zip(reversed(kernels[:-1]), reversed(pools), strict=True):
            self.shortest = self.shortest * pool + 2 * (kernel - 1)
        self.head = nn.Sequential(nn.Dropout(dropout_last), dense((channels, *hidden, spec.n_classes), nn.ReLU))
        glorot(self)

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.head(self.stages(at_least(x_bct, self.shortest)).amax(2))
        return out
