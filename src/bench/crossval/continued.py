"""More epochs than before: a run that goes on from the checkpoints of one which was trained for fewer.

Going on must end in the bits of a training from the beginning, so nothing may depend on how many epochs there are.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from bench.atomic import replacing
from bench.crossval.plan import Plan
from bench.runs import recipe as recipes
from bench.runs.facts import leaves
from bench.runs.recipe import Recipe
from bench.runs.run import Fold, Run
from bench.runs.selection import select
from bench.spec import UserError
from bench.tell import say
from bench.training import parts

MOST_DIFFERENCES, MOST_TRIED = 4, 2000


def shorter(plan: Plan) -> Run | None:
    """The longest of the runs that differ from the plan's in having fewer epochs alone."""
    epochs, siblings = plan.recipe.train.epochs or 0, plan.run.folder.parent
    names = {folder.name for folder in siblings.iterdir()} if siblings.is_dir() else set()
    if not names:
        return None
    tried = (plan.identity_with(n) for n in range(epochs - 1, max(0, epochs - MOST_TRIED), -1))
    return next((Run(siblings / name) for name in tried if name in names), None)


def advise(plan: Plan) -> None:
    """Says which run the new one could go on from, or why it can't, where a shorter one is there."""
    if plan.run.folder.exists() or plan.recipe.resume_from or (run := shorter(plan)) is None:
        return
    epochs = run.recipe.train.epochs
    why = obstacle(plan, run.recipe)
    how = f"resume_from={run.identity} goes on from there" if why is None else f"can't be gone on from: {why}"
    say(f"epochs    {run.identity} has trained {epochs} of these {plan.recipe.train.epochs}: {how}")


def take_over(plan: Plan) -> None:
    """Puts the checkpoints of ``resume_from`` into the folds that have none; the caller holds the run.

    Raises UserError for a run that is another one in more than its epochs, or that can't be gone on from.
    """
    name = plan.recipe.resume_from
    if not name:
        return
    run = _named(name, Path(plan.recipe.outputs))
    if run.folder == plan.run.folder:
        return
    _refuse_other(plan, run)
    for number in plan.folds:
        mine, its = plan.run.fold(number), run.fold(number)
        if not mine.checkpoint.exists() and not mine.done.exists() and its.checkpoint.exists():
            _copy(its, mine)


def _named(name: str, outputs: Path) -> Run:
    """The one run of that name; a folder may be of a run that is not finished."""
    if Path(name).is_dir():
        return Run.open(name)
    (run, *others) = select(name, outputs, "resume_from").runs
    if others:
        raise UserError(f"resume_from={name} names {len(others) + 1} runs; give the folder or identity of one")
    return run


def obstacle(plan: Plan, before: Recipe) -> str | None:
    """Why a training of ``before``'s epochs was no beginning of the plan's; None where it was."""
    mine, old, new = plan.recipe, before.train.epochs, plan.recipe.train.epochs
    assert old is not None
    assert new is not None
    if parts.solved(mine.model):
        return "the model is solved at once, and has no epochs"
    if old >= new:
        return f"it has {old} epochs, and this one {new}; set train.epochs above {old}"
    losses = [1.0] * old
    schedule = parts.schedule(mine.scheduler)
    at = np.linspace(0, old, 8 * old, endpoint=False)
    if any(schedule(epoch, old, 1.0, losses) != schedule(epoch, new, 1.0, losses) for epoch in at):
        return (
            f"the learning rate of scheduler={plan.inputs.names.get('scheduler')} depends on the number of epochs; "
            "scheduler=constant, steps and plateau do not"
        )
    weights = parts.row_weights(mine.row_weights)
    if weights and any(not np.array_equal(weights(plan.rows, e, old), weights(plan.rows, e, new)) for e in range(old)):
        return f"row_weights={plan.inputs.names.get('row_weights')} depends on the number of epochs"
    if any(isinstance(node, dict) and node.get("until", 1) != 1 for node in mine.augment.values()):
        return "an augmentation ends at a share of the epochs (until)"
    if foreign := [name for name, node in mine.augment.items() if not _of_bench(node)]:
        return f"augment={foreign[0]} is yours, and may depend on the share of the epochs that is done"
    return None


def _of_bench(node: Any) -> bool:
    return isinstance(node, dict) and str(node.get("_target_", "")).startswith("bench.")


def _refuse_other(plan: Plan, run: Run) -> None:
    before = run.made_by
    if not isinstance(before, Recipe):
        raise UserError(f"resume_from: {run.folder} is an ensemble, which has no epochs")
    if plan.identity_with(before.train.epochs or 0) != run.identity:
        raise UserError(
            f"resume_from: {run.folder} differs from this training in more than its epochs: "
            f"{_differences(plan, before)}; init_from= starts from its weights instead"
        )
    if why := obstacle(plan, before):
        raise UserError(f"resume_from: {run.folder} can't be gone on from: {why}")


def _differences(plan: Plan, before: Recipe) -> str:
    """What the recipes differ in, as words; the rows where they do not."""
    mine, its = (leaves(recipes.deciding(recipe)) for recipe in (plan.recipe, before))
    keys = [key for key in {**mine, **its} if mine.get(key) != its.get(key) and key != "train.epochs"]
    listed = ", ".join(f"{key} ({its.get(key, 'none')} there, {mine.get(key, 'none')} here)" for key in keys)
    if len(keys) > MOST_DIFFERENCES:
        return f"{', '.join(keys[:MOST_DIFFERENCES])} and {len(keys) - MOST_DIFFERENCES} more"
    return listed or "its rows, folds or stored features"


def _copy(source: Fold, target: Fold) -> None:
    """The checkpoint last: without it the others count for nothing."""
    target.folder.mkdir(parents=True, exist_ok=True)
    for path in (source.weights, source.checkpoint):
        if path.exists():
            with replacing(target.folder / path.name) as temporary:
                shutil.copyfile(path, temporary)
