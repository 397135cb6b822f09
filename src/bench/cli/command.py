"""The one description of a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

RUNS = {"runs": r"[^\"'].*"}
"""``texts`` of a command on several runs: all of it is text, commas and equals signs too."""


class Command(NamedTuple):
    """``python -m bench.<name>`` and ``bench <name>``: what it is called, what it is for, its config and its work.

    The words are composed on conf/<config>.yaml; ``work`` is given the resolved config in plain containers and the
    groups' chosen options, and returns an Outcome or None. A command that is not ``composed`` gives its work the words
    as they are, and gets an exit code or None; ``config`` is then the one whose keys they name, if any.

    ``usage`` shows how the words are written. ``texts`` are keys with the form (a pattern) of those values that are
    text as they stand, whatever they look like to Hydra's grammar; ``often`` those that the short help shows.
    """

    name: str
    about: str
    work: Callable[..., Any]
    config: str | None = None
    composed: bool = True
    usage: str = "[-m] [key=value …]"
    texts: Mapping[str, str] = {}
    often: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        return f"bench.{self.name}"
