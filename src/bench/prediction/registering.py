"""A finished run as a version of a model in MLflow's registry: what of it goes there, under what marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench import build
from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.runs.run import Run
from bench.runs.selection import ENSEMBLE
from bench.spec import UserError
from bench.tell import figure, say
from bench.tracking import registry
from bench.tracking.mirror import TrackingError, default_uri
from bench.tracking.wording import before_looking
from bench.training.loading import finished_folds, trained_fold


def register(run: Run, config: Mapping[str, Any]) -> str:
    """Registers the run's folds under ``config["register"]``; the version's address models:/<name>/<version>.

    The last line on standard output names it. Raises UserError, and sends nothing, where the run or the name can't be
    registered; where the tracking server does not take it, what was sent is used by the next attempt.
    """
    name = config["register"]
    for key in ("export", "input", "output", "tta", "excel"):
        if config[key]:
            raise UserError(f"register={name} registers the run as it predicts, and predicts nothing; leave {key} out")
    if run.inputs["model"] == ENSEMBLE:
        raise UserError(f"{run.folder} is an ensemble, and only trained runs can be registered; register its members")
    registry.refuse_name(name)
    folds = finished_folds(run, config["folds"])
    for number in folds:
        trained_fold(run, number, torch.device("cpu"))  # what does not load here would not load elsewhere
    uri = (run.config.get("tracking") or {}).get("uri") or default_uri(run.folder.parents[2])
    features: Features = build.build(run.config["features"], "features")
    dataset: type[Dataset] = build.locate(run.config["dataset"], "dataset")  # type: ignore[assignment]
    arrays = dataset.raw(run.inputs.get("facts", {}), features.reads)
    try:
        version = registry.register(run, uri, name, files(run, folds), marks(run, folds), arrays)
    except TrackingError as error:
        raise UserError(f"register={name}: {error}; the same command again registers it, nothing is lost") from error
    mark = " (SIMULATED data)" if run.inputs["simulated"] else ""
    if version.new:
        held = f"{len(folds)} fold{'s' * (len(folds) > 1)}, {version.size / 1e6:.1f} MB"
        say(f"register  version {version.number} of {name}: {held}{mark}")
    else:
        say(f"register  version {version.number} of {name} is it already{mark}")
    say(f"MLflow    {before_looking(uri)}{registry.page(uri, version)}")
    print(f"model {version.uri}", flush=True)
    return version.uri


def files(run: Run, folds: list[int]) -> list[Path]:
    """What ``bench.load(run, folds)`` reads of the run's folder: no checkpoints, predictions or logs."""
    found = [run.folder / "config.yaml", run.folder / "inputs.json"]
    for fold in map(run.fold, folds):
        found += [fold.done, fold.weights, *([fold.features] if fold.features.exists() else [])]
    return found


def marks(run: Run, folds: list[int]) -> dict[str, str]:
    """The version's tags; ``score`` is the mean of these folds', where they have been scored."""
    inputs, scores = run.inputs, run.scores() or {"fold_numbers": [], "folds": []}
    said = {
        "identity": run.identity,
        "dataset": str(inputs["dataset"]),
        "model": str(inputs["model"]),
        "metric": str(inputs["metric"]),
        "folds": f"{', '.join(map(str, folds))} of {inputs['n_splits']}",
        "simulated": str(bool(inputs["simulated"])).lower(),
    }
    of = dict(zip(scores["fold_numbers"], scores["folds"], strict=True))
    if set(folds) <= set(of):
        said["score"] = figure(sum(of[k] for k in folds) / len(folds))
    return said
