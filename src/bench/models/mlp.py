"""A perceptron on the flattened signal: the floor any model must beat, and the quickest trial of a set-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bench.models.parts import refuse_below_one
from bench.spec import InputSpec


class MLP(nn.Module):
    """(B, C, T) → flatten → one ReLU layer for each of ``hidden`` → logits (B, K)."""

    takes: ClassVar[str] = "sequence"
    flattens: ClassVar[bool] = True

    def __init__(self, spec: InputSpec, hidden: Sequence[int] = (64,), dropout: float = 0.0) -> None:
        super().__init__()
        refuse_below_one(hidden=hidden)
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(spec.shape)
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(dropout)]
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, spec.n_classes))

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.layers(x_bct)
        return out
