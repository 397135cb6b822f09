"""What several architectures here are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec import UserError


def refuse_below_one(**options: int | Sequence[int]) -> None:
    """Refuses sizes and counts that would leave a model without layers, filters or steps, naming the option."""
    for key, value in options.items():
        if min([value] if isinstance(value, int) else value, default=1) < 1:
            setting = value if isinstance(value, int) else list(value)
            raise UserError(f"model.{key}={setting} must be 1 or more; leave it out for the model's own")


def at_least(x: Tensor, *sizes: int) -> Tensor:
    """``x`` with zeros after its end along the last ``len(sizes)`` axes that are shorter than ``sizes``.

    Convolutions without padding, and pools, need a smallest input: padding is how shorter signals get through them.
    """
    padding = [max(0, size - have) for size, have in zip(sizes, x.shape[-len(sizes) :], strict=True)]
    return F.pad(x, [n for size in reversed(padding) for n in (0, size)]) if any(padding) else x


def dense(sizes: Sequence[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Linear layers from ``sizes[0]`` features to ``sizes[-1]``, with ``activation`` between them."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1])


def glorot(model: nn.Module) -> None:
    """Keras' own start: Glorot-uniform weights, zero biases."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Standardised(nn.BatchNorm1d):
    """Numbers (B, C), or (B, C, T), that nothing before trains, brought to mean 0 and deviation 1 channel by channel.

    By what the training side shows: measured once, before training, over all its rows (``training/batch_statistics``);
    from then on every row is standardised alike, in training too, whatever its batch.
    """

    measured_once: ClassVar[bool] = True

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)
