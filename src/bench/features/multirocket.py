"""MultiRocket's pools of fixed kernels, on any signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.features.kernels import Kernels, whole
from bench.signal import multirocket


class MultiRocket(Kernels):
    """(1, F) float16, F = 8 × ``kernels``, rounded down to a multiple of 84 (``signal/multirocket.py``)."""

    def __init__(self, signal: Mapping[str, Any], kernels: int = 2016, normalise: bool = True, seed: int = 0) -> None:
        self.kernels, self.seed = whole("kernels", kernels, multirocket.KERNELS), whole("seed", seed, 0)
        super().__init__(signal, normalise)

    def transform(self, channels: int, length: int) -> multirocket.MultiRocket:
        return multirocket.MultiRocket(channels, length, self.kernels, self.seed)

    def options(self) -> dict[str, Any]:
        return {"kernels": self.kernels, "seed": self.seed}
