"""An ensemble's folder: what it says before there are predictions, every fold's predictions, and the submission."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.atomic import write_json
from bench.crossval import collect
from bench.datasets.base import Dataset
from bench.ensembling import fitting
from bench.ensembling.hardening import Hardening
from bench.ensembling.members import Members
from bench.ensembling.ways import Blend, Way
from bench.runs import frames, inputs, recipe, selection
from bench.runs.environment import write_environment
from bench.runs.inputs import Inputs, Member
from bench.runs.recipe import EnsembleRecipe
from bench.runs.run import Run, identity
from bench.spec import UserError
from bench.training import parts

FORMAT = 1  # raise it when the same blend of the same runs would predict something else


def deciding(settled: EnsembleRecipe, given: Members) -> dict[str, Any]:
    """What decides the result: the way to blend, and what the members predict."""
    own = {key: value for key, value in recipe.deciding(settled).items() if key not in ("dataset", "runs")}
    return {"format": FORMAT, **own, "members": given.digests}


def write(run: Run, given: Members, settled: EnsembleRecipe, names: Mapping[str, str]) -> None:
    """What the folder says before there are predictions: recipe, rows, what the members were."""
    first = given.runs[0]
    known, decides = first.inputs, deciding(settled, given)
    seedless = {**decides, "blend": {key: value for key, value in decides["blend"].items() if key != "seed"}}
    chosen = {"blend": names["blend"], "harden": names["harden"]}
    own = Inputs(
        names={"dataset": known.dataset, "model": selection.ENSEMBLE, **chosen},
        dataset=known.dataset,
        model=selection.ENSEMBLE,
        metric=known.metric,
        direction=known.direction,
        simulated=known.simulated,
        n_splits=known.n_splits,
        spec=known.spec,
        test=_test_digest(given),
        notes=known.notes,
        group=identity(seedless),
        members=tuple(
            Member(run=str(member.folder), predictions=digest)
            for member, digest in zip(given.runs, given.digests, strict=True)
        ),
    )
    inputs.write(run.folder, own)
    frames.write_frame(pd.read_parquet(first.folder / "splits.parquet"), run.folder / "splits.parquet")
    ids = given.test_ids if given.test_ids is not None else given.rows["id"][:0]
    frames.write_frame(pd.DataFrame({"id": ids.to_numpy()}), run.folder / "test_ids.parquet")
    write_environment(run)
    made_by, folders = first.made_by, [str(member.folder) for member in given.runs]
    recipe.write(run.folder, replace(settled, dataset=made_by.dataset, data=made_by.data, runs=folders))


def _test_digest(given: Members) -> str:
    """What the test predictions are of: their ids, and the members', in whose digests the contents are."""
    ids = [] if given.test_ids is None else given.test_ids.astype(str).tolist()
    return hashlib.sha256(f"{given.digests} {ids}".encode()).hexdigest()[:32]


def predict(run: Run, given: Members, way: Way, harden: Hardening | None) -> None:
    """Folds, out-of-fold and test predictions, scores, and blend.json beside them.

    The test predictions are of the blend fitted on all rows; every fold holds them, so that their mean is the same.
    """
    honest, in_sample, blends, final = fitting.nested(way, harden, given)
    classes, digest = run.spec.classes, _test_digest(given)
    test = None
    if given.test_ids is not None and given.test_mlk is not None:
        test = frames.prediction_frame(given.test_ids, final.apply(given.test_mlk), classes)
    rows = 0 if test is None else len(test)
    for fold, blend in zip(run.folds, blends, strict=True):
        validated = given.fold == fold.number
        frames.write_frame(frames.oof_frame(given.rows[validated], honest[validated], None, classes), fold.oof)
        if test is not None:
            frames.write_frame(test, fold.test)
        write_json(fold.done, {"test": digest, "test_rows": rows, "weights": blend.weights, "found": blend.found})
    collect.collect(run, given.metric)
    score, target = given.metric.score, given.target
    fitted = way.fitted or (harden is not None and harden.fitted)
    judged = {"fitted": fitted, "honest": score(target, honest), "in_sample": score(target, in_sample)}
    write_json(run.folder / "blend.json", _summary(run, given, final, judged))


def _summary(run: Run, given: Members, final: Blend, judged: Mapping[str, Any]) -> dict[str, Any]:
    """The blend's scores beside its members'."""
    alone = [given.metric.score(given.target, p_nk) for p_nk in given.p_mnk]
    best = alone[given.metric.direction.best(alone) or 0]
    weights = final.weights or (None,) * len(alone)
    return {
        "metric": given.metric.name,
        "simulated": run.inputs.simulated,
        **judged,
        "best_single": best,
        "found": final.found,
        "members": [
            {"run": str(member.folder), "name": _name(member), "oof": oof, "weight": weight}
            for member, oof, weight in zip(given.runs, alone, weights, strict=True)
        ],
    }


def _name(run: Run) -> str:
    """A member in a table: model, identity, and the seed where it has one."""
    seed = run.made_by.seed
    return f"{run.inputs.model} {run.identity}" + (f" seed {seed}" if seed is not None else "")


def open_dataset(given: Members, settled: EnsembleRecipe) -> Dataset:
    """The first member's data set on the files that it was trained on, or on ``root``, for the submission.

    UserError where those are not there, or are not what the runs predicted.
    """
    first, simulated = given.runs[0], given.runs[0].inputs.simulated
    node = {**first.made_by.dataset, **({"root": settled.root} if settled.root else {})}
    try:
        dataset = parts.dataset(node, parts.files(node, first.made_by.data).as_trained(simulated))
        known = set(dataset.table("test")["id"].astype(str))
    except OSError as error:
        raise UserError(f"the files can't be read: {error}") from error
    if dataset.classes != first.spec.classes:
        raise UserError(f"{dataset.root} has other classes than the runs")
    predicted = [] if given.test_ids is None else given.test_ids.astype(str).tolist()
    if odd := next((one for one in predicted if one not in known), None):
        raise UserError(f"{dataset.root} has no test id {odd}, which the runs predicted")
    return dataset


def whole(run: Run, given: Members) -> bool:
    """Whether an earlier command has blended these members, and all of it is still there."""
    names = ["oof.parquet", "scores.json", "blend.json"] + ["test.parquet"] * (given.test_ids is not None)
    return selection.problem(run) is None and all((run.folder / name).exists() for name in names)


def run_folder(settled: EnsembleRecipe, given: Members) -> Path:
    """Where the ensemble of these members is, or will be."""
    own = identity(deciding(settled, given))
    return (Path(settled.outputs) / given.runs[0].inputs.dataset / selection.ENSEMBLE / own).resolve()
