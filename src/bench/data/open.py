"""Opens a part's computed features; computes missing ones behind a progress bar."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.data import store
from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.spec import Part
from bench.tell import console, say


def open_store(
    dataset: Dataset, features: Features, part: Part, folder: str | Path, workers: int | None = None
) -> store.Store:
    """The part's store below ``folder``, filled first by ``workers`` processes (None: one a core) where it is not."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(f"store     {part}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=None)
        opened = store.open_or_build(
            dataset,
            features,
            part,
            Path(folder),
            workers or os.cpu_count() or 1,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    if len(opened):
        say(f"store     {len(opened)} {part} examples ({opened.nbytes / 1e6:.0f} MB) in {opened.folder}")
    return opened
