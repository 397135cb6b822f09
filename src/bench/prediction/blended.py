"""Prediction with a finished ensemble: its members predict, and its blend combines their predictions."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.datasets.base import Dataset
from bench.ensembling import blend, fitting, members
from bench.ensembling.ways import Blend, Rank, Way, normalised
from bench.extensions import add as add_extensions
from bench.prediction import runtimes
from bench.prediction.predictor import Predictor
from bench.runs import inside, submission
from bench.runs.run import Run
from bench.runs.selection import ENSEMBLE, select
from bench.spec import UserError


@dataclass(frozen=True)
class Sources:
    """The same rows as sources of each member; ``places`` are the positions of the ensemble's rows in each source."""

    each: list[Any]
    places: list[np.ndarray]

    @property
    def digest(self) -> str:
        """Digest of all members' stores; see ``Store.digest``."""
        return hashlib.sha256(" ".join(source.digest for source in self.each).encode()).hexdigest()


class Blended(Predictor):
    """A finished ensemble that predicts.

    Its members, which may be ensembles, predict with ``folds``, each with ``tta`` or its own views. The blend and its
    hardening, fitted on all out-of-fold rows, combine these predictions. They are fitted again from the members'
    folders. ``blend=rank`` ranks the rows that are predicted together.
    """

    def __init__(
        self,
        run: Run,
        folds: Sequence[int] | None = None,
        tta: Mapping[str, Any] | None = None,
        device: str = "auto",
        store: str | Path = "data/store",
        workers: int | None = None,
        outputs: str | Path = "outputs",
        runtime: str = runtimes.TORCH,
    ) -> None:
        self.run, self.runtime, self.device = run, runtime, runtimes.device(runtime, device)
        runs = [find_member(run, Path(member.run), Path(outputs)) for member in run.inputs.members]
        way, self._blend = refit(run, runs)
        self._ranks = isinstance(way, Rank)
        predictors, how = [], (folds, tta, device, store, workers, outputs, run.ensemble.folds, runtime)
        for member in runs:
            with naming(member):
                predictors.append(opened(member, *how))
        self.members, self.folds, self.tta = (
            tuple(predictors),
            predictors[0].folds,
            [member.tta for member in predictors],
        )

    def open(self, folder: Path) -> Dataset:
        """The first member's data set on a folder of test files. UserError unless all members find the same rows."""
        first, *others = self.members
        dataset = first.open(folder)
        for member in others:
            with naming(member.run):
                _places(first, dataset, member, member.open(folder))
        return dataset

    @property
    def reads(self) -> dict[str, Any]:
        """The parts of a raw example that all members read; UserError if they read different ones."""
        first = self.members[0]
        for member in self.members[1:]:
            if member.reads != first.reads:
                raise UserError(
                    f"{first.run.folder} and {member.run.folder} read other parts of a raw example ({first.reads} and "
                    f"{member.reads}), so none is right for both; predict a folder of files"
                )
        return first.reads

    def store(self, dataset: Dataset) -> Any:
        """Computes or opens each member's features of the test files."""
        each, places = [], []
        for member in self.members:
            with naming(member.run):
                its_dataset = dataset if member is self.members[0] else member.open(dataset.root)
                each.append(member.store(its_dataset))
                places.append(_places(self.members[0], dataset, member, its_dataset))
        return Sources(each, places)

    def stored(self, raw: Sequence[Any]) -> Any:
        """Computes each member's stored features of raw examples; UserError naming a member that can't use one."""
        _ = self.reads
        each = []
        for member in self.members:
            with naming(member.run):
                each.append(member.stored(raw))
        return Sources(each, [np.arange(len(raw)) for _ in each])

    def probabilities(self, source: Any, ids: Sequence[Any]) -> np.ndarray:
        """(N, K) float64: the blend of the members' probabilities for the result of ``store`` or ``stored``."""
        if self._ranks and len(ids) == 1:
            raise UserError(
                f"{self.run.folder} is a blend of ranks among the rows that are predicted together, and one row has "
                "none; predict many at once, or choose an ensemble with another blend"
            )
        each = []
        for member, member_source, places in zip(self.members, source.each, source.places, strict=True):
            with naming(member.run):
                names = [ids[row] for row in np.argsort(places)]  # the member's rows may stand in another order
                each.append(normalised(member.probabilities(member_source, names)[places]))
        blended = self._blend.apply(np.stack(each))
        submission.refuse_impossible(blended, ids)
        return blended


def find_member(ensemble: Run, folder: Path, outputs: Path) -> Run:
    """The member in ``folder``; if that is gone, the run of the same identity near the ensemble or in ``outputs``."""
    beside = ensemble.folder.parent.parent  # <outputs>/<dataset>, of which the ensemble is <model>/<identity>
    given = [folder] if inside.within(folder, inside.outputs_of(ensemble.folder), outputs) else []
    name = glob.escape(folder.name) if inside.is_name(folder.name) else "no name"
    for place in (*given, *sorted(beside.glob(f"*/{name}")), *sorted(outputs.glob(f"*/*/{name}"))):
        if (place / "config.yaml").exists():
            return Run.open(place)
    raise UserError(
        f"{ensemble.folder} is a blend of {folder}, which is not there any more, or lies elsewhere, and there is no "
        f"{folder.name} in {beside} or {outputs}; put that run's folder back, or say with outputs= where it is"
    )


def refit(ensemble: Run, runs: list[Run]) -> tuple[Way, Blend]:
    """The ensemble's way, and its final blend, fitted again on its members' out-of-fold predictions.

    ``runs`` are the members in the order of the ensemble's inputs.json. Every way is deterministic, so this is the
    blend that predicted the ensemble's test rows. Raises UserError naming a member whose predictions have changed.
    """
    recipe = ensemble.ensemble
    way, harden = blend.parts(recipe)
    matched = members.read(runs, recipe.folds)
    digests = {run.folder: digest for run, digest in zip(matched.runs, matched.digests, strict=True)}
    for run, noted in zip(runs, ensemble.inputs.members, strict=True):
        if digests[run.folder] != noted.predictions:
            raise UserError(
                f"{run.folder} no longer predicts what was blended in {ensemble.folder}; make the blend again: python "
                "-m bench.ensemble with the same runs"
            )
    return way, fitting.fit(way, harden, matched.p_mnk, matched.target, matched.metric)


@contextmanager
def naming(member: Run) -> Iterator[None]:
    """Adds the member's folder to a UserError that does not name it. A nested ensemble names its own members."""
    try:
        yield
    except UserError as error:
        if str(member.folder) in str(error) or member.inputs.model == ENSEMBLE:
            raise
        raise UserError(f"{member.folder}, a member: {error}") from error


def _places(first: Predictor, ours: Dataset, member: Predictor, theirs: Dataset) -> np.ndarray:
    """(N,) positions of the first member's test rows in another member's test table."""
    expected, ids = ours.table("test")["id"], theirs.table("test")["id"]
    places: np.ndarray = pd.Index(ids).get_indexer(expected)
    if len(expected) != len(ids) or (places < 0).any():
        raise UserError(
            f"{first.run.folder} and {member.run.folder} find other test rows in {theirs.root} ({len(expected)} and "
            f"{len(ids)}), so there is nothing to blend; predict with each alone"
        )
    return places


def opened(
    run: Run,
    folds: Sequence[int] | None,
    tta: Mapping[str, Any] | None,
    device: str,
    store: str | Path,
    workers: int | None,
    outputs: str | Path,
    mean: str = "arithmetic",
    runtime: str = runtimes.TORCH,
) -> Predictor:
    """The run as a ``Predictor``, or as a ``Blended``, which also looks for moved members in ``outputs``."""
    if run.inputs.model != ENSEMBLE:
        return Predictor(run, folds, tta, device, store, workers, mean, runtime)
    # no mean: all of its folds hold the same test predictions
    return Blended(run, folds, tta, device, store, workers, outputs, runtime)


def load(
    run: str | Path,
    folds: Sequence[int] | None = None,
    device: str = "auto",
    outputs: str | Path = "outputs",
    store: str | Path = "data/store",
    extensions: Sequence[str] = (),
    runtime: str = runtimes.TORCH,
) -> Predictor:
    """The run that a folder, an identity, ``latest``, ``best`` or a query names, ready to predict.

    ``extensions`` are the user's own packages that the run was made with; the run itself can't name them. Members of an
    ensemble that were moved are looked for beside it and in ``outputs``. ``runtime`` computes the networks: torch, onnx
    or openvino, the last two on the processor.
    """
    add_extensions(extensions)
    named = named_run(str(run), Path(outputs))
    return opened(named, folds, None, device, store, None, outputs, runtime=runtime)


def named_run(name: str, outputs: Path) -> Run:
    """The one run that ``name`` names; a folder may be of a run that is not finished."""
    if Path(name).is_dir():
        return Run.open(name)
    runs = select(name, outputs, "run").runs
    if len(runs) > 1:
        raise UserError(f"run={name} names {len(runs)} runs; give the folder or identity of one")
    return runs[0]
