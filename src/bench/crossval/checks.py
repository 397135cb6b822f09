"""Checks of a recipe before anything is computed: values, parts that fit each other, row weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.augment.base import Augmentation
from bench.crossval import keys, length, warm_start
from bench.data.batches import Batch
from bench.datasets.base import open_to, serves
from bench.features.base import Features
from bench.runs.recipe import Node, Recipe
from bench.spec import InputSpec, UserError
from bench.tracking import address
from bench.training import batch_statistics, device, parts

NOT_BUILT = (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AssertionError)
"""What a model or a loss raises of options that it can't be built of."""


def values(recipe: Recipe) -> None:
    """The values that types alone can't judge."""
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
    if recipe.folds.parallel is not None and recipe.folds.parallel < 1:
        raise UserError(f"folds.parallel={recipe.folds.parallel} must be 1 or more")
    if recipe.seed < 0:
        raise UserError(f"seed={recipe.seed} must be 0 or more")
    for name in device.several(recipe.device):
        device.refuse_precision(train.precision, device.choose(name))


def buildable(recipe: Recipe, spec: InputSpec, features: Features) -> None:
    """Builds all parts, the model without memory or arithmetic, so that a mistake shows at once."""
    _model(recipe, spec)
    _changes(recipe, spec, features)
    _numbers(recipe, spec)


def _model(recipe: Recipe, spec: InputSpec) -> None:
    node, source = recipe.model, recipe.init_from
    if (weights := node.get("weights")) and (Path(weights).is_dir() or warm_start.of_a_run(weights)):
        raise UserError(f"model.weights={weights} is of a run, and may leak; start from it with init_from={weights}")
    if source:
        warm_start.digest("init_from", source)  # all files are there, and finished
    with torch.device("meta"):
        try:
            model = parts.model(node, spec)
            if source:
                warm_start.load(model, warm_start.file_for(source, 0), spec.n_classes)
        except NOT_BUILT as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"the model can't be built of {_told(node)}: {error}; change its options") from error
        try:
            answer = model.eval()(torch.empty(2, *spec.shape))
        except (RuntimeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"the model does not take {spec.kind} input of shape {spec.shape}: {str(error).splitlines()[0]}; "
                "choose another model, its options or other features"
            ) from error
    if tuple(answer.shape) != (2, spec.n_classes):
        raise UserError(f"the model answers {tuple(answer.shape)} for 2 rows of {spec.n_classes} classes")


def _changes(recipe: Recipe, spec: InputSpec, features: Features) -> None:
    """Augmentation, views, and rows that are added."""
    batch = Batch(torch.zeros(2, *spec.shape), torch.full((2, spec.n_classes), 1 / spec.n_classes))
    augment = parts.augment(recipe.augment, features)
    for change in augment:
        if not isinstance(change, Augmentation):
            raise UserError(f"augment: {type(change).__name__} is no subclass of bench.augment.base.Augmentation")
        if not change.on_stored:
            batch = change(batch, 0.0)
    parts.views(recipe.tta, features, augment)
    if parts.synthetic(recipe.synthetic) is not None and not features.between:
        raise UserError(
            "synthetic rows lie between stored ones, and these features store codes; choose others or leave it out"
        )
    if labels := parts.pseudo_labels(recipe.pseudo):
        labels.chosen(np.zeros((0, spec.n_classes)), spec.classes, np.zeros(0))


def _numbers(recipe: Recipe, spec: InputSpec) -> None:
    """Loss and learning rates."""
    loss, schedule = parts.loss(recipe.loss), parts.schedule(recipe.scheduler)
    target = torch.full((2, spec.n_classes), 1 / spec.n_classes)
    epochs, where, node = length.intended(recipe), "optimizer", recipe.optimizer
    try:
        optimizer = parts.optimizer(node, [torch.nn.Parameter(torch.zeros(1))])
        where, node = "scheduler", recipe.scheduler
        rates = [schedule(epoch, epochs, optimizer.param_groups[0]["lr"], ()) for epoch in range(epochs)]
        where, node = "loss", recipe.loss
        value = loss(torch.zeros(2, spec.n_classes), target, None)
    except NOT_BUILT as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where} can't be used with {_told(node)}: {error}; change its options") from error
    if not all(rate >= 0 for rate in rates) or not torch.isfinite(value):
        raise UserError(f"the learning rates {rates[:5]} or the loss {float(value)} are not numbers to train with")


def _told(node: Node) -> str:
    """A config node as a person wrote it."""
    return ", ".join(f"{key.replace('_target_', 'target')}={value}" for key, value in node.items())


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
