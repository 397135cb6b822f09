"""Stores without a training: a data set's files checked, what building costs told, the stores or a shard built."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import extensions
from bench.cli.schema import Prepare, Shard
from bench.crossval.obtained import check_files, obtain
from bench.crossval.opened import refuse_foreign
from bench.crossval.settle import default_features
from bench.data import building, cost, shards
from bench.data.open import fill_shard, open_store
from bench.datasets.base import Dataset, several
from bench.datasets.root import is_simulated
from bench.features.base import Features
from bench.runs.recipe import Node
from bench.spec import Part, UserError
from bench.tell import amount, console, say
from bench.training import parts

PARTS: tuple[Part, ...] = ("train", "test")


@dataclass(frozen=True)
class Wanted:
    """A store that is to be there; ``its`` layout is known where it is not there yet, with what building costs."""

    name: str
    features: Features
    part: Part
    folder: Path
    its: building.Layout | None = None
    costs: cost.Cost | None = None

    @property
    def nbytes(self) -> int:
        """What is still to be written."""
        return self.costs.nbytes if self.costs else 0


def prepare(keys: Prepare, names: Mapping[str, str]) -> None:
    """What ``python -m bench.prepare`` does; UserError for mistakes in the command or in the files."""
    _refuse_numbers(keys.shard)
    folder = obtain(keys)
    dataset, simulated = parts.dataset(keys.dataset, folder), is_simulated(folder)
    if not simulated or keys.dataset.get("root") is not None:
        say(f"data      {folder}" + (" (SIMULATED)" if simulated else ""))
    _check_tables(dataset)
    named = {name: parts.features(node) for name, node in _chosen(keys, names).items()}
    for name, features in named.items():
        refuse_foreign(features, dataset, {**names, "features": name})
    stores = _distinct(dataset, named, Path(keys.store))
    if keys.check or not all(building.whole(store.folder) for store in stores):
        check_files(dataset, named)
    wanted = [_measured(dataset, store, keys.shard) for store in stores]
    workers = keys.workers or os.cpu_count() or 1
    _show(dataset, wanted, workers, keys.shard, simulated)
    if problems := [problem for store in wanted if store.costs for problem in store.costs.problems]:
        raise several(problems, f"{len(problems)} of the examples that were read can't be used")
    _refuse_full(Path(keys.store), sum(store.nbytes for store in wanted))
    if keys.check:
        return
    for store in wanted:
        if keys.shard.count == 1:
            open_store(dataset, store.features, store.part, keys.store, workers)
        else:
            which = (keys.shard.count, keys.shard.index)
            fill_shard(dataset, store.features, store.part, Path(keys.store), which, workers)


def _refuse_numbers(shard: Shard) -> None:
    if shard.count < 1:
        raise UserError(f"shard.count={shard.count}: a store has at least one part; set 1 or more")
    if not 0 <= shard.index < shard.count:
        raise UserError(
            f"shard.index={shard.index} is not one of {shard.count} shards, which are counted from 0; set shard.index="
            f"0 to {shard.count - 1}, or another shard.count"
        )


def _check_tables(dataset: Dataset) -> None:
    """Reads both tables, and says of both what is wrong."""
    problems = []
    for part in PARTS:
        try:
            dataset.table(part)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))


def _chosen(keys: Prepare, names: Mapping[str, str]) -> dict[str, Node]:
    """The features named; else the model's; else all that the data set gives models of its own accord."""
    import yaml

    def option(group: str, name: str) -> Node:
        path = extensions.option(group, name)
        return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}

    if parts.named(keys.features):
        signal = parts.with_signal(keys.features, parts.dataset_class(keys.dataset))
        return {names.get("features", "custom"): signal}
    if keys.model is not None:
        pair = option("recipe", f"{names.get('dataset')}_{names.get('model')}").get("recipe")
        return dict([default_features(keys.dataset, keys.model, pair, names)])
    return {name: option("features", name) for name in parts.dataset_class(keys.dataset).features.values()}


def _distinct(dataset: Dataset, named: Mapping[str, Features], root: Path) -> list[Wanted]:
    """The stores; several features may share one."""
    stores: dict[Path, Wanted] = {}
    for name, features in named.items():
        for part in PARTS:
            dataset.also_read(part, **features.reads)
            folder = building.folder_of(dataset, features, part, root)
            stores.setdefault(folder, Wanted(name, features, part, folder))
    return list(stores.values())


def _measured(dataset: Dataset, store: Wanted, shard: Shard) -> Wanted:
    """The store with its costs, unless it stands."""
    if building.whole(store.folder):
        return store
    shards.refuse_others(store.folder, shard.count)
    its = building.layout(dataset, store.features, store.part)
    first, last = shards.rows_of(its.rows, shard.count, shard.index)
    if shard.count > 1 and shard.index not in shards.missing(store.folder, shard.count):
        last = first  # this one is there
    costs = cost.measure(dataset, store.features, store.part, its, first, last)
    return Wanted(store.name, store.features, store.part, store.folder, its, costs)


def _show(dataset: Dataset, wanted: list[Wanted], workers: int, shard: Shard, simulated: bool) -> None:
    """A table of the stores: what each holds, where it stands, and what is left to do."""
    from rich.table import Table

    title = f"{'SIMULATED ' if simulated else ''}{dataset.name}" + (
        f", shard {shard.index} of {shard.count}" if shard.count > 1 else ""
    )
    table = Table("features", "part", "rows", "stored as", "disk", "an example", "time", "state", box=None)
    table.title, table.title_justify = title, "left"
    for store in wanted:
        rows = amount(len(dataset.table(store.part)))
        if store.costs is None or store.its is None:
            table.add_row(store.name, store.part, rows, "", "", "", "", "stands")
            continue
        shape = " × ".join("open" if n is None else str(n) for n in store.its.shape)
        state = "to build"
        if shard.count > 1:
            missing = len(shards.missing(store.folder, shard.count))
            state = f"{shard.count - missing} of {shard.count} shards stand"
        table.add_row(
            *(store.name, store.part, rows, f"{shape} {store.its.dtype}", _size(store.costs.nbytes)),
            *(f"{1e3 * store.costs.each_s:.3g} ms", _duration(store.costs.seconds(workers)), state),
        )
    screen = console(120, markup=False)
    screen.print(table)
    measured = sum(store.costs.measured for store in wanted if store.costs)
    if measured:
        screen.print(f"time: from {measured} examples, for {workers} processes; disk: exact" + _joining(shard))


def _joining(shard: Shard) -> str:
    return ", twice the whole store's while shards are joined" if shard.count > 1 else ""


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _refuse_full(root: Path, nbytes: int) -> None:
    """UserError where the disk has less left than is to be written."""
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if nbytes > free:
        raise UserError(
            f"the stores need {_size(nbytes)} more and {there} has {_size(free)} left; free some space or set store="
            "<a folder elsewhere>"
        )
