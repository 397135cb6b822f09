"""MultiRocket's pools and Hydra's counts side by side, on any signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.features.kernels import Kernels, whole
from bench.signal import hydra, multirocket


class MultiRocketHydra(Kernels):
    """(1, F) float16: what ``MultiRocket`` gives with ``kernels``, then ``Hydra`` with ``groups`` of eight."""

    def __init__(
        self, signal: Mapping[str, Any], kernels: int = 2016, groups: int = 64, normalise: bool = True, seed: int = 0
    ) -> None:
        self.kernels, self.seed = whole("kernels", kernels, multirocket.KERNELS), whole("seed", seed, 0)
        self.groups = whole("groups", groups, 2)
        super().__init__(signal, normalise)

    def transform(self, channels: int, length: int) -> Both:
        return Both(
            multirocket.MultiRocket(channels, length, self.kernels, self.seed),
            hydra.Hydra(channels, length, self.groups, 8, self.seed),
        )

    def options(self) -> dict[str, Any]:
        return {"kernels": self.kernels, "groups": self.groups, "seed": self.seed}


class Both:
    """Two transforms' numbers, one after the other."""

    def __init__(self, first: multirocket.MultiRocket, second: hydra.Hydra) -> None:
        self.parts, self.size = (first, second), first.size + second.size

    def __call__(self, x_ct: np.ndarray) -> np.ndarray:
        return np.concatenate([part(x_ct) for part in self.parts])
