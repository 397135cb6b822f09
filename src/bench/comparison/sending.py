"""Copies a comparison's page to each run's folder, and from there to the run's artifacts in MLflow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench.addresses import public
from bench.atomic import read_json, write_text
from bench.runs.facts import content
from bench.runs.run import Run
from bench.tracking import address
from bench.tracking.follower import send_apart
from bench.tracking.waiting import SQLITE

FOLDER = "comparisons"
"""The subfolder of a run's folder, and of its artifacts."""


def leave(page: Path, runs: Sequence[Run]) -> list[str]:
    """Copies ``<comparison>/report.html`` to ``<run>/comparisons/<comparison>.html``; one line per failure."""
    failures, text = [], page.read_text(encoding="utf-8")
    for run in runs:
        copy = run.folder / FOLDER / f"{page.parent.name}.html"
        try:
            if not copy.exists() or copy.read_text(encoding="utf-8") != text:  # one that stays is not sent again
                write_text(copy, text)
        except OSError as error:  # somebody else's run, or a disk that is only read
            failures.append(f"report    not copied to {copy} ({error.strerror})")
    return failures


def send(name: str, runs: Sequence[Run], uri: str | None, wait_s: float, outputs: Path) -> list[str]:
    """Sends ``comparisons/<name>.html`` to MLflow for each run that is there; returns lines to print.

    ``uri`` None is the person's own address, to which only runs go that were sent there before; ``run`` is the address
    in each run's folder. All runs together take at most ``wait_s`` seconds.
    Never raises: ``bench.track`` can send later what MLflow has not taken.
    """
    by_uri: dict[str, list[Run]] = {}
    lines: list[str] = []
    for run in runs:
        note = run.folder / "tracking.json"
        if note.exists() and _waits(run, name):
            if uri == address.RUN:
                to = address.told_by(run, "tracking.uri")
            elif (told := read_json(note).get("uri")) != public(to := address.chosen(uri, outputs)) and uri is None:
                lines.append(f"tracking  {run.folder} says it is at {public(str(told))}: give tracking.uri=run")
                continue
            by_uri.setdefault(to, []).append(run)
    until = time.monotonic() + wait_s
    for to, recipients in by_uri.items():
        folders = [str(run.folder) for run in recipients]
        if not to.startswith(SQLITE) or Path(to.removeprefix(SQLITE)).exists():  # else it was moved
            send_apart(folders, to, max(1.0, until - time.monotonic()))
        waiting = [folder for run, folder in zip(recipients, folders, strict=True) if _waits(run, name)]
        if waiting:
            lines.append(
                f"tracking  MLflow ({public(to)}) has not taken the page; later: python -m bench.track "
                + " ".join(waiting)
                + _how(to, recipients, outputs)
            )
        else:
            whose = f"{len(recipients)} runs" if len(recipients) > 1 else "the run"
            lines.append(f"tracking  MLflow has the page among the artifacts of {whose}: {FOLDER}/{name}.html")
    return lines


def _how(to: str, runs: Sequence[Run], outputs: Path) -> str:
    """What ``bench.track`` is told beside the folders, so that it sends to the same address; nothing where it does."""
    if to == address.chosen(None, outputs):
        return ""
    told = {address.of_folder(run) for run in runs}
    return " --uri run" if told == {public(to)} and public(to) == to else " --uri <that address>"


def _waits(run: Run, name: str) -> bool:
    """Whether the run has a copy that is not noted as sent."""
    copy, note = run.folder / FOLDER / f"{name}.html", run.folder / "tracking.json"
    if not copy.exists():
        return False
    _, digest = read_json(note).get("files", {}).get(f"{FOLDER}/{name}.html", (None, None))
    return bool(digest != content(copy.read_bytes()))
