"""Near-duplicates that a simulator plants on request: which rows are copies, and of which others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.spec import UserError

FILE = "near_duplicates.csv"


def originals(n: int, near_duplicates: int, seed: int) -> np.ndarray:
    """(near_duplicates,) different rows, of which the last rows of ``n`` are copies; UserError for more than half."""
    if not 0 <= near_duplicates <= n // 2:
        raise UserError(
            f"dataset.simulator.near_duplicates={near_duplicates} must lie between 0 and {n // 2}, half of the rows"
        )
    return np.random.default_rng([seed, 4]).choice(n - near_duplicates, near_duplicates, replace=False)


def write(copies: Sequence[object], copied: Sequence[object], root: Path) -> None:
    """Leaves ``near_duplicates.csv`` (id, copy_of) in ``root``, where there are any: no data set reads it."""
    if len(copies):
        lines = [f"{copy},{original}\n" for copy, original in zip(copies, copied, strict=True)]
        (root / FILE).write_text("id,copy_of\n" + "".join(lines), encoding="ascii")
