"""Loads a finished fold's model and device half from the run's folder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from torch import nn

from bench.runs.run import Run
from bench.runs.selection import whole_by
from bench.spec import UserError
from bench.training import checkpoint, parts


def finished_folds(run: Run, requested: Sequence[int] | None) -> list[int]:
    """The folds to predict with: ``requested``, or all.

    Raises UserError where one is not there, is not trained to its end, or has lost its weights.
    """
    n = run.inputs.n_splits
    numbers = sorted(set(requested)) if requested is not None else list(range(n))
    if not numbers or not set(numbers) <= set(range(n)):
        raise UserError(f"folds={list(requested or [])} must name folds from 0 to {n - 1}")
    done = [k for k in range(n) if run.fold(k).done.exists()]
    missing = [k for k in numbers if k not in done]
    if missing:
        some = f", or predict with folds=[{','.join(map(str, done))}]" if done else ""
        names = f"fold{'s' * (len(missing) > 1)} {', '.join(map(str, missing))} of {n}"
        raise UserError(f"{run.folder}: {names} not trained to the end; {whole_by(run)}{some}")
    for k in numbers:
        if not run.fold(k).weights.exists():
            raise UserError(
                f"{run.fold(k).weights} is not there any more; delete {run.fold(k).folder} whole, and train with the "
                "same command again"
            )
    return numbers


def trained_fold(run: Run, number: int, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """The fold's model with its kept weights, and its fitted device half, both in evaluation mode.

    Raises UserError where the fold has no weights, they can't be read, or its model can no longer be built.
    """
    fold = run.fold(number)
    if not fold.weights.exists():
        raise UserError(f"{fold.weights} is not there; train that fold: folds.only=[{number}]")
    model = parts.trained_model(run.recipe.model, run.spec)
    device_half = parts.features(run.recipe.features).device_half()
    for path, module in ((fold.weights, model), (fold.features, device_half)):
        if path == fold.weights or path.exists() or path.name in fold.outcome().checksums:
            try:
                checkpoint.load_weights(fold.checked(path), module)
            except UserError:
                raise
            except (RuntimeError, OSError, ValueError, SafetensorError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(
                    f"{path} can't be put into the run's model ({reason}); train that fold again"
                ) from error
    return model.to(device).eval(), device_half.to(device).eval()
