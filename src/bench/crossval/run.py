"""The cross-validated run, from a recipe to a finished folder: the main job's steps in their order."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from bench.crossval import collect, fold_jobs, length, processes
from bench.crossval.claims import claimed
from bench.crossval.continued import advise, take_over
from bench.crossval.dropped import Dropped, Judge, Judged
from bench.crossval.lifecycle import PATIENCE, Life, held
from bench.crossval.plan import Plan, make_plan
from bench.crossval.progress import Display, display
from bench.crossval.told import Estimated, Spent, beginning, next_command
from bench.data.store import Store
from bench.report.draw import draw
from bench.runs import submission
from bench.runs.facts import holder, is_locked
from bench.runs.frames import read_frame
from bench.runs.outcome import Outcome
from bench.runs.recipe import Recipe
from bench.runs.run import Run
from bench.runs.scores import Scores
from bench.spec import UserError
from bench.tell import figure, say

Given = tuple[Recipe, Mapping[str, str]]
"""A recipe as the command gives it, and its groups' options."""
LONGEST_BEGINNING = 5.0
"""Seconds after which a command that holds a run has written its files."""


def cross_validate(recipe: Recipe, names: Mapping[str, str], judge: Judge | None = None) -> Outcome:
    """Trains the unfinished folds of the recipe's run and collects them; ``names`` maps groups to options.

    A search's ``judge`` may give a fold up; the run is left with those that are finished. A person's mistake is a
    UserError before any training starts; KeyboardInterrupt leaves the run marked as killed.
    """
    processes.expect(recipe)
    spent = Spent()
    with spent.on("preparing"):
        plan = make_plan(recipe, names)
    run = plan.run
    advise(plan)
    patience = -1 if _trained_beside(plan) else PATIENCE
    with held(run, recipe.tracking, recipe.outputs, "trained", ", or change the recipe or the seed", patience) as life:
        take_over(plan)
        plan.write()  # only now: another command may be training from these files
        todo = processes.missing(run, plan.folds, plan.inputs.test)
        if todo:
            beginning(plan)
        kept = f", {len(plan.folds) - len(todo)} done before" if len(todo) < len(plan.folds) else ""
        say(f"run       {run.folder} ({len(todo)} of {len(plan.folds)} folds to train{kept})")
        if not todo and _whole(run, life.before, recipe.pictures) and life.mirrored:
            outcome = Outcome(run, run.scores(), [], None)
        else:
            with life.working() as work, _taken(plan, todo) as mine:
                if others := [number for number in todo if number not in mine]:
                    say(f"run       another command trains {_folds(others)}; whichever ends last collects all")
                outcome = _train_and_collect(plan, mine, (recipe, names), judge, spent)
                scores, work.failed = outcome.scores, outcome.failed
                complete = scores.complete if scores else not plan.inputs.validated
                complete = complete and not outcome.dropped
                work.status = "failed" if work.failed else "finished" if complete else "partial"
        _conclude(life, outcome, spent if todo else None)
        return outcome


def _taken(plan: Plan, todo: list[int]) -> AbstractContextManager[list[int]]:
    """The folds that this command trains: those that no other works on; of jobs, which claim their folds, all."""
    return claimed(plan.run, todo) if plan.recipe.folds.launcher == "local" else nullcontext(todo)


def _whole(run: Run, state: Mapping[str, Any], pictures: bool) -> bool:
    """Whether the run is finished and all its result files still exist."""
    tables = ["oof.parquet"] * run.inputs.validated
    tables += ["test.parquet"] * bool(len(read_frame(run.checked("test_ids.parquet"))))
    files = ["scores.json"] * run.inputs.validated + ["submission.csv"] * ("test.parquet" in tables)
    expected = tables + files + ["plots", "report.html"] * (run.inputs.validated and pictures)
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


def _trained_beside(plan: Plan) -> bool:
    """Trains those of the folds on which nobody works while another command holds the run; whether there were any."""
    run, waited = plan.run, 0.0
    while is_locked(run.folder / ".lock") and not (run.folder / "inputs.json").exists():
        if waited > LONGEST_BEGINNING:
            return False
        waited += 0.1
        time.sleep(0.1)
    if not is_locked(run.folder / ".lock"):
        return False
    if plan.recipe.folds.launcher != "local":
        return False  # whoever holds it follows the jobs
    with claimed(run, processes.missing(run, plan.folds, plan.inputs.test)) as mine:
        if not mine:
            return False
        say(f"run       {run.folder} is held by {holder(run.folder)}; this command trains {_folds(mine)} beside it")
        _train(plan, mine, None)
    if is_locked(run.folder / ".lock"):
        say(f"run       waits for {holder(run.folder)} to end, and collects then")
    return True


def _folds(numbers: Sequence[int]) -> str:
    return f"fold{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _train(plan: Plan, todo: list[int], given: Given | None, judge: Judge | None = None) -> list[int]:
    """Trains the folds; returns those that failed. ``given`` is what their jobs, if any, collect the run with."""
    from bench.training import device

    for path in plan.inputs.stores.values():
        Store(Path(path)).refuse_damaged()
    recipe, epochs = plan.recipe, length.intended(plan.recipe)
    with display(plan.dataset.metric.name, epochs, todo) as shown:
        screen: Display = Estimated(shown, epochs, len(todo))
        if given and recipe.folds.launcher != "local":
            return fold_jobs.train(*given, plan.run, todo, screen, cross_validate)
        devices = device.several(recipe.device)
        folds, compiled = recipe.folds, recipe.compile
        screen = Judged(screen, judge) if judge else screen
        return processes.train(plan.run, todo, folds.parallel, devices, compiled, screen, folds.fused)


def _train_and_collect(plan: Plan, todo: list[int], given: Given, judge: Judge | None, spent: Spent) -> Outcome:
    run, metric = plan.run, plan.dataset.metric
    failed, scores, dropped = list[int](), None, None
    try:
        with spent.on("training"):
            failed = _train(plan, todo, given, judge) if todo else []
    except Dropped as drop:
        dropped = str(drop)
        say(f"run       given up: {dropped} lags behind earlier trials; the same command without the search goes on")
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
        if scores and plan.recipe.pictures:
            with spent.on("pictures"):
                draw(run, metric)
    numbers = ", ".join(map(str, failed))
    sentence = f"fold {numbers} failed; the same command again trains only what is missing" if failed else None
    return Outcome(run, scores, failed, sentence, dropped)


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


def _conclude(life: Life, outcome: Outcome, spent: Spent | None) -> None:
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
        if spent and not outcome.failed and outcome.dropped is None:
            sentences += [spent.sentence(), next_command(outcome.run, scores)]
    life.conclude(scores, rows, [scores.metric] if scores else [], *sentences)
