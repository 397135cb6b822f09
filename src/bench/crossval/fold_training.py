"""One fold, from the run's folder to its predictions: rows, parts, training, predictions, and the mark that it is done.

What a fold reads is the run's folder alone, and the runs that it starts or learns from.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from bench.augment.base import Augmentation
from bench.crossval import sides, warm_start
from bench.crossval.added_rows import extra_rows
from bench.crossval.sides import Extra, Sides
from bench.data.assignment import blocks
from bench.data.batches import Batches
from bench.data.store import Store
from bench.features.base import Features
from bench.features.device.base import DeviceHalf
from bench.runs import frames
from bench.runs.recipe import Recipe
from bench.runs.run import Fold, Run
from bench.training import checkpoint, device, inference, loop, ranks
from bench.training import parts as builder
from bench.training.compiling import WhereItPays
from bench.training.inference import rounds_at_once
from bench.training.seeds import EXTRA, VIEWS, epoch_seed
from bench.training.solving import is_solved
from bench.training.step import Training
from bench.training.together import alone
from bench.training.tta import View


@dataclass(frozen=True)
class Options:
    """What a fold's process is told beside the run's folder: none of it decides the result but for sums' order."""

    run: Path
    number: int
    device: str = "auto"
    threads: int = 1
    compile: str | None = None


def train_fold(options: Options, events: TextIO) -> None:
    """Trains the fold, resuming after its last saved epoch; ``events`` gets one JSON line per event.

    Raises UserError, and ``loop.LossIsNaN``.
    """
    torch.set_num_threads(options.threads)
    alone(fold_in_training(options, events))


def fold_in_training(options: Options, events: TextIO) -> Training:
    """The same, asking for each batch's gradients: of whoever trains this fold, or several together."""
    run = Run.open(options.run)
    fold = run.fold(options.number)
    lock = FileLock(fold.folder / ".lock", timeout=60)  # a predecessor that is being ended may still hold it
    with lock if ranks.leads() else nullcontext():
        if ranks.leads():
            fold.done.unlink(missing_ok=True)  # until it is written again, nobody takes the rest as whole
        training = FoldTraining(run, fold, options, events)
        train, valid, weights = training.rows()
        parts, views = training.parts(weights)
        yield from loop.fitting(parts, train, valid, training.settings, fold, training.report)
        if ranks.leads():
            kept = training.kept_epoch(parts)
            training.predict(parts, views, valid)
            training.mark_done(kept)


class FoldTraining:
    """The steps of ``train_fold`` and what they have in common. Their order decides what chance draws."""

    def __init__(self, run: Run, fold: Fold, options: Options, events: TextIO) -> None:
        self.run, self.fold, self.options, self.events = run, fold, options, events
        self.recipe: Recipe = run.recipe
        self.inputs = run.inputs
        self.device = device.choose(options.device)
        self.settings = settings(self.recipe)

    def report(self, event: dict[str, Any]) -> None:
        self.events.write(json.dumps({"fold": self.fold.number, **event}) + "\n")
        self.events.flush()

    def note(self, text: str) -> None:
        self.report({"kind": "note", "text": text})

    def seed(self, *numbers: int) -> int:
        return epoch_seed(self.recipe.seed, self.fold.number, *numbers)

    @cached_property
    def stores(self) -> dict[str, Store]:
        return {part: Store(Path(path)) for part, path in self.inputs.stores.items()}

    @cached_property
    def sides(self) -> Sides:
        rows, balanced = frames.read_frame(self.run.checked("splits.parquet")), self.recipe.train.balanced
        return Sides(rows, self.fold.number, self.stores["train"], self.device, self.inputs.window, balanced)

    @cached_property
    def features(self) -> Features:
        return builder.features(self.recipe.features)

    def rows(self) -> tuple[Batches, Batches, Callable[[int], np.ndarray] | None]:
        """The training side with its added rows, the validation side, and the training weights by epoch."""
        extras = extra_rows(self.run, self.fold, self.sides, self.stores, lambda n: self.seed(EXTRA, n), self.note)
        train, valid = self.sides.training(extras), self.sides.batches(self.sides.validated)
        self.note(f"training on {train.where}")
        self.added = len(train) - int(self.sides.trained.sum())
        return train, valid, self._weights(extras)

    def _weights(self, extras: list[Extra]) -> Callable[[int], np.ndarray] | None:
        factors = builder.row_weights(self.recipe.row_weights)
        return None if factors is None else sides.by_epoch(self.sides, extras, factors, self.settings.epochs)

    def parts(self, weights: Callable[[int], np.ndarray] | None) -> tuple[loop.Parts, list[View]]:
        """What the loop trains with, and the views that predict."""
        recipe = self.recipe
        model = self._model()
        optimizer = builder.optimizer(recipe.optimizer, model.parameters())
        device_half = self._device_half()
        augment: list[Augmentation] = builder.augment(recipe.augment, self.features)
        device_half.narrow = self.settings.precision == "bf16" and not augment and rounds_at_once(model)
        if self.options.compile == "true":
            model.compile()
        ranks.same(model)
        ranks.same(device_half)
        graphed, note = device.graphed(self.options.compile, self.device)
        if note:
            self.note(note)
        parts = loop.Parts(
            model=model,
            device_half=device_half,
            loss=builder.loss(recipe.loss),
            optimizer=optimizer,
            schedule=builder.schedule(recipe.scheduler),
            metric=builder.metric(recipe.dataset),
            row_weights=weights,
            valid_loss=builder.judging_loss(recipe.loss),
            augment=augment,
            graphed=graphed,
            before_epoch=self._compiling(device_half),
            blocks=self._blocks() if is_solved(model) else None,
        )
        return parts, builder.views(recipe.tta, self.features, augment)

    def _blocks(self) -> np.ndarray:
        """(N,) the training rows' blocks, which no choice among them parts; −1 for those that were added."""
        tied = blocks(self.sides.rows[self.sides.trained], self.stores["train"].digests()[self.sides.trained])
        return np.concatenate([tied, np.full(self.added, -1)])

    def _compiling(self, device_half: nn.Module) -> WhereItPays | None:
        if self.options.compile != "auto":
            return None
        return WhereItPays(self.fold.folder / "compiled.json", self.settings, device_half, self.note)

    def _model(self) -> nn.Module:
        source, spec = self.recipe.init_from, self.inputs.spec
        torch.manual_seed(self.seed())
        model = builder.model(self.recipe.model, spec)
        if source:
            anew = warm_start.load(model, warm_start.file_for(source, self.fold.number), spec.n_classes)
            if anew:
                self.note(f"{', '.join(anew)} start anew: the classes are others than in {source}")
        return model.to(self.device)

    def _device_half(self) -> DeviceHalf:
        """The device half of the features, fitted on the training side alone."""
        device_half = self.features.device_half().to(self.device)
        if device_half.learns:
            trained = self.sides.batches(self.sides.trained)
            device_half.fit(batch.x for batch in trained.in_order(self.settings.eval_batch_size))
            if ranks.leads():
                checkpoint.save_weights(self.fold.features, device_half)
        return device_half

    def kept_epoch(self, parts: loop.Parts) -> int:
        """The epoch, from 1, whose weights predict."""
        history, keep = self.fold.history(), self.settings.keep
        kept = loop.best_epoch(history, self.settings, parts.metric) + 1
        if keep != "last":
            by = {"loss": "validation loss", "train_loss": "training loss"}.get(keep, parts.metric.name)
            self.note(f"keeps epoch {kept} of {len(history)}, the best by {by}")
        return kept

    def predict(self, parts: loop.Parts, views: list[View], valid: Batches) -> None:
        """Writes the validation rows' predictions, and the test rows' where there are any."""
        classes, test = self.inputs.spec.classes, self.stores["test"]
        validated = self.sides.rows[self.sides.validated]
        probability, plain = np.zeros((0, len(classes))), None
        if len(validated):
            probability, plain = self._probabilities(parts, views, valid)
        frames.write_frame(frames.oof_frame(validated, probability, plain, classes), self.fold.oof)
        self.fold.test.unlink(missing_ok=True)
        if len(test):
            none = np.zeros((len(test), len(classes)), np.float32)
            rows = Batches(test, np.arange(len(test)), none, None, self.device, self.inputs.window)
            probability, _ = self._probabilities(parts, views, rows)
            ids = frames.read_frame(self.run.checked("test_ids.parquet"))["id"]
            frames.write_frame(frames.prediction_frame(ids, probability, classes), self.fold.test)

    def _probabilities(
        self, parts: loop.Parts, views: list[View], rows: Batches
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities, and beside those of several views the plain ones."""
        how = (parts.model, parts.device_half, rows, self.settings.eval_batch_size, self.settings.precision)
        plain = inference.probabilities(inference.logits(*how))
        return (inference.averaged(*how, views, lambda n: self.seed(VIEWS, n)), plain) if views else (plain, None)

    def mark_done(self, kept_epoch: int) -> None:
        """Written last: whoever finds it may take the rest as whole."""
        self.fold.mark_done(
            kept_epoch=kept_epoch,
            epochs=len(self.fold.history()),
            test=self.inputs.test,
            test_rows=len(self.stores["test"]),
            device=str(self.device),
            peak_memory_mb=peak_memory(),
        )


def settings(recipe: Recipe) -> loop.Settings:
    """The loop's part of a recipe."""
    names = [field.name for field in fields(loop.Settings) if field.name != "seed"]
    return loop.Settings(seed=recipe.seed, **{name: getattr(recipe.train, name) for name in names})


def peak_memory() -> int | None:
    """MB that this process has taken at most; the kernel's own maximum would count the parent's, up to the exec."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), None)
