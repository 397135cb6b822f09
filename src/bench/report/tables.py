"""Tables as a page's template writes them: what stands in them, and how it is marked. No HTML is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Spread(NamedTuple):
    """A mean and its standard deviation, written as mean ± std."""

    mean: float
    std: float


@dataclass(frozen=True)
class Marked:
    """A cell's content in bold: ``best`` of its line, or ``sure``."""

    value: object
    kind: str


@dataclass(frozen=True)
class Table:
    """Cells are text; floats, which are scores, and can be read to the last digit; a Spread, or a Marked one of these.

    The first ``words`` columns (and the last one, where said) are text, the others numbers; ``kinds`` are the rows'
    CSS classes, ``kind`` the table's.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    words: int = 1
    kinds: Sequence[str] = field(default=())
    last_word: bool = False
    kind: str = ""
