"""Tables for a page and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bench.tell import figure, spread

if TYPE_CHECKING:
    import rich.table


class Spread(NamedTuple):
    """A mean and its standard deviation, written as mean ± std."""

    mean: float
    std: float


@dataclass(frozen=True)
class Marked:
    """A cell in bold; ``kind`` is ``best`` (of its line) or ``sure``."""

    value: object
    kind: str


@dataclass(frozen=True)
class Table:
    """A cell is text, a float (a score, shown with all digits on demand), a Spread, or a Marked one of these.

    The first ``words`` columns, and with ``last_word`` the last one, are text, the others numbers. ``kinds`` are the
    rows' CSS classes, ``kind`` is the table's.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    words: int = 1
    kinds: Sequence[str] = field(default=())
    last_word: bool = False
    kind: str = ""


def terminal(table: Table, title: str) -> rich.table.Table:
    """The table for a terminal, with marked cells and strong rows in bold."""
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(title=title, box=None, title_justify="left")
    for i, name in enumerate(table.head):
        grid.add_column(name, justify="left" if i < table.words else "right")
    for cells, kind in zip(table.rows, table.kinds or [""] * len(table.rows), strict=True):
        bold = ["bold" if isinstance(cell, Marked) else "" for cell in cells]
        texts = [Text(_text(cell), style) for cell, style in zip(cells, bold, strict=True)]
        grid.add_row(*texts, style="bold" if kind == "strong" else "")
    return grid


def _text(content: object) -> str:
    if isinstance(content, Marked):
        return _text(content.value)
    if isinstance(content, Spread):
        return spread(*content)
    return figure(content) if isinstance(content, float) else str(content)
