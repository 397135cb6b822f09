"""Types that all rooms share. It imports only ``mistake``, so every room may import it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from bench.mistake import UserError as UserError

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["sequence", "image"]
Part = Literal["train", "test"]


@dataclass(frozen=True)
class InputSpec:
    """A model's input and output: the one place that describes them.

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


class Direction(StrEnum):
    """Whether lower or higher scores are better: the one place that compares scores."""

    MIN = "min"
    MAX = "max"

    @property
    def word(self) -> str:
        """The better of two scores: ``lower`` or ``higher``."""
        return "lower" if self is Direction.MIN else "higher"

    @property
    def sentence(self) -> str:
        return f"{self.word} is better"

    @property
    def sign(self) -> float:
        """The factor (1 or −1) that makes higher scores better."""
        return -1.0 if self is Direction.MIN else 1.0

    def better(self, new: float, old: float) -> bool:
        """True where ``new`` beats ``old``; a NaN never does."""
        return new < old if self is Direction.MIN else new > old

    def best(self, values: Iterable[float]) -> int | None:
        """Position of the best value (the first of equals); None where none is finite."""
        scores = [self.sign * value if math.isfinite(value) else -math.inf for value in values]
        best = max(scores, default=-math.inf)
        return scores.index(best) if best > -math.inf else None


@dataclass(frozen=True)
class Metric:
    """A competition's score of target (N, K) and probability (N, K): a name, a direction and one function.

    The function is ``terms`` where the score is a mean over rows: it gives each row's share (N,), or that share by
    class (N, K), whose sum over classes is the row's. Otherwise it is ``whole``, which gives the score as a float. A
    metric has both where its competition adds the terms up in an order of its own. ``also`` are scores that are
    reported beside it, out of fold.

    A score that is no mean over rows is computed again for every resample of them, which takes what ``whole`` takes.
    ``weighted`` makes that faster: it takes target and probability, and returns a function from whole row weights
    (B, N), how often each row was drawn, to scores (B,).
    """

    name: str
    direction: Direction
    whole: Callable[[np.ndarray, np.ndarray], float] | None = None
    terms: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    weighted: Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]] | None = None
    also: tuple[Metric, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", Direction(self.direction))  # "min" of a person's own module will do
        if self.whole is None and self.terms is None:
            raise ValueError(f"the metric {self.name} has no function: give it terms, or whole")

    def score(self, target: np.ndarray, probability: np.ndarray) -> float:
        """The score of (N, K) predictions."""
        if self.whole is not None:
            return self.whole(target, probability)
        rows = self.rows(target, probability)
        assert rows is not None
        return float(rows.mean())

    def rows(self, target: np.ndarray, probability: np.ndarray) -> np.ndarray | None:
        """(N,) each row's share, the mean of which is the score; None where the score is no mean over rows."""
        if self.terms is None:
            return None
        terms = self.terms(target, probability)
        return terms.sum(axis=1) if terms.ndim == 2 else terms

    def better(self, new: float, old: float) -> bool:
        """True where ``new`` beats ``old``; a NaN never does."""
        return self.direction.better(new, old)
