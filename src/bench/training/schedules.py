"""Learning-rate schedules: plain functions (epoch, epochs, base, losses) → learning rate.

``epoch`` counts from 0 and is fractional inside an epoch (2.5 is half of the third); ``epochs`` is how many there
are; ``base`` is the optimiser's own rate; ``losses`` are the validation losses of the epochs that are over. They keep
no state, so a resumed fold is where it would have been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[float, int, float, Sequence[float]], float]


def constant(epoch: float, epochs: int, base: float, losses: Sequence[float] = ()) -> float:
    return base


def steps(
    epoch: float, epochs: int, base: float, losses: Sequence[float] = (), factors: Sequence[float] = (1.0,)
) -> float:
    """base × one factor an epoch, as listed; the last goes on where training is longer than the list."""
    if not factors:
        raise ValueError("factors is empty; give one factor an epoch")
    return base * factors[min(int(epoch), len(factors) - 1)]


def cosine(
    epoch: float,
    epochs: int,
    base: float,
    losses: Sequence[float] = (),
    warmup: float = 0.0,
    start: float = 0.1,
    end: float = 0.0,
) -> float:
    """Linear from ``start`` × base over the first ``warmup`` share, then half a cosine to ``end`` × base."""
    progress = epoch / epochs
    if progress < warmup:
        return base * (start + (1 - start) * progress / warmup)
    return base * (end + (1 - end) * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))))


def one_cycle(
    epoch: float,
    epochs: int,
    base: float,
    losses: Sequence[float] = (),
    rise: float = 0.3,
    start: float = 0.04,
    end: float = 4e-6,
) -> float:
    """Half a cosine up from ``start`` × base over the first ``rise`` share, half a cosine down to ``end`` × base.

    The defaults are those of torch's OneCycleLR; the momentum is left alone. Source: Smith & Topin 2019
    (arXiv 1708.07120).
    """
    if not 0 <= rise < 1:
        raise ValueError(f"rise={rise:g} must be a share of the training: 0 or more, and below 1")
    progress = epoch / epochs
    if progress < rise:
        return base * (1 + (start - 1) * 0.5 * (1 + math.cos(math.pi * progress / rise)))
    return base * (end + (1 - end) * 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise))))


def plateau(
    epoch: float,
    epochs: int,
    base: float,
    losses: Sequence[float] = (),
    factor: float = 0.1,
    patience: int = 3,
    threshold: float = 1e-4,
) -> float:
    """base × ``factor`` for each time that the validation loss stood still for more than ``patience`` epochs.

    An epoch is better when its loss is below (1 − ``threshold``) × the best before: as torch's ReduceLROnPlateau.
    """
    if not 0 < factor < 1 or patience < 0:
        raise ValueError(f"factor={factor:g} must lie between 0 and 1, and patience={patience} be 0 or more")
    best, waited, rate = math.inf, 0, base
    for loss in losses:
        if loss < best * (1 - threshold):
            best, waited = loss, 0
            continue
        waited += 1
        if waited > patience:
            rate, waited = rate * factor, 0
    return rate
