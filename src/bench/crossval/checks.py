"""What must hold of a config before anything is computed with it: values, parts that fit each other, row weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import build
from bench.crossval import pseudo_labels, warm_start
from bench.data.store import Store
from bench.datasets.base import open_to, serves
from bench.features.base import Features
from bench.spec import InputSpec, UserError

GROUPS = (
    "dataset", "model", "features", "loss", "split", "augment", "row_weights", "synthetic", "pseudo", "tta",
    "optimizer", "scheduler",
)  # fmt: skip
NOT_BUILT = (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AssertionError)
"""What a model or a loss raises of options that it can't be built of."""


def values(config: dict[str, Any]) -> None:
    """The values that types alone can't judge."""
    for key in GROUPS:
        if not isinstance(config[key], dict):
            raise UserError(f"{key}={config[key]} names nothing; python -m bench.train --help lists the options")
    if "?" in str(config["outputs"]) and config["tracking"]["enabled"] and config["tracking"]["uri"] is None:
        raise UserError(f"outputs={config['outputs']}: MLflow's database can't lie below a folder with '?' in its name")
    train = config["train"]
    for key in ("epochs", "batch_size", "eval_batch_size", "accumulate", "patience"):
        if train[key] is not None and train[key] < 1:
            raise UserError(f"train.{key}={train[key]} must be 1 or more")
    if train["ema"] is not None and not 0 < train["ema"] < 1:
        raise UserError(f"train.ema={train['ema']:g} must lie between 0 and 1, such as 0.999; null is no average")
    if train["patience"] is not None and train["keep"] == "last":
        raise UserError("train.patience waits for a better epoch: say of what, train.keep=loss or train.keep=metric")
    for key, value, options in (
        ("train.precision", train["precision"], ("float32", "bf16")),
        ("train.keep", train["keep"], ("last", "loss", "metric")),
        ("train.ema_every", train["ema_every"], ("step", "epoch")),
        ("device", config["device"], ("auto", "cpu", "cuda")),
    ):
        if value not in options:
            raise UserError(f"{key}={value} is not one of {', '.join(options)}")
    if config["folds"]["parallel"] is not None and config["folds"]["parallel"] < 1:
        raise UserError(f"folds.parallel={config['folds']['parallel']} must be 1 or more")
    if config["seed"] < 0:
        raise UserError(f"seed={config['seed']} must be 0 or more")
    if config["device"] == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError("device=cuda, but torch sees no CUDA device here; use device=cpu or device=auto")


def parts(config: dict[str, Any], spec: InputSpec, features: Features) -> None:
    """Builds all parts, the model without memory or arithmetic, so that a mistake shows at once."""
    import torch

    from bench.augment.base import Augmentation
    from bench.data.batches import Batch

    repeated = {"channels", "size", "classes", "sample_rate", "n_classes", "num_classes", "in_chans", "in_channels"}
    for key in sorted(repeated & set(config["model"])):
        raise UserError(f"model.{key} is decided by the data; leave it out of the model's config")
    node = dict(config["model"])
    if (weights := node.get("weights")) and (Path(weights).is_dir() or warm_start.of_a_run(weights)):
        raise UserError(f"model.weights={weights} is of a run, and may leak; start from it with init_from={weights}")
    source = config["init_from"]
    if source:
        warm_start.digest("init_from", source)  # all files are there, and finished
    with torch.device("meta"):
        try:
            model = build.build(node, "model", spec)
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
    batch = Batch(torch.zeros(2, *spec.shape), torch.full((2, spec.n_classes), 1 / spec.n_classes))
    augment = build.each(config["augment"], "augment", features=features)
    for change in augment:
        if not isinstance(change, Augmentation):
            raise UserError(f"augment: {type(change).__name__} is no subclass of bench.augment.base.Augmentation")
        if not change.on_stored:
            batch = change(batch, 0.0)
    if config["tta"]["_target_"] != "none":
        build.build(config["tta"], "tta").views(features, augment)
    if config["synthetic"]["_target_"] != "none":
        build.build(config["synthetic"], "synthetic")
        if not features.between:
            raise UserError(
                "synthetic rows lie between stored ones, and these features store codes; choose others or leave it out"
            )
    if labels := pseudo_labels.labels_of(config):
        labels.chosen(np.zeros((0, spec.n_classes)), spec.classes, np.zeros(0))
    loss = build.partial(config["loss"], "loss", 3)
    schedule = build.partial(config["scheduler"], "scheduler", 4)
    epochs, where = config["train"]["epochs"], "optimizer"
    try:
        optimizer = build.build(config["optimizer"], "optimizer", [torch.nn.Parameter(torch.zeros(1))])
        where = "scheduler"
        rates = [schedule(epoch, epochs, optimizer.param_groups[0]["lr"], ()) for epoch in range(epochs)]
        where = "loss"
        value = loss(torch.zeros(2, spec.n_classes), batch.target, None)
    except NOT_BUILT as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where} can't be used with {_told(config[where])}: {error}; change its options") from error
    if not all(rate >= 0 for rate in rates) or not torch.isfinite(value):
        raise UserError(f"the learning rates {rates[:5]} or the loss {float(value)} are not numbers to train with")


def stores(config: dict[str, Any], opened: dict[str, Store]) -> None:
    """Refuses what examples of this length can't do."""
    if opened["train"].open and config["synthetic"]["_target_"] != "none":
        raise UserError("synthetic rows are made of examples of one length; these have each their own: leave it out")
    if not opened["train"].open and config["tta"]["_target_"].endswith(".Crops"):
        raise UserError("tta=crops is for examples that are longer than a window; these have one length: leave it out")


def _told(node: dict[str, Any]) -> str:
    """A config node as a person wrote it."""
    return ", ".join(f"{key.replace('_target_', 'target')}={value}" for key, value in node.items())


def row_weights(config: dict[str, Any], rows: pd.DataFrame) -> None:
    """Refuses weights that a fold would refuse, or that leave it no row to train on, in any epoch."""
    node, epochs = config["row_weights"], config["train"]["epochs"]
    if node.get("_target_") == "none":
        return
    weights = build.partial(node, "row_weights", 3)
    own = rows["weight"].to_numpy() if "weight" in rows else 1.0
    examples = rows["example"] if "example" in rows else rows["id"]
    for epoch in range(epochs):
        counts = (own * weights(rows, epoch, epochs) > 0) & serves(rows, "trained")
        empty = [k for k in range(int(rows["fold"].max()) + 1) if examples[counts & open_to(rows, k)].nunique() < 2]
        if empty:
            raise UserError(
                f"row_weights leaves fold {min(empty)} fewer than two examples to train on in epoch {epoch + 1}; "
                "give some range a factor above 0"
            )
