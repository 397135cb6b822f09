"""Blends finished runs: from a recipe to a folder that is itself a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench import build
from bench.atomic import read_json
from bench.crossval.lifecycle import Life, held
from bench.ensembling import folder, members
from bench.ensembling.hardening import Hardening
from bench.ensembling.members import Members
from bench.ensembling.ways import Way
from bench.report.draw import draw
from bench.runs import selection, submission
from bench.runs.outcome import Outcome
from bench.runs.recipe import EnsembleRecipe
from bench.runs.run import Run
from bench.spec import UserError
from bench.tell import figure, say
from bench.tracking import address
from bench.training.parts import named


def ensemble(recipe: EnsembleRecipe, names: Mapping[str, str]) -> Outcome:
    """Blends the runs that the recipe names; an ensemble that is finished already is only printed again.

    ``names`` are the groups' chosen options. Raises UserError, before anything is written, for bad input.
    """
    if not recipe.runs:
        raise UserError(f"runs is empty; {selection.HOW}")
    for key in ("blend", "harden"):
        if key not in names:  # Hydra names no choice where there are several
            raise UserError(f"{key} names several; -m makes each in turn, as in -m {key}=a,b")
    if recipe.tracking.enabled:
        address.chosen(recipe.tracking.uri, Path(recipe.outputs))
    way, harden = parts(recipe)
    selected = selection.select(recipe.runs, Path(recipe.outputs))
    for left_out in selected.left_out:
        say(f"runs      left out: {left_out}")
    matched = members.read(selected.runs, recipe.folds)
    for m in range(1, len(matched.runs)):
        if matched.digests[m] == matched.digests[m - 1]:
            say(f"runs      {matched.runs[m - 1].folder} and {matched.runs[m].folder} predict the same to the last bit")
    run = Run(folder.run_folder(recipe, matched))
    with held(run, recipe.tracking, recipe.outputs, "written", "") as life:
        _blend(life, matched, way, harden, recipe, names)
        _conclude(life)
    return Outcome(run, run.scores(), [], None)


def parts(recipe: EnsembleRecipe) -> tuple[Way, Hardening | None]:
    """The recipe's way to blend, and its hardening or None."""
    way: Way = build.build(recipe.blend, "blend")
    if named(recipe.harden):
        return way, build.build(recipe.harden, "harden")
    if len(recipe.harden) > 1:
        raise UserError("harden's keys would do nothing: name the option that they belong to, harden=<name>, as well")
    return way, None


def _blend(
    life: Life, matched: Members, way: Way, harden: Hardening | None, recipe: EnsembleRecipe, names: Mapping[str, str]
) -> None:
    """Does the steps of the ensemble that are not done yet."""
    run = life.run
    done = life.before.get("status") == "finished" and folder.is_complete(run, matched)
    say(f"run       {run.folder}" + (" (blended before)" if done else ""))
    drawn = done and all((run.folder / name).exists() for name in ("plots", "report.html"))
    submitted = (run.folder / "submission.csv").exists() or matched.test_ids is None
    if drawn and submitted and life.mirrored:
        return
    if not done:
        folder.write(run, matched, recipe, names)
    with life.working():
        if not done:
            folder.predict(run, matched, way, harden)
        if not drawn:
            draw(run, matched.metric)
        if trouble := submission.submit(run, lambda: folder.open_dataset(matched, recipe)):
            say(f"{trouble} (root=<folder> says where the files are now)")


def _conclude(life: Life) -> None:
    """Prints the members, the blend's scores and the folder."""
    scores, blend = life.run.scores(), read_json(life.run.folder / "blend.json")
    sign = scores.direction.sign if scores else 1.0
    best_first = sorted(blend["members"], key=lambda member: -sign * member["oof"])
    rows: list[tuple[str, ...]] = [
        (member["name"], figure(member["oof"]), "" if member["weight"] is None else f"{member['weight']:.3f}")
        for member in best_first
    ]
    rows.append(("best single", figure(blend["best_single"])))
    if blend["fitted"]:
        rows.append(("[bold]blend, each fold by the others'", f"[bold]{figure(blend['honest'])}"))
        rows.append(("blend, in sample (optimistic)", figure(blend["in_sample"])))
    else:
        rows.append(("[bold]blend (nothing is fitted)", f"[bold]{figure(blend['honest'])}"))
    life.conclude(scores, rows, [blend["metric"], "weight"])
