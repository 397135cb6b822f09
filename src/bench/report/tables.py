"""Numbers and tables of a report, as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def figure(value: float) -> str:
    """Four decimals for a mean, one for a sum in the thousands; a dash where it is not defined."""
    if not math.isfinite(value):
        return "–"
    return (f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}").replace("-", "−")


def number(value: float) -> str:
    """A score as a person reads it, and to the last digit in ``value``."""
    return f'<data value="{float(value)!r}">{figure(value)}</data>'


def amount(count: Any) -> str:
    return f"{int(count):,}"


def percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    words: int = 1,
    kinds: Sequence[str] = (),
    last_word: bool = False,
    kind: str = "",
) -> str:
    """Cells are HTML. The first ``words`` columns (and the last one, where said) are text, the others numbers."""

    def row(cells: Sequence[str], tag: str, of: str = "") -> str:
        left = [i < words or (last_word and i == len(cells) - 1) for i in range(len(cells))]
        text = "".join(
            f'<{tag} class="word">{c}</{tag}>' if w else f"<{tag}>{c}</{tag}>" for c, w in zip(cells, left, strict=True)
        )
        return f'<tr class="{of}">{text}</tr>' if of else f"<tr>{text}</tr>"

    body = "".join(row(cells, "td", of) for cells, of in zip(rows, kinds or [""] * len(rows), strict=True))
    top = f"<thead>{row(head, 'th')}</thead>" if any(head) else ""
    styled = f' class="{kind}"' if kind else ""
    return f'<div class="scroll"><table{styled}>{top}<tbody>{body}</tbody></table></div>'
