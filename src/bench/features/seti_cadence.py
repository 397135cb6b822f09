"""SETI: what all arrangements of a cadence share, its stored half first of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bench.features.base import Features
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from bench.features.device.panels import Panels

Layout = Literal["stacked", "channels", "sequence"]
Background = Literal["none", "mean", "median"]


class SetiCadence(Features):
    """Stores a cadence (6, time, frequency) float16 as it is: one store serves every arrangement and option.

    ``panels``: all six, or the three ON target alone (0, 2, 4). ``background``: each column of each panel has its
    mean or median over time taken off and is divided by its standard deviation.
    """

    datasets: ClassVar[tuple[str, ...]] = ("seti",)
    stored_as: ClassVar[str | None] = "seti_cadence"
    stored_dtype: ClassVar[str] = "float16"
    kind: ClassVar[Kind]
    layout: ClassVar[Layout]

    def __init__(self, panels: Literal["all", "on"] = "all", background: Background = "none") -> None:
        for key, value, options in (
            ("panels", panels, ("all", "on")),
            ("background", background, ("none", "mean", "median")),
        ):
            if value not in options:
                raise UserError(f"features.{key}={value} is not one of {', '.join(options)}")
        self.panels, self.background = panels, background

    def spec(self, dataset: Any) -> InputSpec:
        panels, height, width = dataset.shape
        if self.panels == "on":
            panels = -(-panels // 2)
        channels, size = {
            "stacked": (1, (panels * height, width)),
            "channels": (panels, (height, width)),
            "sequence": (width, (panels * height,)),
        }[self.layout]
        return InputSpec(channels, size, dataset.classes)

    def stored_shape(self, dataset: Any) -> tuple[int, ...]:
        result: tuple[int, ...] = dataset.shape
        return result

    def store(self, raw: np.ndarray) -> np.ndarray:
        """(6, time, frequency) float16 → the same."""
        return raw

    def settings(self) -> dict[str, Any]:
        return {"version": 1}

    def device_half(self) -> Panels:
        from bench.features.device.panels import Panels

        return Panels(self.layout, self.panels == "on", self.background)
