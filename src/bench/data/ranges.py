"""Where batches begin and end. It imports nothing heavy: a plan counts steps with it."""

from __future__ import annotations

from itertools import pairwise


def cut(n: int, size: int) -> list[tuple[int, int]]:
    """Ranges of ``size`` over n rows. A last batch of one row joins the one before: BatchNorm can't train on one."""
    edges = [*range(0, n, size), n]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return [(a, b) for a, b in pairwise(edges) if b > a]
