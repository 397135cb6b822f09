"""What must hold of a config before anything is computed with it: values, parts that fit each other, row weights."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench import build
from bench.datasets.base import serves
from bench.spec import InputSpec, UserError
from bench.training import initial

NOT_BUILT = (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AssertionError)
"""What a model or a loss raises of options that it can't be built of."""


def values(config: dict[str, Any]) -> None:
    """The values that types alone can't judge."""
    for key in ("dataset", "model", "features", "loss", "split", "augment", "row_weights", "optimizer", "scheduler"):
        if not isinstance(config[key], dict):
            raise UserError(f"{key}={config[key]} names nothing; python -m bench.train --help lists the options")
    if "?" in str(config["outputs"]) and config["tracking"]["enabled"] and config["tracking"]["uri"] is None:
        raise UserError(f"outputs={config['outputs']}: MLflow's database can't lie below a folder with '?' in its name")
    train = config["train"]
    for key, low in (("epochs", 1), ("batch_size", 1), ("eval_batch_size", 1)):
        if train[key] < low:
            raise UserError(f"train.{key}={train[key]} must be {low} or more")
    for key, value, options in (
        ("train.precision", train["precision"], ("float32", "bf16")),
        ("train.keep", train["keep"], ("last", "loss", "metric")),
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


def parts(config: dict[str, Any], spec: InputSpec) -> None:
    """Builds model, loss, optimiser and schedule without memory or arithmetic, so that a mistake shows at once."""
    import torch

    from bench.data.batches import Batch

    repeated = {"channels", "size", "classes", "sample_rate", "n_classes", "num_classes", "in_chans", "in_channels"}
    for key in sorted(repeated & set(config["model"])):
        raise UserError(f"model.{key} is decided by the data; leave it out of the model's config")
    node = dict(config["model"])
    if node.get("weights"):
        initial.digest(node["weights"])  # all files are there, and finished
        node["weights"] = initial.file_for(node["weights"], 0)
    with torch.device("meta"):
        try:
            model = build.build(node, "model", spec)
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
    x, target = torch.zeros(2, *spec.shape), torch.full((2, spec.n_classes), 1 / spec.n_classes)
    for change in build.each(config["augment"], "augment"):
        x, _ = change(x, Batch(x, target, None), 0.0)
    loss = build.partial(config["loss"], "loss", 3)
    schedule = build.partial(config["scheduler"], "scheduler", 3)
    epochs, where = config["train"]["epochs"], "optimizer"
    try:
        optimizer = build.build(config["optimizer"], "optimizer", [torch.nn.Parameter(torch.zeros(1))])
        where = "scheduler"
        rates = [schedule(epoch, epochs, optimizer.param_groups[0]["lr"]) for epoch in range(epochs)]
        where = "loss"
        value = loss(torch.zeros(2, spec.n_classes), target, None)
    except NOT_BUILT as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where} can't be used with {_told(config[where])}: {error}; change its options") from error
    if not all(rate >= 0 for rate in rates) or not torch.isfinite(value):
        raise UserError(f"the learning rates {rates[:5]} or the loss {float(value)} are not numbers to train with")


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
        empty = [k for k in rows["fold"].unique() if examples[counts & (rows["fold"] != k)].nunique() < 2]
        if empty:
            raise UserError(
                f"row_weights leaves fold {min(empty)} fewer than two examples to train on in epoch {epoch + 1}; "
                "give some range a factor above 0"
            )
