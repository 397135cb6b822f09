"""Fills in a recipe's defaults: features, schedule and absolute paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd

from bench import extensions
from bench.datasets.few import n_folds
from bench.runs.recipe import CONSTANT, Node, Recipe
from bench.spec import UserError
from bench.tell import say
from bench.training import parts

BATCH_SIZE = 32
"""Where neither the command nor the pair's recipe says how many."""


def settle(recipe: Recipe, names: Mapping[str, str]) -> tuple[Recipe, dict[str, str]]:
    """The recipe and the groups' chosen options (group → name), with nothing left that stands for something else.

    Raises UserError for a data set that has no features for the model.
    """
    features_name, features = _features(recipe, names)
    scheduler = recipe.scheduler
    if not parts.named(scheduler):
        scheduler = (recipe.recipe or {}).get("scheduler") or CONSTANT
    settled = replace(
        recipe,
        features=features,
        scheduler=scheduler,
        optimizer=_optimizer(recipe),
        train=replace(recipe.train, precision=_precision(recipe)),
        model=_whole(recipe.model, "weights"),
        pseudo=_whole(recipe.pseudo, "runs"),
        init_from=_path(recipe.init_from) if recipe.init_from else recipe.init_from,
    )
    return settled, {**names, "features": features_name, "augment": ",".join(recipe.augment) or "none"}


def _features(recipe: Recipe, names: Mapping[str, str]) -> tuple[str, Node]:
    """The features named in the recipe; else the pair's; else the data set's default for the model's input."""
    if parts.named(recipe.features):
        return names.get("features", "custom"), parts.with_signal(recipe.features, parts.dataset_class(recipe.dataset))
    return default_features(recipe.dataset, recipe.model, recipe.recipe, names)


def default_features(dataset: Node, model: Node, pair: Node | None, names: Mapping[str, str]) -> tuple[str, Node]:
    """The features of a ``pair``'s recipe, else the data set's own for what the model takes: name and node."""
    import yaml

    defaults, takes = parts.dataset_class(dataset).features, parts.takes(model)
    name = (pair or {}).get("features") or defaults.get(takes)
    if name is None:
        kinds = " or ".join(map(a, defaults))
        raise UserError(
            f"dataset={names.get('dataset')} has no features for a model that takes {a(takes)}; "
            f"choose a model that takes {kinds}, or name features="
        )
    node = yaml.safe_load(extensions.option("features", name).read_text(encoding="utf-8"))
    return name, parts.with_signal(node, parts.dataset_class(dataset))


def sized(recipe: Recipe, simulated: bool) -> Recipe:
    """The recipe with its batch size: as set, else the pair's, else 32.

    A pair may have another batch size and another schedule for simulated rows, which are few.
    """
    pair, size = recipe.recipe or {}, recipe.train.batch_size
    if simulated and recipe.scheduler == pair.get("scheduler"):  # nobody chose another
        recipe = replace(recipe, scheduler=pair.get("scheduler_simulated") or recipe.scheduler)
    if size is None:
        size = (pair.get("batch_size_simulated") if simulated else None) or pair.get("batch_size") or BATCH_SIZE
    return replace(recipe, train=replace(recipe.train, batch_size=size))


def in_fewer_folds(recipe: Recipe, table: pd.DataFrame) -> Recipe:
    """The recipe of a quick look (``rows``), whose rows may be too few for the split's folds."""
    if recipe.rows is None:
        return recipe
    n_splits, most = recipe.split.get("n_splits"), n_folds(table)
    split = {**recipe.split, "n_splits": min(n_splits, most)} if n_splits else recipe.split
    fewer = f", in {most} folds" if split != recipe.split else ""
    say(f"rows      {len(table)} of the training rows, no test rows{fewer} (rows={recipe.rows})")
    return replace(recipe, split=split)


def _optimizer(recipe: Recipe) -> Node:
    """Adam with the pair's eps, where neither the command nor an experiment sets one."""
    eps = (recipe.recipe or {}).get("adam_eps")
    if eps is None or "eps" in recipe.optimizer or recipe.optimizer.get("_target_") != "torch.optim.Adam":
        return recipe.optimizer
    return {**recipe.optimizer, "eps": eps}


def _precision(recipe: Recipe) -> Literal["float32", "bf16", "fp16", "auto"]:
    if recipe.train.precision != "auto":
        return recipe.train.precision
    from bench.training import device

    return device.mixed_precision(device.choose(device.several(recipe.device)[0]))


def _whole(node: Node, key: str) -> Node:
    """The node with whole paths below its key, where it has some."""
    paths = node.get(key)
    if not paths:
        return node
    return {**node, key: _path(paths) if isinstance(paths, str) else [_path(path) for path in paths]}


def _path(path: str) -> str:
    return str(Path(path).resolve())


def a(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"
