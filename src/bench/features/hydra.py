"""Hydra's counts of competing random kernels, on any signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.features.kernels import Kernels, whole
from bench.signal import hydra


class Hydra(Kernels):
    """(1, F) float16, F = 2 × groups × kernels for every dilation that fits (``signal/hydra.py``)."""

    def __init__(
        self, signal: Mapping[str, Any], groups: int = 64, kernels: int = 8, normalise: bool = True, seed: int = 0
    ) -> None:
        self.groups, self.kernels = whole("groups", groups, 2), whole("kernels", kernels, 2)
        self.seed = whole("seed", seed, 0)
        super().__init__(signal, normalise)

    def transform(self, channels: int, length: int) -> hydra.Hydra:
        return hydra.Hydra(channels, length, self.groups, self.kernels, self.seed)

    def options(self) -> dict[str, Any]:
        return {"groups": self.groups, "kernels": self.kernels, "seed": self.seed}
