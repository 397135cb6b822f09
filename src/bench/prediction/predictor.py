"""Prediction with a finished run, from a competition's test files or raw examples to probabilities.

It needs the run's folder and this package alone: the run holds the facts about its training files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.crossval import checks
from bench.data.batches import Batches
from bench.data.filling import is_finite
from bench.data.joined import InMemory
from bench.data.open import open_store
from bench.data.ragged import Ragged
from bench.data.source import Source
from bench.datasets.base import Dataset
from bench.ensembling.ways import geometric
from bench.features.base import Features
from bench.prediction import runtimes
from bench.runs import submission
from bench.runs.frames import prediction_frame
from bench.runs.recipe import Recipe
from bench.runs.run import Run
from bench.runs.selection import ENSEMBLE
from bench.spec import UserError
from bench.training import inference, parts
from bench.training.loading import finished_folds, trained_fold
from bench.training.seeds import VIEWS, epoch_seed


class Predictor:
    """A finished run that predicts: the mean probability of ``folds`` (None: all), computed as for its test rows.

    ``tta`` is a node of conf/tta, None the run's own. ``workers`` processes compute features of files into ``store``.
    ``mean`` of the folds is arithmetic or geometric. A fold's weights are read at first use and kept in memory. The
    networks' forward passes are computed by ``runtime``, one of ``runtimes.RUNTIMES``; features, views and means are
    the same with each. An ensemble is a ``Blended``, with the same interface; ``opened`` returns the right one.
    """

    members: tuple[Predictor, ...] = ()
    """The members of an ensemble; a trained run has none."""

    def __init__(
        self,
        run: Run,
        folds: Sequence[int] | None = None,
        tta: Mapping[str, Any] | None = None,
        device: str = "auto",
        store: str | Path = "data/store",
        workers: int | None = None,
        mean: str = "arithmetic",
        runtime: str = runtimes.TORCH,
    ) -> None:
        if run.inputs.model == ENSEMBLE:
            raise UserError(f"{run.folder} is an ensemble, which has no weights of its own; export its members")
        self.recipe: Recipe = run.recipe
        self.run, self.folds, self.runtime = run, finished_folds(run, folds), runtime
        self.device = runtimes.device(runtime, device)
        self.tta: Any = dict(tta if tta is not None else self.recipe.tta)
        self.mean = mean
        self._store, self._workers = store, workers
        self._models: dict[int, tuple[nn.Module, nn.Module]] = {}
        self._networks: dict[int, tuple[nn.Module, nn.Module]] = {}
        self.features: Features = parts.features(self.recipe.features)
        self._views = parts.views(self.tta, self.features, parts.augment(self.recipe.augment, self.features))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the K columns that ``predict`` returns."""
        return self.run.spec.classes

    def predict(self, x: str | Path | np.ndarray | Mapping[str, np.ndarray] | Sequence[Any]) -> Any:
        """The probabilities of raw examples, given in one of three ways.

        - A folder (text or Path) of the competition's files; the test part is enough → a pandas frame of N rows,
          ``id`` and ``pred_<class>``, in the order of the competition's test table.
        - A list of N raw examples, each what ``Dataset.read`` returns of a file → (N, K) float64. By data set:
          heartbeat (1, samples); seti (6, time, frequency) float16; freesound (samples,) at the features' sample rate;
          hms (10000, electrodes) µV at 200 Hz in the order of the features' ``reads``, or, for features that also
          read the spectrogram, a dict of ``eeg`` and ``spectrogram``.
        - One raw example, an array or a dict, as it stands (no batch axis) → (1, K).

        Each row sums to 1. Raises UserError naming the file, or the example's place, that can't be used. The members
        of an ensemble must all take the same raw example; from a folder each member reads its own inputs.
        """
        if isinstance(x, str | Path):
            dataset = self.open(Path(x))
            table = dataset.table("test")
            return prediction_frame(
                table["id"], self.probabilities(self.store(dataset), table["id"].tolist()), self.classes
            )
        raw = [x] if isinstance(x, np.ndarray | Mapping) else list(x)
        return self.probabilities(self.stored(raw), range(len(raw))) if raw else np.zeros((0, len(self.classes)))

    def open(self, folder: Path) -> Dataset:
        """The run's data set on a folder of test files; UserError if the run can't predict these files."""
        dataset = parts.dataset_to_predict(self.recipe.dataset, self.facts, folder)
        if self.features.spec(dataset) != self.run.spec:
            raise UserError(
                f"{self.run.folder}/inputs.json does not agree with itself on classes or sizes ({self.run.spec} and "
                f"{self.features.spec(dataset)}); run the same training command again"
            )
        if not len(dataset.table("test")):
            raise UserError(f"input={folder} has no test rows of {dataset.name}; give a folder with its test part")
        dataset.also_read("test", **self.features.reads)  # missing files are named before hours of work
        return dataset

    @property
    def reads(self) -> dict[str, Any]:
        """The parts of a raw example that ``Dataset.read`` must read."""
        return self.features.reads

    def store(self, dataset: Dataset) -> Any:
        """Computes the features of the test files, or opens those computed before."""
        return self._fitting(open_store(dataset, self.features, "test", self._store, self._workers))

    def probabilities(self, source: Any, ids: Sequence[Any]) -> np.ndarray:
        """(N, K) float64 probabilities for the result of ``store`` or ``stored``; errors name a row by ``ids``."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # the caller's random state stays as it is
            by_fold = [self._by_one_fold(number, source) for number in self.folds]
        for probability in by_fold:
            submission.refuse_impossible(probability, ids)
        return geometric(np.stack(by_fold)) if self.mean == "geometric" else np.mean(by_fold, axis=0)

    def models(self, number: int) -> tuple[nn.Module, nn.Module]:
        """A fold's model and device half, on the device."""
        if number not in self._models:
            self._models[number] = trained_fold(self.run, number, self.device)
        return self._models[number]

    def networks(self, number: int) -> tuple[nn.Module, nn.Module]:
        """A fold's model, computed by the runtime, and its device half, computed by PyTorch."""
        if self.runtime == runtimes.TORCH:
            return self.models(number)
        if number not in self._networks:
            model, device_half = trained_fold(self.run, number, self.device)
            self._networks[number] = runtimes.Network(model, self.run.spec, self.runtime), device_half
        return self._networks[number]

    def _by_one_fold(self, number: int, source: Source) -> np.ndarray:
        train, none = self.recipe.train, np.zeros((len(source), len(self.classes)), np.float32)
        rows = Batches(source, np.arange(len(source)), none, None, self.device, self.run.inputs.window)
        how = (*self.networks(number), rows, train.eval_batch_size, train.precision)
        if not self._views:
            return inference.probabilities(inference.logits(*how))
        return inference.averaged(*how, self._views, lambda view: epoch_seed(self.recipe.seed, number, VIEWS, view))

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts about the training files that features need from a data set."""
        return self.run.inputs.facts

    def stored(self, raw: Sequence[Any]) -> Any:
        """Computes the stored features of raw examples, in memory; UserError naming the first invalid example."""
        shape = self.features.stored_shape(SimpleNamespace(**self.facts))
        promised = parts.dataset_class(self.run.recipe.dataset).raw(dict(self.facts), self.features.reads)
        arrays = []
        for place, example in enumerate(raw):
            try:
                _refuse_other_shapes(example, promised)
                with np.errstate(over="ignore", invalid="ignore"):  # found below
                    x = np.asarray(self.features.store(example))
                    stored = np.ascontiguousarray(x, self.features.stored_dtype)
                if len(x.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, x.shape, strict=True)):
                    raise ValueError(f"it comes out in the shape {x.shape}, expected {shape}")
                if not is_finite(stored if stored.dtype.kind == "f" else x):
                    raise ValueError("its features are not finite")
            except (ValueError, IndexError, TypeError, AttributeError, KeyError) as error:
                raise UserError(
                    f"raw example {place} can't be used ({error}); give what {self.run.inputs.dataset}'s "
                    "Dataset.read returns, in a list where there are several"
                ) from error
            arrays.append(stored)
        return self._fitting(Ragged(arrays) if shape[-1:] == (None,) else InMemory(np.stack(arrays)))

    def _fitting(self, source: Any) -> Any:
        """Returns the source; UserError if ``tta`` does not suit the lengths of its examples."""
        checks.lengths(source.open, self.tta)
        return source


def _refuse_other_shapes(example: Any, promised: dict[str, tuple[tuple[int, ...], str]] | None) -> None:
    """Raises ValueError if a raw example, or a part of it, has another shape than the data set reads."""
    for name, (shape, _) in (promised or {}).items():
        x = example[name] if name else example
        if np.shape(x) != shape:
            raise ValueError(f"{name or 'it'} has the shape {np.shape(x)}, expected {shape}")
