"""The cross-validated run, from a composed config to a finished folder: the main job's steps in their order."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.crossval import collect, processes
from bench.crossval.plan import Plan, make_plan
from bench.crossval.progress import display
from bench.datasets.base import Dataset
from bench.report.draw import draw
from bench.runs import frames, submission
from bench.runs.outcome import Outcome
from bench.runs.run import Run
from bench.spec import Direction, UserError
from bench.tell import figure, say, spread
from bench.tracking.where import tell_where

if TYPE_CHECKING:
    pass


def cross_validate(config: dict[str, Any], names: dict[str, str]) -> Outcome:
    """Trains what is missing of the run that ``config`` describes, and collects it.

    config is the resolved config as plain containers; names are the groups' chosen options. A person's mistake is a
    UserError before any training starts; KeyboardInterrupt leaves the run marked as killed.
    """
    from filelock import FileLock, Timeout

    from bench.runs.facts import content, public
    from bench.tracking.follower import start_mirror
    from bench.tracking.mirror import default_uri

    plan = make_plan(config, names)
    run = plan.run
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run.folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{run.folder} is being trained by another command (pid {run.state().get('pid')}); "
            "wait for it, or change the recipe or the seed"
        ) from None
    try:
        before = run.state()
        plan.write()  # only now: another command may be training from these files
        tracking = config["tracking"]
        uri = (tracking["uri"] or default_uri(Path(config["outputs"]).resolve())) if tracking["enabled"] else None
        todo = processes.missing(run, plan.folds, plan.test_digest)
        kept = f", {len(plan.folds) - len(todo)} done before" if len(todo) < len(plan.folds) else ""
        say(f"run       {run.folder} ({len(todo)} of {len(plan.folds)} folds to train{kept})")
        if not todo and _whole(run, before) and (uri is None or before.get("tracked") == content(uri.encode())):
            outcome = Outcome(run, run.scores(), [], None)
            _conclude(outcome, uri)
            return outcome
        command = public(shlex.join(sys.orig_argv))
        run.write_state(status="running", pid=os.getpid(), host=os.uname().nodename, command=command, failed=[])
        mirror = start_mirror(run, uri, tracking["wait"]) if uri is not None else None
        try:
            outcome = _train_and_collect(plan, todo, config)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            run.write_state(status="killed" if interrupted else "failed")
            if interrupted:  # who presses Ctrl-C waits for nothing long
                tracking["wait"] = min(tracking["wait"], 10)
            raise
        finally:
            sent = mirror is not None and mirror.finish(tracking["wait"])
            run.write_state(tracked=content(uri.encode()) if sent and uri else None)
            if mirror is not None and not sent:
                say(f"tracking  MLflow has not taken everything; later: python -m bench.track {run.folder}")
        _conclude(outcome, uri)
        return outcome
    finally:
        lock.release()


def _whole(run: Run, state: dict[str, Any]) -> bool:
    """Whether an earlier command has finished everything, and it is still there."""
    names = ("oof.parquet", "scores.json", "test.parquet", "submission.csv", "plots", "report.html")
    has_test = bool(len(pd.read_parquet(run.folder / "test_ids.parquet")))
    wanted = names if has_test else ("oof.parquet", "scores.json", "plots", "report.html")
    return state.get("status") == "finished" and all((run.folder / name).exists() for name in wanted)


def _train_and_collect(plan: Plan, todo: list[int], config: dict[str, Any]) -> Outcome:
    run, metric = plan.run, plan.dataset.metric
    failed: list[int] = []
    if todo:
        with display(metric.name, config["train"]["epochs"]) as screen:
            failed = processes.train(
                run, todo, config["folds"]["parallel"], config["device"], config["compile"], screen
            )
    scores = None
    if any(fold.finished for fold in run.folds):
        scores = collect.collect(run, metric)
        for note in scores.pop("notes"):
            say(f"test      {note}")
        for twin in _twins(run, scores):
            say(
                f"seed      {twin} predicts the same to the last bit with another seed, so nothing here depends on the "
                "seed: their mean would be no ensemble"
            )
        _submit(run, plan.dataset)
        draw(run, metric)
    status = "failed" if failed else "finished" if scores and scores["complete"] else "partial"
    run.write_state(status=status, failed=failed)
    numbers = ", ".join(map(str, failed))
    sentence = f"fold {numbers} failed; the same command again trains only what is missing" if failed else None
    return Outcome(run, scores, failed, sentence)


def _submit(run: Run, dataset: Dataset) -> None:
    """submission.csv where there are test predictions; a sentence where the sample file is of others."""
    test, path = run.folder / "test.parquet", run.folder / "submission.csv"
    if not test.exists():
        path.unlink(missing_ok=True)
        return
    frame = pd.read_parquet(test)
    try:
        submission.write(dataset, path, frame["id"].tolist(), frames.predictions(frame))
    except ValueError as error:  # a UserError, or a data set's own on what it is given
        path.unlink(missing_ok=True)
        say(
            f"test      submission.csv is not written: {error} (the predictions stay; the same command tries "
            "again, and trains nothing)"
        )


def _twins(run: Run, scores: dict[str, Any]) -> list[Path]:
    """Runs beside this one that differ in their seed alone, and predict the very same."""
    group, found = run.inputs.get("group"), []
    for folder in sorted(run.folder.parent.iterdir()):
        other = Run(folder)
        if folder == run.folder or not (folder / "inputs.json").exists() or other.inputs.get("group") != group:
            continue
        theirs = other.scores()
        if theirs and theirs["rows"] == scores["rows"] and theirs.get("predictions") == scores["predictions"]:
            found.append(folder)
    return found


def _conclude(outcome: Outcome, uri: str | None) -> None:
    """The score table and where everything is; the last line is the contract's."""
    from rich.console import Console
    from rich.table import Table

    run, scores = outcome.run, outcome.scores
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    if scores:
        better = Direction(scores["direction"]).sentence
        mark = "  SIMULATED data" if scores["simulated"] else ""
        table = Table(title=f"{scores['metric']} ({better}){mark}", box=None, title_justify="left")
        for column in ("", scores["metric"]):
            table.add_column(column, justify="left" if not column else "right")
        for number, score in zip(scores["fold_numbers"], scores["folds"], strict=True):
            table.add_row(f"fold {number}", figure(score))
        table.add_row("mean ± std", spread(scores["mean"], scores["std"]))
        table.add_row("baseline (training means)", figure(scores["baseline"]))
        table.add_row(f"[bold]out-of-fold, {scores['rows']} rows", f"[bold]{figure(scores['oof'])}")
        if plain := scores.get("without_tta"):
            table.add_row("out-of-fold, one view a row", figure(plain["oof"]))
        table.add_row("accuracy", f"{scores['accuracy']:.4f}")
        for name, score in scores.get("also", {}).items():
            table.add_row(name, figure(score))
        console.print(table)
        if not scores["complete"]:
            console.print(f"{len(scores['folds'])} of {run.inputs['n_splits']} folds are in this score")
    if outcome.sentence:
        say(outcome.sentence)
    tell_where(run, uri, console)
