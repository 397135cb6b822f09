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
    """Hash of the content: what decides the result is not where the file lies."""
    path = Path(weights)
    files = [fold.weights for fold in Run.open(path).folds] if path.is_dir() else [path]
    missing = [str(file) for file in files if not file.is_file()]
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


def refuse_leak(weights: str, dataset: str, rows: pd.DataFrame, folds: list[int]) -> None:
    """Refuses weights of a run of the same dataset that were trained on rows which a fold here validates.

    ``rows`` is this run's table with ``fold``. A run's folder gives each fold the weights of its own number, which
    is safe where both runs split alike; a single file of a run is safe for the fold of its number alone.
    """
    path = Path(weights)
    alone = None if path.is_dir() else _fold_of(path)
    run = Run.open(path) if path.is_dir() else alone and Run(alone.folder.parents[1])
    if not run or run.inputs["dataset"] != dataset:
        return
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
