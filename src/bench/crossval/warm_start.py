"""Initial weights of a fold from a run or a file: choosing the file, checking it, loading it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.datasets.base import open_to, serves
from bench.runs.frames import read_frame
from bench.runs.run import Fold, Run
from bench.spec import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


def file_for(source: str, fold: int) -> Path:
    """The file that a fold starts from: a run's fold of the same number, the named fold's weights, or the file."""
    path = Path(source)
    if alone := _fold_of(path):
        return alone.weights
    return Run.open(path).fold(fold).weights if path.is_dir() else path


def digest(key: str, source: str) -> str:
    """Hash of the content: what decides the result is not where the file lies. ``key`` is the config's.

    Raises UserError where a file is missing, or belongs to a fold that is not done: it would change while others read.
    """
    path = Path(source)
    alone = _fold_of(path)
    folds = [alone] if alone else Run.open(path).folds if path.is_dir() else []
    files = [fold.weights for fold in folds] or [path]
    missing = [str(file) for file in files if not file.is_file()]
    missing += [f"{fold.folder}/done.json" for fold in folds if not fold.done.exists()]
    if missing:
        raise UserError(
            f"{key}={source}: {missing[0]} is not a file; give the folder of a run whose folds are all trained"
            + ("" if key == "pseudo.runs" else ", of one of its folds, or a .safetensors or .pt state dict")
        )
    for fold in folds:
        fold.checked(fold.weights)
    hasher = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            hasher.update(hashlib.file_digest(stream, "sha256").digest())
    return hasher.hexdigest()[:32]


def load(model: nn.Module, file: Path, n_classes: int) -> list[str]:
    """Puts a state dict of this very model into it; returns the names of the head's tensors that start anew.

    A head is what has another number of classes in the file and agrees in all else. On the meta device nothing is
    loaded, but everything is checked. Raises UserError for a file that is not one, or is of another model.
    """
    state, expected = _read(file), model.state_dict()
    if other := sorted(set(expected) ^ set(state)):
        raise UserError(
            f"init_from: {file} holds the weights of another model: {len(other)} tensors are missing or too many, such "
            f"as {other[0]}; choose the model and the options that it was trained with"
        )
    anew = [name for name, tensor in expected.items() if tensor.shape != state[name].shape]
    for name in anew:
        file_shape, model_shape = tuple(state[name].shape), tuple(expected[name].shape)
        if file_shape[1:] != model_shape[1:] or model_shape[:1] != (n_classes,):
            raise UserError(
                f"init_from: {name} is {file_shape} in {file} and {model_shape} in this model, which is more than "
                "another number of classes; choose the options and the features that it was trained with"
            )
    if not any(tensor.is_meta for tensor in expected.values()):
        model.load_state_dict({**state, **{name: expected[name] for name in anew}})
    return anew


def _read(file: Path) -> dict[str, Tensor]:
    import torch

    from bench.training import checkpoint

    try:
        if file.suffix == ".safetensors":
            return checkpoint.read_weights(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    except Exception as error:
        raise UserError(
            f"init_from: {file} can't be read as a state dict ({type(error).__name__}); give a run's folder, or a "
            ".safetensors or .pt file"
        ) from error


def refuse_leak(key: str, source: str, dataset: str, simulated: bool, rows: pd.DataFrame, folds: list[int]) -> None:
    """Refuses weights of a run of the same dataset that were trained on rows which a fold here validates.

    ``dataset`` is the dataset's target in the config, ``rows`` this run's table with ``fold``. A run's folder gives
    each fold the weights of its own number, which is safe where both runs split alike; one fold's folder is safe for
    the fold of its number, and for all where the runs have no row in common (a pre-training on other data). What the
    source itself started from, or learned from, is followed.
    """
    run, alone = source_run(key, source, folds)
    if run is None:
        return
    recipe = run.recipe
    if recipe.dataset["_target_"] == dataset and run.inputs.simulated == simulated:
        _refuse_shared(key, source, run, alone, rows, folds)
    earlier = [recipe.init_from, *recipe.pseudo.get("runs", [])]
    for before in filter(None, earlier):
        if alone and _fold_of(Path(before)) is None:  # that fold started from its own number there
            before = f"{before}/folds/{alone.number}"
        refuse_leak(key, before, dataset, simulated, rows, folds)


def source_run(key: str, source: str, folds: list[int]) -> tuple[Run | None, Fold | None]:
    """The run that a source belongs to, and the fold if it names one; None for a file outside a run.

    Raises UserError for a run that has too few folds.
    """
    path = Path(source)
    alone = _fold_of(path)
    if not path.is_dir() and alone is None:
        return None, None
    run = Run.open(alone.folder.parents[1] if alone else path)
    n_splits = run.inputs.n_splits
    missing = [k for k in folds if alone is None and k >= n_splits]
    if missing:
        raise UserError(
            f"{key}={source} is a run of {n_splits} folds, and has none for fold {missing[0]}; "
            f"split alike, or name one of its folds for all, as in {key}={source}/folds/0"
        )
    return run, alone


def _refuse_shared(key: str, path: str, run: Run, alone: Fold | None, rows: pd.DataFrame, folds: list[int]) -> None:
    source = read_frame(run.checked("splits.parquet"))
    tie = "group" if "group" in source and "group" in rows else "id"  # a patient's rows may have other ids there
    for fold in folds:
        kept_out = alone.number if alone else fold
        trained_keys = source[tie][serves(source, "trained") & open_to(source, kept_out)].astype(str)
        validated = rows[_to_judge(rows, fold)]
        shared = validated["id"][validated[tie].astype(str).isin(set(trained_keys))].astype(str)
        if len(shared):
            what = (
                f"train the fold of its number alone (folds.only=[{alone.number}]), or give the run's folder, "
                "of which each fold takes its own"
                if alone
                else "use the split that the run had"
            )
            raise UserError(
                f"{key}={path}: its weights were trained on {len(shared)} rows{' or their groups' * (tie == 'group')} "
                f"that fold {fold} validates (first: {', '.join(shared.iloc[:5])}); {what}"
            )


def _to_judge(rows: pd.DataFrame, fold: int) -> np.ndarray:
    """(N,) bool: rows that a fold validates; with those that follow, where folds come in order of time."""
    if "trained_from" in rows:
        return ~open_to(rows, fold)
    values: np.ndarray = serves(rows, "validated") & (rows["fold"].to_numpy() == fold)
    return values


def of_a_run(path: str) -> bool:
    """Whether a path names a fold of a run, or a file of one."""
    return _fold_of(Path(path)) is not None


def _fold_of(path: Path) -> Fold | None:
    """The fold whose folder, or a file in it, the path names; None for a run's folder or a file outside a run."""
    for folder in (path.resolve(), path.resolve().parent):
        if folder.parent.name == "folds" and folder.name.isdigit() and (folder.parents[1] / "splits.parquet").exists():
            return Fold(folder, int(folder.name))
    return None
