"""The cross-validated run, from a recipe to a finished folder: the main job's steps in their order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.crossval import collect, length, processes
from bench.crossval.lifecycle import Life, held
from bench.crossval.plan import Plan, make_plan
from bench.crossval.progress import display
from bench.data.store import Store
from bench.report.draw import draw
from bench.runs import submission
from bench.runs.frames import read_frame
from bench.runs.outcome import Outcome
from bench.runs.recipe import Recipe
from bench.runs.run import Run
from bench.runs.scores import Scores
from bench.spec import UserError
from bench.tell import figure, say


def cross_validate(recipe: Recipe, names: Mapping[str, str]) -> Outcome:
    """Trains the unfinished folds of the recipe's run and collects them; ``names`` maps groups to options.

    A person's mistake is a UserError before any training starts; KeyboardInterrupt leaves the run marked as killed.
    """
    plan = make_plan(recipe, names)
    run = plan.run
    with held(run, recipe.tracking, recipe.outputs, "trained", ", or change the recipe or the seed") as life:
        plan.write()  # only now: another command may be training from these files
        todo = processes.missing(run, plan.folds, plan.inputs.test)
        kept = f", {len(plan.folds) - len(todo)} done before" if len(todo) < len(plan.folds) else ""
        say(f"run       {run.folder} ({len(todo)} of {len(plan.folds)} folds to train{kept})")
        for path in plan.inputs.stores.values() if todo else ():
            Store(Path(path)).refuse_damaged()
        if not todo and _whole(run, life.before) and life.mirrored:
            outcome = Outcome(run, run.scores(), [], None)
        else:
            with life.working() as work:
                outcome = _train_and_collect(plan, todo)
                scores, work.failed = outcome.scores, outcome.failed
                complete = scores.complete if scores else not plan.inputs.validated
                work.status = "failed" if work.failed else "finished" if complete else "partial"
        _conclude(life, outcome)
        return outcome


def _whole(run: Run, state: Mapping[str, Any]) -> bool:
    """Whether the run is finished and all its result files still exist."""
    tables = ["oof.parquet"] * run.inputs.validated
    tables += ["test.parquet"] * bool(len(read_frame(run.checked("test_ids.parquet"))))
    files = ["scores.json"] * run.inputs.validated + ["submission.csv"] * ("test.parquet" in tables)
    expected = tables + files + ["plots", "report.html"] * run.inputs.validated
    if state.get("status") != "finished" or not all((run.folder / name).exists() for name in expected):
        return False
    try:
        for name in files:
            run.checked(name)
        for name in tables:
            read_frame(run.checked(name))
    except (UserError, OSError, ValueError) as error:
        say(f"run       {error}")
        return False
    return True


def _train_and_collect(plan: Plan, todo: list[int]) -> Outcome:
    run, recipe, metric = plan.run, plan.recipe, plan.dataset.metric
    failed: list[int] = []
    if todo:
        from bench.training import device

        devices = device.several(recipe.device)
        with display(metric.name, length.intended(recipe), todo) as screen:
            failed = processes.train(run, todo, recipe.folds.parallel, devices, recipe.compile, screen)
    scores = None
    if any(fold.finished for fold in run.folds):
        scores, notes = collect.collect(run, metric)
        for note in notes:
            say(f"test      {note}")
        for twin in _twins(run, scores) if scores else ():
            say(
                f"seed      {twin} predicts the same to the last bit with another seed, so nothing here depends on the "
                "seed: their mean would be no ensemble"
            )
        if trouble := submission.submit(run, lambda: plan.dataset):
            say(f"{trouble} (the predictions stay; the same command tries again, and trains nothing)")
        if scores:
            draw(run, metric)
    numbers = ", ".join(map(str, failed))
    sentence = f"fold {numbers} failed; the same command again trains only what is missing" if failed else None
    return Outcome(run, scores, failed, sentence)


def _twins(run: Run, scores: Scores) -> list[Path]:
    """Runs that differ from this one only in the seed and yet make identical predictions."""
    group, twins = run.inputs.group, []
    for folder in sorted(run.folder.parent.iterdir()):
        other = Run(folder)
        if folder == run.folder or not (folder / "inputs.json").exists():
            continue
        try:
            theirs = other.scores()
        except UserError:  # another run's damage is no matter of this one
            continue
        if theirs and theirs.group == group and theirs.rows == scores.rows and theirs.predictions == scores.predictions:
            twins.append(folder)
    return twins


def _conclude(life: Life, outcome: Outcome) -> None:
    """The score table and where everything is; the last line is the contract's."""
    scores, rows = outcome.scores, []
    sentences = [outcome.sentence] if outcome.sentence else []
    if not outcome.run.inputs.validated:
        sentences.append("score     none: all rows were trained on (split=none), so the run predicts alone")
    if scores:
        rows = [(f"fold {k}", figure(score)) for k, score in zip(scores.fold_numbers, scores.folds, strict=True)]
        rows.append((f"[bold]out-of-fold, {scores.rows} rows", f"[bold]{figure(scores.oof)}"))
        if scores.without_tta:
            rows.append(("out-of-fold, one view a row", figure(scores.without_tta.oof)))
        if not scores.complete:
            n_splits = outcome.run.inputs.n_splits
            sentences.insert(0, f"{len(scores.folds)} of {n_splits} folds are in this score")
    life.conclude(scores, rows, [scores.metric] if scores else [], *sentences)
