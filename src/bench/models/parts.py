"""What several architectures here are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec import UserError


def refuse_below_one(**options: int | Sequence[int]) -> None:
    """Refuses sizes and counts that would leave a model without layers, filters or steps, naming the option."""
    for key, value in options.items():
        if min([value] if isinstance(value, int) else value, default=1) < 1:
            shown = value if isinstance(value, int) else list(value)
            raise UserError(f"model.{key}={shown} must be 1 or more; leave it out for the model's own")


def at_least(x: Tensor, *sizes: int) -> Tensor:
    """``x`` with zeros after its end along the last ``len(sizes)`` axes that are shorter than ``sizes``.

    Convolutions without padding, and pools, need a smallest input: padding is how shorter signals get through them.
    """
    lacking = [max(0, size - have) for size, have in zip(sizes, x.shape[-len(sizes) :], strict=True)]
    return F.pad(x, [n for size in reversed(lacking) for n in (0, size)]) if any(lacking) else x


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
