"""Models that are solved at once, such as a ridge regression: their one epoch is the solution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.augment.base import prepared
from bench.data.batches import Batches


def is_solved(model: nn.Module) -> bool:
    """Whether the model is solved by ``solve(x, target, weight, block)`` instead of trained by gradients."""
    return bool(getattr(model, "solved", False))


@torch.no_grad()
def solve(
    model: Any,
    device_half: nn.Module,
    loss: Callable[..., Any],
    rows: Batches,
    blocks: np.ndarray | None,
    size: int,
    seed: tuple[int, ...],
) -> tuple[float, str]:
    """Solves the model for an epoch's rows; returns the loss on them, and what the model chose, in words.

    Of each example the row that an epoch draws, of open length the middle, in the table's order. A row that classes
    that are balanced draw several times counts so often. ``blocks`` (N,) are numbers from 0 on: rows of one number
    are never on both sides of a choice; −1: rows that are learned from alone. None: every row is its own block.
    ``size``: rows that the device half takes at once.
    """
    drawn, counts = np.unique(rows.shuffled(size, seed).order, return_counts=True)
    device_half.eval()
    taken = [prepared(batch, device_half, (), progress=0.0) for batch in rows.taken(drawn, size, 0.5)]
    x, target = torch.cat([batch.x for batch in taken]), torch.cat([batch.target for batch in taken])
    weight = torch.from_numpy(counts.astype(np.float32)).to(rows.device)
    if taken[0].weight is not None:
        weight = weight * torch.cat([batch.weight for batch in taken if batch.weight is not None])
    block = np.arange(len(rows)) if blocks is None else blocks
    told = model.solve(x, target, weight, torch.from_numpy(block[drawn]).to(rows.device))
    model.eval()
    answer = torch.cat([model(part) for part in x.split(size)]).float()
    return float(loss(answer, target, weight)), told
