"""The number of epochs where none is set: the pair's or the default, raised where rows are few."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from bench.data.ranges import cut
from bench.datasets.base import open_to, serves
from bench.runs.recipe import Recipe
from bench.training import parts

EPOCHS = 10
"""Where neither the command nor the pair's recipe says how many."""


def intended(recipe: Recipe) -> int:
    """The number of epochs before it is raised for few rows: as set, else the pair's, else the default.

    A model that is solved at once has one.
    """
    if parts.solved(recipe.model):
        return 1
    return recipe.train.epochs or (recipe.recipe or {}).get("epochs") or EPOCHS


def settled(recipe: Recipe, rows: pd.DataFrame) -> tuple[Recipe, str]:
    """The recipe with its number of epochs, and a sentence if that was raised (else an empty string).

    Epochs that were typed stay. Others are raised until the fold of ``rows`` (the training table with its ``fold``)
    that has the fewest rows to train on takes ``train.min_steps`` steps; rows that are added to them are not counted.
    """
    epochs, train = intended(recipe), recipe.train
    assert train.batch_size is not None
    a_fold = min(trained_examples(rows).values())
    steps = max(1, -(-len(cut(a_fold, train.batch_size)) // train.accumulate))
    sentence = ""
    raisable = train.epochs is None and not parts.solved(recipe.model)
    if raisable and train.min_steps and epochs * steps < train.min_steps:
        raised = -(-train.min_steps // steps)
        sentence = (
            f"{raised} in place of {epochs}: {a_fold} rows to train on are {steps} step{'s' * (steps > 1)} an epoch, "
            f"and train.min_steps={train.min_steps}; train.epochs={epochs} leaves it at that"
        )
        epochs = raised
    return replace(recipe, train=replace(train, epochs=epochs)), sentence


def trained_examples(rows: pd.DataFrame) -> dict[int, int]:
    """Fold → the number of examples that an epoch of it trains on, each drawing one of its rows."""
    counts = serves(rows, "trained")
    if "weight" in rows:
        counts = counts & (rows["weight"].to_numpy() > 0)
    example = rows["example"] if "example" in rows else rows["id"]
    return {k: int(example[counts & open_to(rows, k)].nunique()) for k in range(max(1, int(rows["fold"].max()) + 1))}
