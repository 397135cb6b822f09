"""SETI: the panels on top of each other as one tall image."""

from __future__ import annotations

from typing import ClassVar

from bench.features.seti_cadence import Layout, SetiCadence
from bench.spec import Kind


class SetiStacked(SetiCadence):
    """(1, 1638, 256), ON panels alone (1, 819, 256): time runs down through the panels, as the write-ups have it."""

    kind: ClassVar[Kind] = "image"
    layout: ClassVar[Layout] = "stacked"
