"""A settled recipe's files, opened: the data set on its folder, and the features that fit it and the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.crossval.settle import a
from bench.data import store as stores
from bench.data.open import open_store, refuse_changed
from bench.data.store import Store
from bench.datasets.base import Dataset
from bench.datasets.few import few
from bench.datasets.root import is_simulated
from bench.features.base import Features
from bench.runs.recipe import Recipe
from bench.spec import InputSpec, Part, UserError
from bench.tell import say
from bench.training import parts


@dataclass(frozen=True)
class Opened:
    """``spec`` is what a model sees of the data set through the features."""

    dataset: Dataset
    simulated: bool
    features: Features
    spec: InputSpec

    def computed(self, recipe: Recipe) -> bool:
        """Whether all features are there already."""
        both: tuple[Part, ...] = ("train", "test")
        return all(stores.is_built(self.dataset, self.features, part, Path(recipe.store)) for part in both)

    def store(self, recipe: Recipe, part: Part, features: Features | None = None) -> Store:
        """A part's computed features, or of other ``features``; those that are not there yet are computed now."""
        stored_as = features or self.features
        store = open_store(self.dataset, stored_as, part, recipe.store, recipe.workers)
        if recipe.verify:
            refuse_changed(store, self.dataset, stored_as, part, recipe.workers)
        return store


def open_files(recipe: Recipe, names: Mapping[str, str]) -> Opened:
    """Raises UserError where files are missing or broken, or where the features fit the data set or the model not."""
    folder = parts.files(recipe.dataset, recipe.data, recipe.store).find()
    dataset, simulated = parts.dataset(recipe.dataset, folder), is_simulated(folder)
    if not simulated or recipe.dataset.get("root") is not None:
        say(f"data      {folder}" + (" (SIMULATED)" if simulated else ""))
    if recipe.rows is not None:
        dataset = few(dataset, recipe.rows)
    features = parts.features(recipe.features)
    _refuse_misfits(features, dataset, recipe, names)
    return Opened(dataset, simulated, features, features.spec(dataset))


def refuse_foreign(features: Features, dataset: Dataset, names: Mapping[str, str]) -> None:
    """UserError for features that read another data set."""
    if features.datasets and dataset.name not in features.datasets:
        raise UserError(
            f"features={names.get('features')} reads {' or '.join(features.datasets)}, not {dataset.name}; "
            f"leave features out, or choose one that python -m bench.catalog dataset={names.get('dataset')} lists"
        )


def _refuse_misfits(features: Features, dataset: Dataset, recipe: Recipe, names: Mapping[str, str]) -> None:
    refuse_foreign(features, dataset, names)
    takes = parts.takes(recipe.model)
    if not features.ordered and takes == features.kind and not parts.flattens(recipe.model):
        raise UserError(
            f"model={names.get('model')} looks for patterns along time, and features={names.get('features')} gives "
            "numbers without order; choose model=linear or model=mlp, or other features"
        )
    if features.kind != takes:
        fitting = dataset.fitting(takes) or "none yet"
        raise UserError(
            f"model={names.get('model')} takes {a(takes)} and features={names.get('features')} gives "
            f"{a(features.kind)}; choose features={fitting} or another model"
        )
