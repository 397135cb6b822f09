"""The nouns everybody shares. This room imports nothing of bench but a mistake, so every room may import it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.mistake import UserError as UserError

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["sequence", "image"]
Part = Literal["train", "test"]


@dataclass(frozen=True)
class InputSpec:
    """What a model eats and answers: the one place that says it.

    ``size`` is ``(length,)`` for a sequence (B, C, T) and ``(height, width)`` for an image (B, C, H, W).
    ``sample_rate`` is in Hz of the sequence as the model sees it; None where time has no unit in the files.
    """

    channels: int
    size: tuple[int, ...]
    classes: tuple[str, ...]
    sample_rate: float | None = None

    @property
    def kind(self) -> Kind:
        return "sequence" if len(self.size) == 1 else "image"

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """One example's shape: (C, T) or (C, H, W)."""
        return (self.channels, *self.size)


@dataclass(frozen=True)
class Metric:
    """A competition's score.

    ``score`` takes target (N, K) and probability (N, K) and returns a float; ``direction`` says which way is
    better. ``also`` are scores that are reported beside it, out of fold.
    """

    name: str
    direction: Literal["min", "max"]
    score: Callable[[np.ndarray, np.ndarray], float]
    also: tuple[Metric, ...] = ()

    def better(self, new: float, old: float) -> bool:
        """True where ``new`` beats ``old``; a NaN never does."""
        return new < old if self.direction == "min" else new > old
