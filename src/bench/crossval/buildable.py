"""Whether all parts of a recipe can be built, and fit each other: tried before anything is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bench.augment.base import Augmentation
from bench.crossval import checks, length, warm_start
from bench.data.batches import Batch
from bench.features.base import Features
from bench.runs.recipe import Node, Recipe
from bench.spec import InputSpec, UserError
from bench.training import parts

NOT_BUILT = (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AssertionError)
"""What a model or a loss raises of options that it can't be built of."""


def check(recipe: Recipe, spec: InputSpec, features: Features) -> None:
    """Builds all parts, the model without memory or arithmetic, so that a mistake shows at once."""
    checks.devices(recipe)
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
