"""Sends what a search has left to MLflow, in a process of its own and within the wait of its runs."""

from __future__ import annotations

from pathlib import Path

from bench.addresses import public
from bench.atomic import read_json
from bench.mistake import UserError
from bench.runs.facts import content
from bench.runs.recipe import Sending
from bench.runs.searched import FILES, PAGE
from bench.tell import say
from bench.tracking import address
from bench.tracking.follower import send_apart
from bench.tracking.wording import before_looking, page


def send(folder: Path, tracking: Sending, outputs: Path) -> None:
    """Sends the search in ``folder``, for ``tracking.wait`` seconds at most, and prints where it is.

    Never raises for a server's sake: ``bench.track`` can send later what MLflow has not taken.
    """
    if not tracking.enabled:
        return
    uri = address.chosen(tracking.uri, outputs)
    send_apart([str(folder)], uri, max(1.0, tracking.wait))
    if waits(folder, uri):
        how = " --uri run" if tracking.uri and public(uri) == uri else " --uri <that address>" if tracking.uri else ""
        say(f"tracking  MLflow ({public(uri)}) has not taken the search; later: python -m bench.track {folder}{how}")
    else:
        say(f"MLflow    {before_looking(uri)}{page(uri, folder / 'tracking.json')} ({PAGE})")


def waits(folder: Path, uri: str) -> bool:
    """Whether a file of the search is not noted as sent there."""
    note = folder / "tracking.json"
    try:
        known = read_json(note) if note.exists() else {}
        sent = known["files"] if known.get("uri") == public(uri) else {}
    except (UserError, KeyError, AttributeError):  # half written by another version
        return True
    paths = [folder / name for name in FILES]
    return any(path.exists() and sent.get(path.name, [None])[-1] != content(path.read_bytes()) for path in paths)
