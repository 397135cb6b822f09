"""Registers a finished run as a model version in MLflow: its files and its tags."""

from __future__ import annotations

from pathlib import Path

import torch

from bench.atomic import read_json, write_json
from bench.cli.schema import Predict
from bench.prediction.runtimes import TORCH
from bench.runs.cleaning import REGISTERED
from bench.runs.run import Run
from bench.runs.selection import ENSEMBLE
from bench.spec import UserError
from bench.tell import say
from bench.tracking import address, registry
from bench.tracking.mirror import TrackingError
from bench.tracking.wording import before_looking
from bench.training import parts
from bench.training.loading import finished_folds, trained_fold


def register(run: Run, config: Predict) -> str:
    """Registers the run's folds under ``config.register``; returns the address models:/<name>/<version>.

    The last line on standard output names it. Raises UserError, and sends nothing, if the run or the name can't be
    registered. Raises UserError if the tracking server fails; the next attempt continues from what was sent.
    """
    name = config.register or ""
    for key in ("export", "input", "output", "tta", "excel"):
        if getattr(config, key):
            raise UserError(f"register={name} registers the run as it predicts, and predicts nothing; leave {key} out")
    if config.runtime != TORCH:
        raise UserError(f"register={name} registers the run as it predicts, and predicts nothing; leave runtime out")
    if run.inputs.model == ENSEMBLE:
        raise UserError(f"{run.folder} is an ensemble, and only trained runs can be registered; register its members")
    registry.refuse_name(name)
    folds = finished_folds(run, config.folds)
    for number in folds:
        trained_fold(run, number, torch.device("cpu"))  # what does not load here would not load elsewhere
    recipe, known = run.recipe, run.inputs
    given = config.tracking.uri
    uri = address.told_by(run, "tracking.uri") if given == address.RUN else address.chosen(given, run.folder.parents[2])
    arrays = parts.dataset_class(recipe.dataset).raw(dict(known.facts), parts.features(recipe.features).reads)
    try:
        version = registry.register(run, uri, name, files(run, folds), marks(run, folds), arrays)
    except TrackingError as error:
        raise UserError(f"register={name}: {error}; the same command again registers it, nothing is lost") from error
    _note(run, version.uri)
    mark = " (SIMULATED data)" if known.simulated else ""
    if version.new:
        held = f"{len(folds)} fold{'s' * (len(folds) > 1)}, {version.size / 1e6:.1f} MB"
        say(f"register  version {version.number} of {name}: {held}{mark}")
    else:
        say(f"register  version {version.number} of {name} is it already{mark}")
    say(f"MLflow    {before_looking(uri)}{registry.page(uri, version)}")
    print(f"model {version.uri}", flush=True)
    return version.uri


def _note(run: Run, uri: str) -> None:
    """Notes in the run's folder that a model was made of it, so that bench.clean keeps it."""
    path = run.folder / REGISTERED
    try:
        known = read_json(path) if path.exists() else []
        write_json(path, sorted({*map(str, known if isinstance(known, list) else []), uri}))
    except (OSError, UserError) as error:  # the model is registered all the same
        say(f"register  {path} can't be written ({error}), so bench.clean does not know of it")


def files(run: Run, folds: list[int]) -> list[Path]:
    """The files that ``bench.load(run, folds)`` reads: no checkpoints, predictions or logs."""
    paths = [run.folder / "config.yaml", run.folder / "inputs.json"]
    for fold in map(run.fold, folds):
        paths += [fold.done, fold.weights, *([fold.features] if fold.features.exists() else [])]
    return paths


def marks(run: Run, folds: list[int]) -> dict[str, str]:
    """The version's tags; ``score`` is the mean over these folds, left out unless all of them have a score."""
    known, scores = run.inputs, run.scores()
    tags = {
        "identity": run.identity,
        "dataset": known.dataset,
        "model": known.model,
        "metric": known.metric,
        "folds": f"{', '.join(map(str, folds))} of {known.n_splits}",
        "simulated": str(known.simulated).lower(),
    }
    scored = dict(zip(scores.fold_numbers, scores.folds, strict=True)) if scores else {}
    if set(folds) <= set(scored):
        tags["score"] = f"{sum(scored[k] for k in folds) / len(folds):.6g}"
    return tags
