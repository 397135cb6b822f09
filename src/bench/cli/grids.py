"""A table as the catalog's pages print it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A bold title and its rows below; a column whose name begins with > is of numbers."""
    from rich.table import Table

    if not rows:
        return
    console.print(f"\n{title}" if title else "", style="bold")
    grid = Table(box=None, padding=(0, 2, 0, 0), show_header=any(columns), header_style="dim")
    for i, column in enumerate(columns):
        grid.add_column(
            column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold", no_wrap=i == 0
        )
    for row in rows:
        grid.add_row(*row)
    console.print(grid)
