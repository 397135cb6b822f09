"""Opens a part's computed features; computes missing ones behind a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.data import building, filling, shards, store
from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.spec import Part
from bench.tell import console, say


def open_store(
    dataset: Dataset, features: Features, part: Part, folder: str | Path, workers: int | None = None
) -> store.Store:
    """The part's store below ``folder``, filled first by ``workers`` processes (None: one a core) where it is not."""
    with _bar(f"store     {part}") as progress:
        processes = workers or os.cpu_count() or 1
        opened = store.open_or_build(dataset, features, part, Path(folder), processes, progress)
    if len(opened):
        say(f"store     {len(opened)} {part} examples ({opened.nbytes / 1e6:.0f} MB) in {opened.folder}")
    return opened


def fill_shard(
    dataset: Dataset, features: Features, part: Part, folder: Path, which: tuple[int, int], workers: int
) -> None:
    """Fills a shard of the part's store, ``which`` = (count, index); joins all where it was the last one missing."""
    count, index = which
    with _bar(f"shard     {index} of {count}, {part}") as progress:
        joined = shards.fill(dataset, features, part, folder, count, index, workers, progress)
    place = building.folder_of(dataset, features, part, folder)
    if joined:
        say(f"store     {part} examples are all in {place}")
    else:
        say(f"shard     {index} of {count}, {part}, is there; {len(shards.missing(place, count))} are missing")


def refuse_changed(
    opened: store.Store, dataset: Dataset, features: Features, part: Part, workers: int | None = None
) -> None:
    """Reads all raw files again; UserError naming those whose content is not what the store was computed from."""
    with _bar(f"verify    {part}") as progress:
        store.refuse_changed(opened, dataset, features, part, workers or os.cpu_count() or 1, progress)
    if len(opened):
        say(f"verify    {len(opened)} {part} examples are those that {opened.folder} was computed from")


@contextmanager
def _bar(text: str) -> Iterator[filling.Progress]:
    """A bar on a terminal's standard error, gone at the end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(text), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
