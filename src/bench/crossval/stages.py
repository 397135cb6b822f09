"""Two stages in one command: a run that is trained first, and the run whose folds start from its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bench.crossval.dropped import Judge
from bench.crossval.run import cross_validate
from bench.runs.outcome import Outcome
from bench.runs.recipe import Recipe
from bench.spec import UserError
from bench.tell import say

Composed = tuple[Recipe, dict[str, str]]
"""A command's recipe, and the options that it chose: group → name."""


def train(
    recipe: Recipe, names: dict[str, str], composed: Callable[[list[str]], Composed], judge: Judge | None = None
) -> Outcome:
    """Trains the recipe's run, first that of its ``pretrain``, if it names one.

    ``pretrain`` are overrides that turn the command into its first stage; ``composed`` is the command with more
    overrides. Each fold starts from the weights of its own number; of a first stage that trains one fold alone
    (``folds.only=[0]``: the others' rows are its hold-out), all start from that one. A search's ``judge`` sees the
    last stage.
    """
    overrides = recipe.pretrain
    if not overrides:
        return cross_validate(recipe, names, judge)
    if recipe.init_from:
        raise UserError("pretrain and init_from both say what the folds start from; give one")
    say(f"stage 1   {' '.join(overrides)}")
    first_recipe, first_names = composed([*overrides, "pretrain=null"])
    first = cross_validate(first_recipe, first_names)
    if first.failed:
        return first
    only = first_recipe.folds.only
    source = first.run.folder
    if only is not None:
        if len(only) != 1:
            raise UserError(f"pretrain: folds.only={list(only)} must name one fold, or be left out")
        source = first.run.fold(only[0]).folder
    say(f"stage 2   from {source}")
    return cross_validate(replace(recipe, init_from=str(source)), names, judge)
