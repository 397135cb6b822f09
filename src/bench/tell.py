"""A line for the person, and how a score and an address are written in it."""

from __future__ import annotations

import re
import sys


def say(line: str) -> None:
    """A line for the person, beside the result that goes to standard output."""
    print(line, file=sys.stderr, flush=True)


def figure(value: float) -> str:
    """Four decimals for a mean, one for a sum in the thousands."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def public(uri: str) -> str:
    """The URI without a user's name and password: what may be printed and noted."""
    return re.sub(r"//[^/@]*@", "//", uri)
