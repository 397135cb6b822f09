"""A fold's two sides as batches: the rows it trains on, those added to them, and the rows it validates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from bench.data.batches import Batches
from bench.data.joined import Joined
from bench.data.source import Source
from bench.datasets.base import open_to, serves, targets


@dataclass(frozen=True)
class Extra:
    """Rows that are trained on beside the training table's: positions (M,) of ``source``, target (M, K), a weight each.

    ``example`` (M,): rows of one value take turns; None: every row is its own.
    """

    source: Source
    positions: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    example: np.ndarray | None = None


class Sides:
    """What a fold's rows are, by their role."""

    def __init__(
        self, rows: pd.DataFrame, fold: int, source: Source, device: torch.device, window: int | None, balanced: bool
    ) -> None:
        self.rows, self.source, self.device, self.window, self.balanced = rows, source, device, window, balanced
        self.trained = open_to(rows, fold) & serves(rows, "trained")
        self.validated = (rows["fold"].to_numpy() == fold) & serves(rows, "validated")
        self.target = targets(rows)
        self.example = rows["example"].factorize()[0] if "example" in rows else np.arange(len(rows))
        self.weight = rows["weight"].to_numpy(np.float32) if "weight" in rows else None

    def batches(self, mask: np.ndarray) -> Batches:
        """The table's rows of a mask, and none besides."""
        weight = None if self.weight is None else self.weight[mask]
        positions, example = np.flatnonzero(mask), self.example[mask]
        return Batches(self.source, positions, self.target[mask], weight, self.device, self.window, example)

    def training(self, extras: Sequence[Extra]) -> Batches:
        """The training side with what is added to it."""
        mask = self.trained
        sources = [self.source, *(extra.source for extra in extras)]
        begins = np.cumsum([0, *(len(source) for source in sources)])
        positions = [np.flatnonzero(mask), *(e.positions + at for e, at in zip(extras, begins[1:-1], strict=True))]
        examples, free = [self.example[mask]], int(self.example.max()) + 1
        for extra in extras:
            numbers = np.arange(len(extra.positions)) + free if extra.example is None else extra.example
            examples.append(numbers)
            free = max(free, int(numbers.max(initial=-1)) + 1)
        return Batches(
            Joined(sources) if extras else self.source,
            np.concatenate(positions),
            np.concatenate([self.target[mask], *(extra.target for extra in extras)]),
            self.weights(extras, None),
            self.device,
            self.window,
            np.concatenate(examples),
            balanced=self.balanced,
        )

    def weights(self, extras: Sequence[Extra], factors: np.ndarray | None) -> np.ndarray | None:
        """(N,) float32 weights of ``training``'s rows: ``factors`` for the table's; None where every row counts 1."""
        if factors is None and self.weight is None and all((extra.weight == 1).all() for extra in extras):
            return None
        table_weights = (
            np.ones(int(self.trained.sum()), np.float32) if self.weight is None else self.weight[self.trained]
        )
        table_weights = table_weights if factors is None else table_weights * factors
        return np.concatenate([table_weights, *(extra.weight for extra in extras)]).astype(np.float32)


def by_epoch(
    sides: Sides, extras: Sequence[Extra], factors: Callable[[pd.DataFrame, int, int], np.ndarray], epochs: int
) -> Callable[[int], np.ndarray]:
    """Weights of ``training``'s rows for an epoch; what was added to the table keeps its own."""
    rows = sides.rows[sides.trained]

    def weights(epoch: int) -> np.ndarray:
        weight = sides.weights(extras, factors(rows, epoch, epochs))
        assert weight is not None
        return weight

    return weights
