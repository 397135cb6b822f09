"""HMS: which electrode stands opposite which, and how what is stored of one side takes the other's place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ACROSS = (
    ("Fp1", "Fp2"), ("F7", "F8"), ("F3", "F4"), ("T3", "T4"), ("C3", "C4"), ("T5", "T6"), ("P3", "P4"), ("O1", "O2"),
)  # fmt: skip
"""Left and right. Fz, Cz and Pz stand between them; EKG is not on the head."""

OPPOSITE = {a: b for pair in ACROSS for a, b in (pair, pair[::-1])}


def exchanged(places: Sequence[tuple[str | None, ...]]) -> list[int]:
    """For each place, a tuple of electrodes, the position of its opposite among them, its own where it has no side.

    Raises KeyError where an opposite is not there.
    """
    where = {place: i for i, place in enumerate(places)}
    return [where[tuple(OPPOSITE.get(name, name) if name else name for name in place)] for place in places]


def reordered(x: Tensor, order: Sequence[int]) -> Tensor:
    """A copy of (B, N, ...) whose second axis is in that order; indexing with it would make a device wait."""
    import torch

    return torch.cat([x[:, i : i + 1] for i in order], 1)
