"""An ensemble's members from training commands: those that are not finished are trained first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.crossval import stages
from bench.runs.outcome import Outcome
from bench.runs.recipe import EnsembleRecipe
from bench.spec import UserError
from bench.tell import say


def with_members(
    recipe: EnsembleRecipe, composed: Callable[[Sequence[str]], stages.Composed]
) -> tuple[EnsembleRecipe, Outcome | None]:
    """The recipe with ``runs`` in place of ``members``, and the first training of which a fold failed, else None.

    ``composed`` is a training command of some overrides. The ensemble's own root, outputs, extensions and tracking
    are its members' too.
    """
    commands = recipe.members
    if commands is None:
        return recipe, None
    if recipe.runs:
        raise UserError("runs and members both say what is blended; give one")
    lists = isinstance(commands, list | tuple) and all(isinstance(words, list | tuple) for words in commands)
    if not lists or not commands or not all(isinstance(word, str) for words in commands for word in words):
        raise UserError("members must be lists of overrides of bench.train, as in members=\"[['seed=1'],['seed=2']]\"")
    runs: list[str] = []
    for number, words in enumerate(commands, 1):
        say(f"member    {number} of {len(commands)}: {' '.join(words)}")
        outcome = _trained([*words], recipe, composed)
        if outcome.failed:
            return recipe, outcome
        runs.append(str(outcome.run.folder))
    return replace(recipe, runs=runs, members=None), None


def _trained(words: list[str], recipe: EnsembleRecipe, composed: Callable[[Sequence[str]], stages.Composed]) -> Outcome:
    def with_more(more: Sequence[str]) -> stages.Composed:
        member, names = composed([*words, *more])
        dataset = member.dataset if recipe.root is None else {**member.dataset, "root": recipe.root}
        shared = replace(member, outputs=recipe.outputs, extensions=recipe.extensions, tracking=recipe.tracking)
        return replace(shared, dataset=dataset), names

    return stages.train(*with_more([]), with_more)
