"""Pseudo-labels: what finished runs predict of rows without a trusted label, as targets of more training rows.

Each fold asks the teachers' folds of its own number, which never trained on what it validates; so a teacher must have
split alike, and is refused where it did not. A row whose group, or whose copy, is on the validation side never comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from bench.crossval import warm_start
from bench.crossval.opened import Opened
from bench.data.store import Store
from bench.datasets.base import Dataset, open_to, serves
from bench.runs.frames import read_frame
from bench.runs.inputs import Teacher
from bench.runs.recipe import Recipe
from bench.runs.run import Run
from bench.spec import Part, UserError
from bench.training import parts
from bench.training.seeds import VIEWS, epoch_seed

if TYPE_CHECKING:
    import torch

PARTS: tuple[Part, ...] = ("train", "test")


class Teachers:
    """Finished ``runs`` whose mean probability labels ``rows``, and which of those are kept.

    ``rows``: rest are the training table's rows that are not trained on (HMS: dataset.keep_rest=true keeps them there),
    test the test rows. ``above``: the largest probability must reach it. ``drop_above``: class → share from which an
    example is left out, all of its rows. ``hard`` makes targets one-hot, ``weight`` is what such a row counts.
    ``trained_too`` allows rows that a teacher's fold was itself trained on.
    Source: the 16th place's second stage at HMS (mean of ten models with their
    test-time augmentation, other at 0.8 and more dropped).
    """

    def __init__(
        self,
        runs: Sequence[str] | None,
        rows: Literal["rest", "test"] = "rest",
        above: float = 0.0,
        drop_above: Mapping[str, float] | None = None,
        hard: bool = False,
        weight: float = 1.0,
        trained_too: bool = False,
    ) -> None:
        if not runs:
            raise UserError("pseudo.runs names no teacher; give the folders of finished runs, or leave pseudo out")
        if rows not in ("rest", "test"):
            raise UserError(f"pseudo.rows={rows} is not one of rest, test")
        if not 0 <= above <= 1:
            raise UserError(f"pseudo.above={above:g} must lie between 0 and 1")
        if not weight > 0:
            raise UserError(f"pseudo.weight={weight:g} must be above 0; leave pseudo out for none of them")
        self.runs, self.rows, self.above, self.hard = list(runs), rows, above, hard
        self.drop_above, self.weight, self.trained_too = dict(drop_above or {}), weight, trained_too

    @property
    def part(self) -> Part:
        """Whose table the rows are of."""
        return "train" if self.rows == "rest" else "test"

    def chosen(
        self, probability: np.ndarray, classes: tuple[str, ...], example: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(N, K) probabilities and (N,) example → (N,) bool, which are kept, and (N, K) float32 targets."""
        keep = probability.max(1, initial=0) >= self.above
        for name, share in self.drop_above.items():
            if name not in classes:
                raise UserError(f"pseudo.drop_above.{name}: no such class; there are {', '.join(classes)}")
            keep &= ~np.isin(example, example[probability[:, classes.index(name)] >= share])
        target = np.eye(len(classes))[probability.argmax(1)] if self.hard else probability
        return keep, target.astype(np.float32)


def candidates(rows: pd.DataFrame, fold: int) -> np.ndarray:
    """(N,) bool: rows that no fold trains on, among those that this fold may see."""
    untrained: np.ndarray = ~serves(rows, "trained") & open_to(rows, fold)
    return untrained


def refuse_unfit(recipe: Recipe, dataset: Dataset, simulated: bool, folds: list[int]) -> None:
    """Checks before the split: refuses teachers of another data set, with other classes, or that are not finished."""
    labels = parts.pseudo_labels(recipe.pseudo)
    if labels is None:
        return
    if labels.rows == "test" and not len(dataset.table("test")):
        raise UserError(f"pseudo.rows=test: {dataset.root} has no test rows")
    for path in labels.runs:
        run = Run.open(path)
        ours = (recipe.dataset["_target_"], simulated, dataset.classes)
        if (run.recipe.dataset["_target_"], run.inputs.simulated, run.spec.classes) != ours:
            raise UserError(f"pseudo.runs: {path} is of another data set, or of other classes; choose one of this")
        warm_start.digest("pseudo.runs", path)  # all of its folds are done
        warm_start.source_run("pseudo.runs", path, folds)


def refuse_leaks(recipe: Recipe, simulated: bool, rows: pd.DataFrame, folds: list[int]) -> None:
    """Refuses a teacher trained on a fold's validation rows, or (unless allowed) on rows that it would label."""
    labels = parts.pseudo_labels(recipe.pseudo)
    if labels is None:
        return
    if labels.rows == "rest" and not any(candidates(rows, k).any() for k in folds):
        raise UserError(
            "pseudo.rows=rest: every row is trained on, so there is none to label; keep those that a threshold leaves "
            "out (dataset.keep_rest=true, where the data set has it) or choose pseudo.rows=test"
        )
    for path in labels.runs:
        warm_start.refuse_leak("pseudo.runs", path, recipe.dataset["_target_"], simulated, rows, folds)
        if labels.rows == "rest" and not labels.trained_too:
            _refuse_trained(path, Run.open(path), rows, folds)


def open_teachers(recipe: Recipe, opened: Opened) -> tuple[Teacher, ...]:
    """What a fold needs of each teacher: its folder and the stores of its features on this data set."""
    labels = parts.pseudo_labels(recipe.pseudo)
    teachers = []
    for path in labels.runs if labels else ():
        run = Run.open(path)
        features = parts.features(run.recipe.features)
        stores: dict[str, str] = {part: str(opened.store(recipe, part, features).folder.resolve()) for part in PARTS}
        teachers.append(Teacher(run=str(run.folder), stores=stores, window=run.inputs.window))
    return tuple(teachers)


def predicted(
    teachers: Sequence[Teacher], fold: int, part: Part, positions: np.ndarray, device: torch.device, batch_size: int
) -> np.ndarray:
    """(N, K) float64: the mean probability of the teachers' folds of this number, of the part's rows at positions.

    Each teacher predicts as it predicts its own test rows, with the views of its own test-time augmentation.
    """
    from bench.data.batches import Batches
    from bench.training import inference
    from bench.training.loading import trained_fold

    probabilities = []
    for teacher in teachers:
        run = Run.open(teacher.run)
        model, device_half = trained_fold(run, fold, device)
        none = np.zeros((len(positions), run.spec.n_classes), np.float32)
        side = Batches(Store(Path(teacher.stores[part])), positions, none, None, device, teacher.window)
        how = (model, device_half, side, batch_size, run.recipe.train.precision)
        features = parts.features(run.recipe.features)
        views = parts.views(run.recipe.tta, features, parts.augment(run.recipe.augment, features))
        seed = partial(epoch_seed, run.recipe.seed, fold, VIEWS)
        probabilities.append(
            inference.averaged(*how, views, seed) if views else inference.probabilities(inference.logits(*how))
        )
    mean: np.ndarray = np.mean(probabilities, axis=0)
    return mean


def _refuse_trained(path: str, run: Run, rows: pd.DataFrame, folds: list[int]) -> None:
    """Refuses a teacher that was trained on what it would label: it would hand back what it was told."""
    source = read_frame(run.checked("splits.parquet"))
    trained = serves(source, "trained")
    for fold in folds:
        trained_ids = set(source["id"][trained & open_to(source, fold)].astype(str))
        labelled = rows["id"][candidates(rows, fold)].astype(str)
        both = labelled[labelled.isin(trained_ids)]
        if len(both):
            raise UserError(
                f"pseudo.runs: {path} was trained on {len(both)} of the rows that it would label for fold {fold} "
                f"(first: {', '.join(both.iloc[:5])}); choose another, or pseudo.trained_too=true if it is meant"
            )
