"""SETI: the panels as the channels of one image."""

from __future__ import annotations

from typing import ClassVar

from bench.features.seti_cadence import Layout, SetiCadence
from bench.spec import Kind


class SetiChannels(SetiCadence):
    """(6, 273, 256), ON panels alone (3, 273, 256): a signal that drifts stands elsewhere in every channel."""

    kind: ClassVar[Kind] = "image"
    layout: ClassVar[Layout] = "channels"
