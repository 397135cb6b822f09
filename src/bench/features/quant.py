"""QUANT's quantiles of intervals, on any signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.features.kernels import Kernels, whole
from bench.signal import quant


class Quant(Kernels):
    """(1, F) float16, F at most some 50,000 where ``depth`` and ``divisor`` are left open (``signal/quant.py``)."""

    def __init__(
        self, signal: Mapping[str, Any], depth: int | None = None, divisor: int | None = None, normalise: bool = True
    ) -> None:
        self.depth = None if depth is None else whole("depth", depth)
        self.divisor = None if divisor is None else whole("divisor", divisor)
        super().__init__(signal, normalise)

    def transform(self, channels: int, length: int) -> quant.Quant:
        return quant.Quant(channels, length, self.depth, self.divisor)

    def options(self) -> dict[str, Any]:
        return {"depth": self.depth, "divisor": self.divisor}
