"""Writes an ensemble's folder: its inputs, the predictions of every fold, and the submission."""

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
from bench.runs import checksums, frames, inputs, inside, recipe, selection
from bench.runs.environment import write_environment
from bench.runs.inputs import Inputs, Member
from bench.runs.recipe import EnsembleRecipe
from bench.runs.run import Run, identity
from bench.spec import UserError
from bench.tell import say
from bench.training import parts

FORMAT = 1  # raise it when the same blend of the same runs would predict something else


def deciding(settled: EnsembleRecipe, members: Members) -> dict[str, Any]:
    """What determines the result: the way to blend, and the digests of the members' predictions."""
    own = {key: value for key, value in recipe.deciding(settled).items() if key not in ("dataset", "runs")}
    return {"format": FORMAT, **own, "members": members.digests}


def write(run: Run, members: Members, settled: EnsembleRecipe, names: Mapping[str, str]) -> None:
    """Writes the files that exist before any prediction: recipe, rows, members and environment."""
    first = members.runs[0]
    known, decides = first.inputs, deciding(settled, members)
    seedless = {**decides, "blend": {key: value for key, value in decides["blend"].items() if key != "seed"}}
    options = {"blend": names["blend"], "harden": names["harden"]}
    blended = Inputs(
        names={"dataset": known.dataset, "model": selection.ENSEMBLE, **options},
        dataset=known.dataset,
        model=selection.ENSEMBLE,
        metric=known.metric,
        direction=known.direction,
        simulated=known.simulated,
        n_splits=known.n_splits,
        spec=known.spec,
        test=_test_digest(members),
        notes=known.notes,
        group=identity(seedless),
        members=tuple(
            Member(run=str(member.folder), predictions=digest)
            for member, digest in zip(members.runs, members.digests, strict=True)
        ),
    )
    ids = members.test_ids if members.test_ids is not None else members.rows["id"][:0]
    made_by, folders = first.made_by, [str(member.folder) for member in members.runs]
    with checksums.writing(run.folder, inputs.FILE, "splits.parquet", "test_ids.parquet", recipe.FILE):
        inputs.write(run.folder, blended)
        frames.write_frame(frames.read_frame(first.checked("splits.parquet")), run.folder / "splits.parquet")
        frames.write_frame(pd.DataFrame({"id": ids.to_numpy()}), run.folder / "test_ids.parquet")
        write_environment(run)
        recipe.write(run.folder, replace(settled, dataset=made_by.dataset, data=made_by.data, runs=folders))


def _test_digest(members: Members) -> str:
    """Digest of the test rows: of their ids, and of the members' digests."""
    ids = [] if members.test_ids is None else members.test_ids.astype(str).tolist()
    return hashlib.sha256(f"{members.digests} {ids}".encode()).hexdigest()[:32]


def predict(run: Run, members: Members, way: Way, harden: Hardening | None) -> None:
    """Writes the folds, out-of-fold and test predictions, scores and blend.json.

    The blend fitted on all rows predicts the test rows. Every fold gets these predictions, so their mean is the same.
    """
    honest, in_sample, blends, final = fitting.nested(way, harden, members)
    classes, digest = run.spec.classes, _test_digest(members)
    test = None
    if members.test_ids is not None and members.test_mlk is not None:
        test = frames.prediction_frame(members.test_ids, final.apply(members.test_mlk), classes)
    rows = 0 if test is None else len(test)
    for fold, blend in zip(run.folds, blends, strict=True):
        validated = members.fold == fold.number
        frames.write_frame(frames.oof_frame(members.rows[validated], honest[validated], None, classes), fold.oof)
        if test is not None:
            frames.write_frame(test, fold.test)
        fold.mark_done(test=digest, test_rows=rows, weights=blend.weights, found=blend.parameters)
    collect.collect(run, members.metric)
    score, target = members.metric.score, members.target
    fitted = way.fitted or (harden is not None and harden.fitted)
    judged = {"fitted": fitted, "honest": score(target, honest), "in_sample": score(target, in_sample)}
    with checksums.writing(run.folder, "blend.json"):
        write_json(run.folder / "blend.json", _summary(run, members, final, judged))


def _summary(run: Run, members: Members, final: Blend, judged: Mapping[str, Any]) -> dict[str, Any]:
    """The content of blend.json: the scores of the blend and of its members."""
    alone = [members.metric.score(members.target, p_nk) for p_nk in members.p_mnk]
    best = alone[members.metric.direction.best(alone) or 0]
    weights = final.weights or (None,) * len(alone)
    return {
        "metric": members.metric.name,
        "simulated": run.inputs.simulated,
        **judged,
        "best_single": best,
        "found": final.parameters,
        "members": [
            {"run": str(member.folder), "name": _name(member), "oof": oof, "weight": weight}
            for member, oof, weight in zip(members.runs, alone, weights, strict=True)
        ],
    }


def _name(run: Run) -> str:
    """A member's name in a table: model, identity, and seed if it has one."""
    seed = run.made_by.seed
    return f"{run.inputs.model} {run.identity}" + (f" seed {seed}" if seed is not None else "")


def open_dataset(members: Members, settled: EnsembleRecipe) -> Dataset:
    """The first member's data set on the files that it was trained on, or on ``root``, for the submission.

    Raises UserError if those files are missing, or are not those that the runs predicted.
    """
    first, simulated = members.runs[0], members.runs[0].inputs.simulated
    node = {**first.made_by.dataset, **({"root": settled.root} if settled.root else {})}
    if not settled.root and (reason := inside.elsewhere(first.folder, Path(settled.outputs))):
        raise UserError(reason)
    try:
        dataset = parts.dataset(node, parts.files(node, first.made_by.data).as_trained(simulated))
        known = set(dataset.table("test")["id"].astype(str))
    except OSError as error:
        raise UserError(f"the files can't be read: {error}") from error
    if dataset.classes != first.spec.classes:
        raise UserError(f"{dataset.root} has other classes than the runs")
    predicted = [] if members.test_ids is None else members.test_ids.astype(str).tolist()
    if odd := next((one for one in predicted if one not in known), None):
        raise UserError(f"{dataset.root} has no test id {odd}, which the runs predicted")
    return dataset


def is_complete(run: Run, members: Members) -> bool:
    """Whether an earlier command has blended these members, and all of its files still exist."""
    names = ["oof.parquet", "scores.json", "blend.json"] + ["test.parquet"] * (members.test_ids is not None)
    try:
        whole = selection.problem(run) is None
        for name in names if whole else ():
            run.checked(name)
    except UserError as error:
        say(f"run       {error}")
        return False
    return whole and all((run.folder / name).exists() for name in names)


def run_folder(settled: EnsembleRecipe, members: Members) -> Path:
    """The folder of the ensemble of these members."""
    digest = identity(deciding(settled, members))
    return (Path(settled.outputs) / members.runs[0].inputs.dataset / selection.ENSEMBLE / digest).resolve()
