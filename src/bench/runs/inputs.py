"""A run's inputs.json: what its folds need besides the recipe, and facts about it for other commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.atomic import write_json
from bench.runs import checksums, inside, records
from bench.spec import Direction, InputSpec, UserError

FILE = "inputs.json"
MOST_FOLDS = 100_000
ESCAPES = frozenset("\x1b\x9b\x90\x9d")


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A run whose folds label rows: its folder, the stores of its features (part → folder) and its window."""

    run: str
    stores: Mapping[str, str]
    window: int | None = None


@dataclass(frozen=True, kw_only=True)
class Member:
    """A blended run: its folder and a hash of its predictions at the time."""

    run: str
    predictions: str


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is known of a run before it trains.

    ``names``: group → the option chosen. ``stores``: part → the folder of its computed features; ``window``: samples
    of an example of open length that a batch takes. ``test``: a hash of the test examples and their ids. ``facts``:
    what prediction has to know of the training files. ``notes``: what a person should know of the split. ``group``:
    a hash that runs share which differ in their seed alone. ``members``: an ensemble's alone. ``adopted``: whether the
    predictions were made elsewhere.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    dataset: str
    model: str
    metric: str
    direction: Direction
    simulated: bool
    n_splits: int
    spec: InputSpec
    window: int | None = None
    stores: Mapping[str, str] = field(default_factory=dict)
    teachers: tuple[Teacher, ...] = ()
    test: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    group: str = ""
    members: tuple[Member, ...] = ()
    adopted: bool = False

    @property
    def validated(self) -> bool:
        """Whether the run validates rows; one with ``split=none`` trains once on all, and has no score."""
        return self.n_splits > 1 or self.adopted


def read(folder: Path) -> Inputs:
    """UserError naming the file where it is not there, or not whole."""
    inputs = records.from_json(Inputs, checksums.held(folder / FILE))
    _refuse(inputs, str(folder / FILE))
    return inputs


def write(folder: Path, inputs: Inputs) -> None:
    """A trained run's has no members at all."""
    _refuse(inputs, "this run")
    content = {key: value for key, value in records.plain(inputs).items() if key != "members" or value}
    write_json(folder / FILE, content)


def _refuse(inputs: Inputs, source: str) -> None:
    """UserError for names that are none: they become folders, and are shown."""
    names = {"dataset": inputs.dataset, "model": inputs.model, "metric": inputs.metric}
    inside.refuse_no_names(names | {f"names.{key}": value for key, value in inputs.names.items()}, source)
    if not 0 < inputs.n_splits <= MOST_FOLDS:
        raise UserError(f"{source}: n_splits={inputs.n_splits} must lie between 1 and {MOST_FOLDS:,}")
    if odd := [name for name in inputs.spec.classes if set(name) & ESCAPES]:
        raise UserError(f"{source}: the class {odd[0]!r} holds an escape that a terminal obeys; give it another name")
