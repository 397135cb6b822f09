"""Prints for the user; formats scores, counts and shares."""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

from bench.addresses import without_secrets


def say(line: str) -> None:
    """A line for the person, beside the result that goes to standard output."""
    print(visible(without_secrets(line)), file=sys.stderr, flush=True)


def console(wide: int = 100, *, stderr: bool = False, markup: bool = True) -> Console:
    """Where tables and bars are printed: as wide as the terminal, or ``wide``; without any style under NO_COLOR."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        width=None if stream.isatty() else wide,
        highlight=False,
        markup=markup,
        emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


def figure(value: float, like: float | None = None) -> str:
    """A score: four decimals, one from 100 on (24,342.6), more where four would be zeros; a dash where it is NaN.

    ``like`` is a score whose decimals it gets: a spread has its mean's.
    """
    if not math.isfinite(value):
        return "–"
    size = abs(value if like is None or not math.isfinite(like) else like)
    digits = 1 if size >= 100 else 4 if size >= 1e-3 or size < 1e-9 else 1 - math.floor(math.log10(size))
    return f"{value:,.{digits}f}".replace("-", "−")


def spread(mean: float, std: float) -> str:
    """A mean and its standard deviation: 17,302.3 ± 39.2."""
    return f"{figure(mean)} ± {figure(std, like=mean)}"


def amount(count: float) -> str:
    """A whole number: 20,000."""
    return f"{int(count):,}"


def duration(seconds: float) -> str:
    """A time in the unit that a person would use: 8 s, 3 min, 2 h 05 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def percent(share: float) -> str:
    """A share of 1: 83.1 %; a dash where it is NaN."""
    return "–" if math.isnan(share) else f"{share:.1%}".replace("%", "\u00a0%")


def visible(text: str) -> str:
    """A text whose control characters are written out: a terminal would obey them."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
