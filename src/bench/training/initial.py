"""Weights that a model starts from, out of a file or out of a run: which file each fold takes, and that it may."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from bench.datasets.base import serves
from bench.results.run import Fold, Run
from bench.spec import UserError


def file_for(weights: str, fold: int) -> str:
    """The file that a fold starts from: of a run's folder the same fold's weights, else the file itself."""
    path = Path(weights)
    return str(Run.open(path).fold(fold).weights) if path.is_dir() else weights


def digest(weights: str) -> str:
    """Hash of the content: what decides the result is not where the file lies.

    Raises UserError where a file is missing, or belongs to a fold that is not done: it would change while others read.
    """
    path = Path(weights)
    folds = Run.open(path).folds if path.is_dir() else [alone] if (alone := _fold_of(path)) else []
    files = [fold.weights for fold in folds] if path.is_dir() else [path]
    missing = [str(file) for file in files if not file.is_file()]
    missing += [f"{fold.folder}/done.json" for fold in folds if not fold.done.exists()]
    if missing:
        raise UserError(
            f"model.weights={weights}: {missing[0]} is not a file; give a .safetensors or .pt state dict, or the "
            "folder of a run whose folds are all trained"
        )
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            found.update(hashlib.file_digest(stream, "sha256").digest())
    return found.hexdigest()[:32]


def refuse_leak(weights: str, dataset: str, simulated: bool, rows: pd.DataFrame, folds: list[int]) -> None:
    """Refuses weights of a run of the same dataset that were trained on rows which a fold here validates.

    ``dataset`` is the dataset's target in the config, ``rows`` this run's table with ``fold``. A run's folder gives
    each fold the weights of its own number, which is safe where both runs split alike; a single file of a run is safe
    for the fold of its number alone. Weights that the source itself started from are followed.
    """
    path = Path(weights)
    alone = None if path.is_dir() else _fold_of(path)
    if not path.is_dir() and alone is None:
        return
    run = Run.open(alone.folder.parents[1] if alone else path)
    lacking = [k for k in folds if alone is None and k >= run.inputs["n_splits"]]
    if lacking:
        raise UserError(
            f"model.weights={weights} is a run of {run.inputs['n_splits']} folds, and has none for fold {lacking[0]}; "
            "split alike, or name one weights file for all folds"
        )
    if run.config["dataset"]["_target_"] == dataset and run.inputs["simulated"] == simulated:
        _refuse_shared(weights, run, alone, rows, folds)
    if earlier := run.config["model"].get("weights"):
        refuse_leak(earlier, dataset, simulated, rows, folds)


def _refuse_shared(weights: str, run: Run, alone: Fold | None, rows: pd.DataFrame, folds: list[int]) -> None:
    source = pd.read_parquet(run.folder / "splits.parquet")
    key = "group" if "group" in source and "group" in rows else "id"  # a patient's rows may have other ids there
    for fold in folds:
        kept_out = alone.number if alone else fold
        seen = source[key][serves(source, "trained") & (source["fold"] != kept_out)].astype(str)
        validated = rows[serves(rows, "validated") & (rows["fold"] == fold)]
        shared = validated["id"][validated[key].astype(str).isin(set(seen))].astype(str)
        if len(shared):
            what = (
                f"train the fold of its number alone (folds.only=[{alone.number}]), or give the run's folder, "
                "of which each fold takes its own"
                if alone
                else "use the split that the run had"
            )
            raise UserError(
                f"model.weights={weights} were trained on {len(shared)} rows{' or their groups' * (key == 'group')} "
                f"that fold {fold} validates (first: {', '.join(shared.iloc[:5])}); {what}"
            )


def _fold_of(file: Path) -> Fold | None:
    """The fold whose folder a weights file lies in; None for a file from anywhere else."""
    folder = file.resolve().parent
    is_fold = folder.parent.name == "folds" and folder.name.isdigit()
    return Fold(folder, int(folder.name)) if is_fold and (folder.parents[1] / "splits.parquet").exists() else None
