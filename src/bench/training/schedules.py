"""Learning-rate schedules: plain functions (epoch, epochs, base) → learning rate.

``epoch`` counts from 0 and is fractional inside an epoch (2.5 is half of the third); ``epochs`` is how many there
are; ``base`` is the optimiser's own rate. They keep no state, so a resumed fold is where it would have been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[float, int, float], float]


def constant(epoch: float, epochs: int, base: float) -> float:
    return base


def steps(epoch: float, epochs: int, base: float, factors: Sequence[float] = (1.0,)) -> float:
    """base × one factor an epoch, as listed; the last goes on where training is longer than the list."""
    if not factors:
        raise ValueError("factors is empty; give one factor an epoch")
    return base * factors[min(int(epoch), len(factors) - 1)]


def cosine(epoch: float, epochs: int, base: float, warmup: float = 0.0, start: float = 0.1, end: float = 0.0) -> float:
    """Linear from ``start`` × base over the first ``warmup`` share, then half a cosine to ``end`` × base."""
    progress = epoch / epochs
    if progress < warmup:
        return base * (start + (1 - start) * progress / warmup)
    return base * (end + (1 - end) * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))))
