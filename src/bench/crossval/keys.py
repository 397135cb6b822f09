"""Keys of a recipe's groups that nothing would read: refused before a file is read or made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import bench
from bench import build
from bench.runs.recipe import Recipe
from bench.spec import UserError
from bench.training import parts

OF_THE_DATA = {"channels", "size", "classes", "sample_rate", "n_classes", "num_classes", "in_chans", "in_channels"}
"""Options of models that the data decides."""


def refuse_unread(recipe: Recipe) -> None:
    """UserError for a key of a group's node that its target does not take, or that stands where nothing is named.

    Of what is composed by list, such as augment, ``build.each`` says so.
    """
    for key in sorted(OF_THE_DATA & set(recipe.model)):
        raise UserError(f"model.{key} is decided by the data; leave it out of the model's config")
    for group in parts.GIVEN:
        node = getattr(recipe, group)
        if parts.named(node):
            parts.bound(group, node)
        elif extra := [f"{group}.{key}" for key in node if key != "_target_"]:
            raise UserError(
                f"{', '.join(extra)} would do nothing: name the option it belongs to, {group}=<name>, as well"
            )
    if simulator := recipe.dataset.get("simulator"):
        build.partial(simulator, "dataset.simulator", 1)


def accepted(recipe: Recipe) -> bool:
    """Whether a recipe with these parts, of this device and precision, has been planned before.

    To ask the parts imports them, and torch with them, which takes longer than all else that a finished run's command
    does. So what was accepted is not asked again.
    """
    return _mark(recipe).exists()


def accept(recipe: Recipe) -> None:
    """Remembers, beside the computed features, that the recipe's keys are read."""
    mark = _mark(recipe)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _mark(recipe: Recipe) -> Path:
    nodes = {group: getattr(recipe, group) for group in parts.GIVEN}
    known = [bench.__version__, nodes, recipe.device, recipe.train.precision]
    text = json.dumps(known, sort_keys=True, default=str)
    return Path(recipe.store) / "accepted" / hashlib.sha256(text.encode()).hexdigest()[:32]
