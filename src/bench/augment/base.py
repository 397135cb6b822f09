"""Changes to a training batch, on the device, batched: (x, batch, progress) → (x, batch).

x is the model's input, (B, C, T) or (B, C, H, W) float32, after the features' device half; ``progress`` is the share of
the training that is done, 0 to 1. What is given is never changed in place: it may be rows that are held on the device.
Targets stay distributions. Validation and test rows never come here.

Randomness is torch's own, which every epoch seeds: same seed, same batches. It is drawn for every example, on the
processor, and only a few numbers an example go to the device: nothing waits for it, and how many examples are changed
is known without asking.

A part has these where they differ from what is usual:
- ``mixes = True``: it changes targets (mixup, cutmix);
- ``on_stored = True``: it is called with the gathered stored batch, before the features' device half (left_right);
- ``refuse(x)``: raises the UserError that says why it can't work on such an input and what to choose instead.

The parts are torch's own operations: kornia's (0.9) know pictures alone, so that sequences would need these all the
same, and took 1.1 to 2.6 times as long on a processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from bench.data.batches import Batch
from bench.spec import UserError

Augment = Callable[[Tensor, Batch, float], tuple[Tensor, Batch]]


class InTurn:
    """The parts one after the other, in the order of the command line."""

    def __init__(self, parts: Iterable[Augment]) -> None:
        self.parts = list(parts)

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        for part in self.parts:
            x, batch = part(x, batch, progress)
        return x, batch


def in_turn(parts: Iterable[Augment], on_stored: bool) -> Augment | None:
    """The parts that work on the stored batch, or those that don't, as one; None where there are none."""
    chosen = [part for part in parts if getattr(part, "on_stored", False) == on_stored]
    return InTurn(chosen) if chosen else None


def changed(x: Tensor, p: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    """x with ``change`` done to some of its examples, each chosen with probability ``p``; of the same shape.

    ``change`` gets the chosen examples alone, so the others cost a copy at most; x itself where none is chosen.
    """
    rows = (torch.rand(len(x)) < p).nonzero()[:, 0]
    if len(rows) == 0:
        return x
    if len(rows) == len(x):
        return change(x)
    index = rows.to(x.device, non_blocking=True)
    return x.index_copy(0, index, change(x.index_select(0, index)))


def uniform(n: int, low: float, high: float) -> Tensor:
    """(n,) on the processor."""
    return torch.rand(n) * (high - low) + low


def beside(x: Tensor, value_b: Tensor) -> Tensor:
    """A number an example, (B,), on x's device and with as many axes as x has, to be multiplied or compared with it."""
    return value_b.to(x.device, non_blocking=True).view(-1, *[1] * (x.ndim - 1))


def spread(x: Tensor) -> Tensor:
    """Standard deviation of each example over its channels and places, (B, 1, 1) or (B, 1, 1, 1)."""
    flat = x.flatten(1)
    mean_b = flat.mean(1)
    square_b = torch.linalg.vector_norm(flat, dim=1).square() / flat.shape[1]
    return (square_b - mean_b.square()).clamp_min(0).sqrt().view(-1, *[1] * (x.ndim - 1))


def within(name: str, low: float, high: float, /, **options: float) -> None:
    """UserError for an option of ``augment.<name>`` outside low … high; ``high`` may be infinite, an option not."""
    for key, value in options.items():
        if not low <= value <= high or math.isinf(value):
            limits = f"be a number of {low:g} or more" if math.isinf(high) else f"lie between {low:g} and {high:g}"
            raise UserError(f"augment.{name}.{key}={value:g} must {limits}")


def only_images(name: str, x: Tensor, instead: str) -> None:
    if x.ndim != 4:
        raise UserError(
            f"augment={name} is for images, and this model takes sequences; choose {instead} instead, or a model that "
            "takes images"
        )


def only_sequences(name: str, x: Tensor, instead: str) -> None:
    if x.ndim != 3:
        raise UserError(
            f"augment={name} is for sequences, and this model takes images; choose {instead} instead, or a model that "
            "takes sequences"
        )
