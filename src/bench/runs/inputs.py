"""A run's inputs.json: what its folds need besides the recipe, and facts about it for other commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.atomic import write_json
from bench.runs import records
from bench.spec import Direction, InputSpec

FILE = "inputs.json"


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
    a hash that runs share which differ in their seed alone. ``members``: an ensemble's alone.
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

    @property
    def validated(self) -> bool:
        """Whether the run validates rows; one with ``split=none`` trains once on all, and has no score."""
        return self.n_splits > 1


def read(folder: Path) -> Inputs:
    """UserError naming the file where it is not there, or not whole."""
    return records.from_json(Inputs, folder / FILE)


def write(folder: Path, inputs: Inputs) -> None:
    """A trained run's has no members at all."""
    content = {key: value for key, value in records.plain(inputs).items() if key != "members" or value}
    write_json(folder / FILE, content)
