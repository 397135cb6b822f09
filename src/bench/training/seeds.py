"""Seeds of a fold: one for each epoch, and for what is drawn beside the epochs."""

from __future__ import annotations

import numpy as np

EXTRA, VIEWS = 1 << 40, 1 << 41  # seeds beside the epochs' own: of added rows, and of random views


def epoch_seed(*numbers: int) -> int:
    """A seed of 63 bits from a few numbers; neighbours share nothing."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
