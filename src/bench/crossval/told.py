"""What a training command tells besides its folds: what will be trained on what, how long it takes, what to do next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.crossval.length import trained_examples
from bench.crossval.plan import Plan
from bench.crossval.progress import Display
from bench.runs import selection
from bench.runs.run import Run
from bench.runs.scores import Scores
from bench.spec import UserError
from bench.tell import amount, duration, say

ENOUGH_S = 20.0
"""Seconds of a first epoch's steps after which they tell how long the whole takes."""
WORTH_S = 30.0
"""What takes less than that in all is not told beforehand."""


def beginning(plan: Plan) -> None:
    """Three lines before the training: the rows, the model, how long a fold is trained."""
    inputs, train = plan.inputs, plan.recipe.train
    names, spec = inputs.names, inputs.spec
    test = len(plan.dataset.table("test"))
    folds = f"in {inputs.n_splits} folds (split={names.get('split')})" if inputs.validated else "all trained on"
    say(f"rows      {amount(len(plan.rows))} of {len(spec.classes)} classes, {folds}; {amount(test)} to predict")
    shape = " × ".join(map(str, spec.shape))
    brought = [f"{group}={names[group]}" for group in ("loss", "augment") if names.get(group, "none") != "none"]
    say(f"model     {inputs.model} on {names.get('features')} ({shape}), {', '.join(brought)}")
    examples = trained_examples(plan.rows)
    most = max(examples[fold] for fold in plan.folds)
    epochs = f"{train.epochs} epoch{'s' * (train.epochs != 1)} of {amount(most)} rows a fold"
    say(f"training  {epochs}, {train.batch_size} a batch, seed {plan.recipe.seed}")


class Estimated:
    """A display that tells once, from a fold's first steps, how long all of them take."""

    def __init__(self, display: Display, epochs: int, folds: int) -> None:
        self.display, self.epochs, self.folds = display, epochs, folds
        self.fail = display.fail
        self.running, self.told = dict[int, float](), False
        self.began: tuple[int, float, float] | None = None
        """The first fold to report steps: its number, when that was, and how much of an epoch it had done."""

    def start(self, fold: int) -> None:
        self.running[fold] = time.monotonic()
        self.display.start(fold)

    def finish(self, fold: int) -> None:
        self.running.pop(fold, None)
        self.display.finish(fold)

    def event(self, fold: int, event: dict[str, Any]) -> None:
        self.display.event(fold, event)
        if self.told or event["kind"] not in ("step", "epoch"):
            return
        if event["kind"] == "epoch":
            self._tell(float(event["seconds"]))
            return
        now, done = time.monotonic(), event["epoch"] - 1 + event["step"] / event["steps"]
        if self.began is None:
            self.began = fold, now, done
        elif fold == self.began[0] and now - self.began[1] > ENOUGH_S and done > self.began[2]:
            self._tell((now - self.began[1]) / (done - self.began[2]))

    def _tell(self, an_epoch: float) -> None:
        self.told = True
        rounds = -(-self.folds // max(1, len(self.running)))
        seconds = an_epoch * self.epochs * rounds
        if seconds > WORTH_S:
            side = f", {len(self.running)} side by side" if len(self.running) > 1 else ""
            say(f"time      about {duration(seconds)} for {self.epochs} epochs of {self.folds} folds{side}")


class Spent:
    """Where a command's time went: name → seconds, in their order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    def sentence(self) -> str:
        slowest = max(self.seconds, key=lambda name: self.seconds[name])
        parts = [f"{name} {duration(s)}{' (the slowest part)' * (name == slowest)}" for name, s in self.seconds.items()]
        return f"time      {duration(sum(self.seconds.values()))}: {', '.join(parts)}"


def next_command(run: Run, scores: Scores) -> str:
    """What is most worth typing after a training."""
    if not scores.complete:
        return "next      the same command without folds.only= trains the other folds"
    query = f"dataset={run.inputs.dataset},metric={scores.metric},simulated={scores.simulated}"
    try:
        outputs = run.folder.parents[2]
        others = [one for one in selection.select(f"best:2,{query}", outputs).runs if one.folder != run.folder]
    except UserError:
        others = []
    if others and same_folds(run, others[0]):
        return f"next      python -m bench.compare runs={others[0].identity},{run.identity}"
    return f"next      python -m bench.catalog dataset={run.inputs.dataset} lists other models to hold against this one"


def same_folds(one: Run, other: Run) -> bool:
    """Whether both are of one number of folds, so that a comparison is likely to take them."""
    return one.inputs.n_splits == other.inputs.n_splits
