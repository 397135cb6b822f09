"""Keys of a recipe's groups that nothing would read: refused before a file is read or made."""

from __future__ import annotations

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
