"""Changes to a training batch, on the device: Batch → Batch.

An augmentation is one class and one YAML in ``conf/augment``. Most change each example by itself, with a probability:
each of them is an ``ExampleChange`` and defines ``change`` alone. What mixes rows with each other is a ``Mixing``;
anything else is an ``Augmentation``. Validation and test rows never come here, except as views (``conf/tta``).

Randomness is torch's own, which every epoch seeds: same seed, same batches. It is drawn for every example, on the
processor, and only a few numbers an example go to the device: nothing waits for it, and how many examples are changed
is known without asking.

The parts are torch's own operations: kornia's (0.9) know pictures alone, so that sequences would need these all the
same, and took 1.1 to 2.6 times as long on a processor.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from bench.data.batches import Batch
from bench.spec import UserError


class Augmentation(ABC):
    """A way to change training batches; call it with a batch and the share of the training that is done, 0 to 1.

    A subclass defines ``apply``, and ``refuse`` where it can't work on every input. Its ``x`` is the model's input,
    (B, C, T) or (B, C, H, W) float32; with ``on_stored`` the stored batch, (B, *stored shape) of any type. Tensors of a
    batch are never changed in place: they may be rows that are held on the device. Targets stay distributions.
    """

    mixes: bool = False
    """Whether it changes targets and weights too; such a part cannot be used when predicting."""
    on_stored: bool = False
    """Whether it comes before the features' device half."""

    @property
    def name(self) -> str:
        """The option's name in ``conf/augment``, which is also the module's; error messages begin with it."""
        return type(self).__module__.rpartition(".")[2]

    def __call__(self, batch: Batch, progress: float) -> Batch:
        self.refuse(batch.x)
        return self.apply(batch, progress)

    @abstractmethod
    def apply(self, batch: Batch, progress: float) -> Batch:
        """The changed batch."""

    def refuse(self, x: Tensor) -> None:  # noqa: B027 (most take any input)
        """UserError where it does not support such an input, with what to choose instead."""

    def within(self, low: float, high: float, /, **options: float) -> None:
        """UserError for an option outside low … high; ``high`` may be infinite, an option not."""
        for key, value in options.items():
            if not low <= value <= high or math.isinf(value):
                limits = f"be a number of {low:g} or more" if math.isinf(high) else f"lie between {low:g} and {high:g}"
                raise UserError(f"augment.{self.name}.{key}={value:g} must {limits}")

    def only_images(self, x: Tensor, instead: str) -> None:
        """For ``refuse``: UserError for a sequence."""
        if x.ndim != 4:
            raise UserError(
                f"augment={self.name} is for images, and this model takes sequences; choose {instead} instead, or a "
                "model that takes images"
            )

    def only_sequences(self, x: Tensor, instead: str) -> None:
        """For ``refuse``: UserError for an image."""
        if x.ndim != 3:
            raise UserError(
                f"augment={self.name} is for sequences, and this model takes images; choose {instead} instead, or a "
                "model that takes sequences"
            )


class ExampleChange(Augmentation):
    """Changes each example by itself, with probability ``p``, and leaves targets alone.

    A subclass defines ``change``.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.within(0, 1, p=p)
        self.p = p

    def apply(self, batch: Batch, progress: float) -> Batch:
        return batch.with_x(changed(batch.x, self.p, self.change))

    @abstractmethod
    def change(self, x: Tensor) -> Tensor:
        """Changes the drawn examples (b, …); returns a new tensor of the same shape."""


class Mixing(Augmentation):
    """Mixes each row, its target and its weight with those of another row. A subclass defines ``mix``.

    ``alpha`` is that of the Beta distribution of shares; ``until`` the share of training after which rows are left
    alone. A batch of one row mixes with itself.
    """

    mixes = True

    def __init__(self, alpha: float, until: float) -> None:
        if not 0 < alpha < math.inf:
            raise UserError(f"augment.{self.name}.alpha={alpha:g} must be above 0; leave {self.name} out for no mixing")
        if not 0 < until <= 1:
            raise UserError(
                f"augment.{self.name}.until={until:g} must lie above 0 and up to 1: a share of the training"
            )
        self.alpha, self.until = alpha, until

    def apply(self, batch: Batch, progress: float) -> Batch:
        return batch if progress >= self.until else self.mix(batch)

    @abstractmethod
    def mix(self, batch: Batch) -> Batch:
        """The mixed batch."""

    def shares(self, n: int) -> Tensor:
        """(n,) on the processor, drawn from Beta(alpha, alpha)."""
        alpha = torch.full((n,), self.alpha)
        return torch.distributions.Beta(alpha, alpha, validate_args=False).sample()


def prepared(batch: Batch, device_half: nn.Module, parts: Iterable[Augmentation], progress: float) -> Batch:
    """Prepares a batch for the model: parts on the stored batch, the device half, then the other parts.

    Parts of the same kind follow each other as listed.
    """
    parts = list(parts)
    for part in parts:
        if part.on_stored:
            batch = part(batch, progress)
    batch = batch.with_x(device_half(batch.x))
    for part in parts:
        if not part.on_stored:
            batch = part(batch, progress)
    return batch


def blended(values: Tensor, other: Tensor, share_b: Tensor) -> Tensor:
    """share · each row + (1 − share) · the row at ``other`` (B,), of values (B,) or (B, K)."""
    share = share_b.view(-1, *[1] * (values.ndim - 1))
    return values * share + values[other] * (1 - share)


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
    square_b: Tensor = torch.linalg.vector_norm(flat, dim=1).square() / flat.shape[1]
    return (square_b - mean_b.square()).clamp_min(0).sqrt().view(-1, *[1] * (x.ndim - 1))
