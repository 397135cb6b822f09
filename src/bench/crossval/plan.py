"""Before the first step of training, in a straight line: settle, open, check, split, identify.

Each step gives what the next one takes, and changes nothing that it was given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.crossval import checks, keys, length, pseudo_labels, warm_start
from bench.crossval.opened import Opened, open_files
from bench.crossval.settle import in_fewer_folds, settle, sized
from bench.data.assignment import Assignment, Splitter, assign, blocks, with_copies
from bench.data.kept_splits import kept
from bench.data.store import Store
from bench.datasets.base import Dataset
from bench.runs import checksums, inputs, recipe
from bench.runs.environment import write_environment
from bench.runs.frames import write_frame
from bench.runs.inputs import Inputs
from bench.runs.recipe import Recipe
from bench.runs.run import Run, identity
from bench.tell import say
from bench.training import parts

FORMAT = 1  # raise it when the same recipe would train another model: old runs keep their folders


@dataclass(frozen=True)
class Plan:
    """A run that is ready to train, once ``write`` has put into its folder all that a fold's process needs.

    ``folds`` are those to train; ``content`` is what names the run. Nothing is written before the caller holds the run.
    """

    run: Run
    dataset: Dataset
    folds: list[int]
    recipe: Recipe
    inputs: Inputs
    rows: pd.DataFrame
    content: dict[str, Any]

    def identity_with(self, epochs: int) -> str:
        """The name of the run that differs from this one in its number of epochs alone."""
        config = self.content["config"]
        return identity({**self.content, "config": {**config, "train": {**config["train"], "epochs": epochs}}})

    def write(self) -> None:
        folder = self.run.folder
        with checksums.writing(folder, inputs.FILE, "splits.parquet", "test_ids.parquet", recipe.FILE):
            inputs.write(folder, self.inputs)
            write_frame(self.rows, folder / "splits.parquet")
            write_frame(self.dataset.table("test").filter(["id", "group"]), folder / "test_ids.parquet")
            write_environment(self.run)
            recipe.write(folder, self.recipe)


@dataclass(frozen=True)
class Split:
    """``rows`` are the training table with its ``fold``; ``folds`` are those to train."""

    rows: pd.DataFrame
    n_splits: int
    folds: list[int]
    notes: tuple[str, ...]


def make_plan(recipe: Recipe, names: Mapping[str, str]) -> Plan:
    """The run of a recipe; ``names`` are the groups' chosen options.

    Raises UserError for a mistake in the recipe or in the files, as early as it can be told: what needs hours of
    computing comes last.
    """
    checks.values(recipe)
    settled, names = settle(recipe, names)
    opened = open_files(settled, names)
    settled = in_fewer_folds(sized(settled, opened.simulated), opened.dataset.table("train"))
    early, folds = _first_look(settled, opened)
    if computes := not opened.computed(settled):
        _refuse_unbuildable(settled, opened)
    store = opened.store(settled, "train")
    split = _split(settled, opened, store, early, folds)
    _refuse_leaks(settled, opened, split)
    settled, raised = length.settled(settled, split.rows)
    if raised:
        say(f"epochs    {raised}")
    checks.unvalidated(settled, split.rows)
    checks.row_weights(settled, split.rows)
    checks.single_rows(settled, opened.spec, split.rows)
    stores = {"train": store, "test": opened.store(settled, "test")}
    plan = _identify(settled, names, opened, stores, split)
    if not computes and not all(plan.run.fold(k).done.exists() for k in folds):
        _refuse_unbuildable(settled, opened)
    keys.accept(recipe)
    return plan


def _refuse_unbuildable(settled: Recipe, opened: Opened) -> None:
    """Tries to build all parts. What has been trained was built; torch, which takes a second, is not imported then."""
    from bench.crossval import buildable

    buildable.check(settled, opened.spec, opened.features)


def _first_look(settled: Recipe, opened: Opened) -> tuple[Assignment, list[int]]:
    """Splits the rows by the tables alone, before features are computed; returns the assignment and the folds."""
    dataset, features = opened.dataset, opened.features
    for part in pseudo_labels.PARTS:
        dataset.table(part)
        dataset.also_read(part, **features.reads)
    checks.lengths(features.stored_shape(dataset)[-1:] == (None,), settled.tta, settled.synthetic)
    table = dataset.table("train")
    splitter, strict = _splitter(settled, dataset)
    early = assign(table, np.zeros((len(table), 16), np.uint8), splitter, strict)
    folds = checks.wanted_folds(settled.folds.only, early.n_splits)
    if settled.init_from:
        warm_start.source_run("init_from", settled.init_from, folds)
    pseudo_labels.refuse_unfit(settled, dataset, opened.simulated, folds)
    return early, folds


def _splitter(settled: Recipe, dataset: Dataset) -> tuple[Splitter, bool]:
    splitter, strict = parts.split(settled.split)
    return kept(splitter, Path(settled.store) / dataset.name / "splits"), strict


def _split(settled: Recipe, opened: Opened, store: Store, early: Assignment, folds: list[int]) -> Split:
    """The early assignment, in which copies, which the store alone knows, move to one side; says what is notable."""
    table = _with_near_duplicates(settled, opened, store)
    assignment = with_copies(early, table, store.digests(), *_splitter(settled, opened.dataset))
    notes = list(assignment.notes)
    if level := int(store.flat().sum()):
        notes.append(f"{level} training examples are one number all over; they are not tied as copies of each other")
    for note in notes:
        say(f"split     {note}")
    return Split(assignment.onto(table), assignment.n_splits, folds, tuple(notes))


def _with_near_duplicates(settled: Recipe, opened: Opened, store: Store) -> pd.DataFrame:
    """The training table; with split.duplicates=near with a column ``near`` that numbers sets of near-duplicates."""
    table = opened.dataset.table("train")
    if settled.split.get("duplicates") != "near":
        return table
    from bench.data.near_duplicates import near_duplicates

    compared = opened.store(settled, "train", parts.comparable_features(opened.dataset))
    found = near_duplicates(compared, blocks(table, compared.digests()), settled.workers)
    say(f"near      {len(found.pairs)} pairs of {len(table)} training examples are near-duplicates")
    return table.assign(near=found.groups)


def _refuse_leaks(settled: Recipe, opened: Opened, split: Split) -> None:
    """Weights and labels of runs that were trained on what a fold validates."""
    if source := settled.init_from:
        dataset = settled.dataset["_target_"]
        warm_start.refuse_leak("init_from", source, dataset, opened.simulated, split.rows, split.folds)
    pseudo_labels.refuse_leaks(settled, opened.simulated, split.rows, split.folds)


def _identify(
    settled: Recipe, names: Mapping[str, str], opened: Opened, stores: Mapping[str, Store], split: Split
) -> Plan:
    """The run's folder, named by a hash of all that decides the result, and the inputs that its folds read."""
    dataset = opened.dataset
    decides = _deciding(settled)  # reads the weights that the run starts from
    content = {
        **{"format": FORMAT, "config": decides, "spec": asdict(opened.spec)},
        **{"data": stores["train"].digest, "rows": _digest(split.rows)},
    }
    seedless = {key: value for key, value in decides.items() if key != "seed"}
    digest, group = (identity({**content, "config": config}) for config in (decides, seedless))
    test_ids = dataset.table("test")["id"].astype(str).tolist()
    known = Inputs(
        names=names,
        dataset=names["dataset"],
        model=names["model"],
        metric=dataset.metric.name,
        direction=dataset.metric.direction,
        simulated=opened.simulated,
        n_splits=split.n_splits,
        spec=opened.spec,
        window=opened.features.window(dataset) if stores["train"].open else None,
        stores={part: str(store.folder.resolve()) for part, store in stores.items()},
        teachers=pseudo_labels.open_teachers(settled, opened),
        test=hashlib.sha256(f"{stores['test'].digest} {test_ids}".encode()).hexdigest()[:32],
        facts=dataset.facts(),
        notes=split.notes,
        group=group,
    )
    run = Run((Path(settled.outputs) / names["dataset"] / names["model"] / digest).resolve())
    return Plan(run, dataset, split.folds, settled, known, split.rows, content)


def _deciding(settled: Recipe) -> dict[str, Any]:
    """The part of the recipe that decides the result. Files count by their content, not their path."""
    decides = recipe.deciding(settled)
    decides["augment"] = list(decides["augment"].items())  # their order decides, too
    if weights := settled.model.get("weights"):
        decides["model"] = {**decides["model"], "weights": warm_start.digest("model.weights", weights)}
    if source := settled.init_from:
        decides["init_from"] = warm_start.digest("init_from", source)
    if runs := settled.pseudo.get("runs"):
        decides["pseudo"] = {**decides["pseudo"], "runs": [warm_start.digest("pseudo.runs", run) for run in runs]}
    return decides


def _digest(rows: pd.DataFrame) -> str:
    """Hash of ids, targets and folds (and weights and groups where there are any)."""
    kept = rows.assign(id=rows["id"].astype(str))
    return hashlib.sha256(pd.util.hash_pandas_object(kept, index=False).to_numpy().tobytes()).hexdigest()
