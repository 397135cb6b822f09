"""Checks of a recipe before anything is computed: values, row weights, and what validation rows are asked for.

They import no torch; ``buildable`` has those that do.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.crossval import keys, length, torchrun
from bench.datasets.base import open_to, serves
from bench.runs.recipe import Node, Recipe
from bench.spec import InputSpec, UserError
from bench.tracking import address
from bench.training import parts


def values(recipe: Recipe) -> None:
    """The values that types alone can't judge."""
    if new := not keys.accepted(recipe):
        keys.refuse_unread(recipe)
    if "?" in recipe.outputs and recipe.tracking.enabled and recipe.tracking.uri is None:
        raise UserError(f"outputs={recipe.outputs}: MLflow's database can't lie below a folder with '?' in its name")
    if recipe.tracking.enabled:
        address.chosen(recipe.tracking.uri, Path(recipe.outputs))
    train = recipe.train
    for key in ("epochs", "min_steps", "batch_size", "eval_batch_size", "accumulate", "patience"):
        number = getattr(train, key)
        if number is not None and number < 1:
            raise UserError(f"train.{key}={number} must be 1 or more")
    if train.ema is not None and not 0 < train.ema < 1:
        raise UserError(f"train.ema={train.ema:g} must lie between 0 and 1, such as 0.999; null is no average")
    if train.patience is not None and train.keep == "last":
        raise UserError("train.patience waits for a better epoch: say of what, train.keep=loss, metric or train_loss")
    if parts.solved(recipe.model):
        solved(recipe)
    if recipe.folds.parallel is not None and recipe.folds.parallel < 1:
        raise UserError(f"folds.parallel={recipe.folds.parallel} must be 1 or more")
    if recipe.folds.fused is True and recipe.folds.parallel is not None:
        raise UserError("folds.fused=true trains all folds in one process; leave folds.parallel out, or folds.fused")
    if recipe.folds.fused is True and recipe.compile in (True, "auto"):
        how = str(recipe.compile).lower()
        raise UserError(f"folds.fused=true batches the model itself; leave out compile={how}, or take compile=graph")
    if torchrun.here():
        for key, wanted in (("folds.launcher", "local"), ("folds.fused", False), ("compile", False)):
            value = recipe.compile if key == "compile" else getattr(recipe.folds, key.removeprefix("folds."))
            if value not in (wanted, "auto"):
                raise UserError(
                    f"torchrun trains one fold after another over all its processes: leave out {key}={value}"
                )
    if recipe.seed < 0:
        raise UserError(f"seed={recipe.seed} must be 0 or more")
    if new:  # else where something is trained: ``buildable``
        devices(recipe)


def solved(recipe: Recipe) -> None:
    """Refuses what asks for epochs of a model that is solved at once."""
    train = recipe.train
    asked = {
        f"train.epochs={train.epochs}": train.epochs not in (None, 1),
        f"train.ema={train.ema}": train.ema is not None,
        f"augment=[{','.join(recipe.augment)}]": bool(recipe.augment),
        f"init_from={recipe.init_from}": recipe.init_from is not None,
    }
    if useless := [key for key, is_asked in asked.items() if is_asked]:
        model = parts.name(recipe.model)
        raise UserError(
            f"{', '.join(useless)} would do nothing: model={model} is solved at once, without epochs; leave that out"
        )


def devices(recipe: Recipe) -> None:
    """Refuses devices that are not here, and a precision that one lacks."""
    from bench.training import device

    for name in device.several(recipe.device):
        device.refuse_precision(recipe.train.precision, device.choose(name))


def wanted_folds(only: tuple[int, ...] | None, n_splits: int) -> list[int]:
    """The folds to train: ``only`` these (None: all) of ``n_splits``."""
    if only is not None and (not only or not set(only) <= set(range(n_splits))):
        raise UserError(f"folds.only={list(only)} must name folds from 0 to {n_splits - 1}")
    return sorted(set(only)) if only is not None else list(range(n_splits))


def lengths(open_length: bool, tta: Node, synthetic: Node | None = None) -> None:
    """Refuses views and synthetic rows that the stored examples do not allow, be their length open or fixed."""
    if open_length and synthetic is not None and parts.named(synthetic):
        raise UserError("synthetic rows are made of examples of one length; these have each their own: leave it out")
    if not open_length and str(tta.get("_target_")).endswith(".Crops"):
        raise UserError("tta=crops is for examples that are longer than a window; these have one length: leave it out")


def unvalidated(recipe: Recipe, rows: pd.DataFrame) -> None:
    """Refuses what asks the validation rows, where there are none."""
    if (rows["fold"] >= 0).any():
        return
    if recipe.train.keep not in ("last", "train_loss"):
        raise UserError(
            f"train.keep={recipe.train.keep} asks validation rows, and split=none has none; choose train.keep=last or "
            "train.keep=train_loss, with train.patience=null where it is set"
        )
    if parts.name(recipe.scheduler) == "plateau":
        raise UserError("scheduler=plateau asks validation rows, and split=none has none; choose another scheduler")


def row_weights(recipe: Recipe, rows: pd.DataFrame) -> None:
    """Refuses invalid row weights, and weights that leave a fold no row to train on in some epoch."""
    weights, epochs = parts.row_weights(recipe.row_weights), length.intended(recipe)
    if weights is None:
        return
    table_weight = rows["weight"].to_numpy() if "weight" in rows else 1.0
    examples = rows["example"] if "example" in rows else rows["id"]
    for epoch in range(epochs):
        counts = (table_weight * weights(rows, epoch, epochs) > 0) & serves(rows, "trained")
        empty = [
            k for k in range(max(1, int(rows["fold"].max()) + 1)) if examples[counts & open_to(rows, k)].nunique() < 2
        ]
        if empty:
            raise UserError(
                f"row_weights leaves fold {min(empty)} fewer than two examples to train on in epoch {epoch + 1}; "
                "give some range a factor above 0"
            )


def single_rows(recipe: Recipe, spec: InputSpec, rows: pd.DataFrame) -> None:
    """Refuses to train on one row at once what normalises by batches of it: a channel's one number has no deviation.

    Only batches of one row by choice, and training sides of one row, are that small: another last row joins the batch
    before it. Layers that see many samples or places of the one row can train on it.
    """
    examples = length.trained_examples(rows)
    lone = [k for k, n in examples.items() if n == 1]
    if recipe.train.batch_size != 1 and not lone:
        return
    import torch

    from bench.training import batch_statistics

    with torch.device("meta"):
        model = parts.model(recipe.model, spec).train()
        for layer in batch_statistics.once(model) if lone else ():
            layer.training = True  # as it is when it is measured
        try:
            model(torch.empty(1, *spec.shape))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            model_name = recipe.model["_target_"].rpartition(".")[2]
            if lone:
                raise UserError(
                    f"fold {lone[0]} has one row to train on, and {model_name} normalises by batches of two or more; "
                    "give it more rows, or choose a model without batch normalisation, such as model=mlp"
                ) from error
            raise UserError(
                f"train.batch_size=1: {model_name} normalises by batches of two rows or more; give 2 or more, with "
                "train.accumulate= where one step shall take several"
            ) from error
