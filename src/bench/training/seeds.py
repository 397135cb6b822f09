"""Seeds of a fold: one for each epoch, and for what is drawn beside the epochs."""

from __future__ import annotations

import numpy as np

EXTRA, VIEWS, MEASURED = 1 << 40, 1 << 41, 1 << 42
"""Seeds beside the epochs' own: of added rows, of random views, of the rows that batch statistics are measured over."""


def epoch_seed(*numbers: int) -> int:
    """A seed of 63 bits from a few numbers; neighbours share nothing."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
