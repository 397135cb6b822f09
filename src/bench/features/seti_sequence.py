"""SETI: the panels one after the other in time, a channel a bin of frequency."""

from __future__ import annotations

from typing import ClassVar

from bench.features.seti_cadence import Layout, SetiCadence
from bench.spec import Kind


class SetiSequence(SetiCadence):
    """(256, 1638), ON panels alone (256, 819): for models that take a sequence."""

    kind: ClassVar[Kind] = "sequence"
    layout: ClassVar[Layout] = "sequence"
