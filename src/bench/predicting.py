"""From a finished run and a competition's test files to probabilities, and to a submission that keeps its rules.

A run's folder and this package are enough: what prediction has to know of the training files is in the run.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from bench import build, checks
from bench.atomic import read_json, write_json
from bench.crossval import Outcome
from bench.data.batches import Batches, Source
from bench.data.filling import is_finite
from bench.data.joined import InMemory
from bench.data.ragged import Ragged
from bench.datasets import root as roots
from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.fold import VIEWS
from bench.loading import device_named, finished_folds, trained_fold
from bench.opening import open_store
from bench.results import submission
from bench.results.blending import geometric
from bench.results.run import Run, identity
from bench.results.selection import ENSEMBLE, select
from bench.spec import UserError
from bench.training import inference
from bench.training.collect import prediction_frame, write_frame
from bench.training.loop import epoch_seed
from bench.training.progress import say


class Predictor:
    """A finished run that predicts: the mean probability of ``folds`` (None: all), each as it predicted its test rows.

    ``tta`` is a node of conf/tta, None the run's own. Computed features of files go below ``store``, by ``workers``
    processes. A fold's weights are read when they are first needed, and held. ``mean`` of the folds: arithmetic or
    geometric. An ensemble is a ``Blended``, with the same to ask of it: ``opened`` chooses.
    """

    members: tuple[Predictor, ...] = ()
    """Those whose predictions it blends: a trained run has none."""

    def __init__(
        self,
        run: Run,
        folds: Sequence[int] | None = None,
        tta: Mapping[str, Any] | None = None,
        device: str = "auto",
        store: str | Path = "data/store",
        workers: int | None = None,
        mean: str = "arithmetic",
    ) -> None:
        if run.inputs["model"] == ENSEMBLE:
            raise UserError(f"{run.folder} is an ensemble, which has no weights of its own; export its members")
        self.run, self.folds, self.device = run, finished_folds(run, folds), device_named(device)
        self.tta: Any = dict(tta) if tta is not None else run.config["tta"]
        self.mean = mean
        self._where = {"store": str(store), "workers": workers}
        self._models: dict[int, tuple[nn.Module, nn.Module]] = {}
        self.features: Features = build.build(run.config["features"], "features")
        augment = build.each(run.config["augment"], "augment", features=self.features)
        self._views = []
        if self.tta["_target_"] != "none":
            self._views = build.build(self.tta, "tta").views(self.features, augment)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the K columns that ``predict`` returns."""
        return self.run.spec.classes

    def predict(self, x: str | Path | np.ndarray | Mapping[str, np.ndarray] | Sequence[Any]) -> Any:
        """The probabilities of raw examples, which are given in one of three ways.

        - A folder (text or Path) of the competition's files, of which the test part is enough → a pandas frame of N
          rows, ``id`` and ``pred_<class>``, in the order of the competition's test table.
        - A list of N raw examples, each what ``Dataset.read`` returns of a file → (N, K) float64. By data set:
          heartbeat (1, samples); seti (6, time, frequency) float16; freesound (samples,) at the features' sample rate;
          hms (10000, electrodes) µV at 200 Hz in the order of the features' ``reads``, or, for features that also
          read the spectrogram, a dict of ``eeg`` and ``spectrogram``.
        - One raw example, an array or a dict, as it stands (no batch axis) → (1, K).

        Each row sums to 1. Raises UserError naming the file, or the example's place, that can't be used. The members
        of an ensemble must all take the same raw example; of a folder each reads what is its own.
        """
        if isinstance(x, str | Path):
            dataset = self.open(Path(x))
            table = dataset.table("test")
            return prediction_frame(table["id"], self.of(self.store(dataset), table["id"].tolist()), self.classes)
        raw = [x] if isinstance(x, np.ndarray | Mapping) else list(x)
        return self.of(self.stored(raw), range(len(raw))) if raw else np.zeros((0, len(self.classes)))

    def open(self, folder: Path) -> Dataset:
        """The data set of the run on a folder of test files; UserError where the run can't predict what is there."""
        node = {k: v for k, v in self.run.config["dataset"].items() if k not in ("root", "simulator")}
        cls: Any = build.locate(node, "dataset")
        options = build.check(cls, node, "dataset", 0, {"root": str(folder)})
        dataset: Dataset = cls.remembered(self.facts, folder, **options)
        if self.features.spec(dataset) != self.run.spec:
            raise UserError(
                f"{self.run.folder}/inputs.json does not agree with itself on classes or sizes ({self.run.spec} and "
                f"{self.features.spec(dataset)}); run the same training command again"
            )
        if not len(dataset.table("test")):
            raise UserError(f"input={folder} has no test rows of {dataset.name}; give a folder with its test part")
        dataset.also_read("test", **self.features.reads)  # files that are not there are named before hours of work
        return dataset

    @property
    def reads(self) -> dict[str, Any]:
        """What ``Dataset.read`` is to read of a raw example."""
        return self.features.reads

    def store(self, dataset: Dataset) -> Any:
        """The computed features of the folder's test part; they are kept, and found again."""
        return self._fitting(open_store(self._where, dataset, self.features, "test"))

    def of(self, source: Any, ids: Sequence[Any]) -> np.ndarray:
        """(N, K) float64 probabilities of what ``store`` or ``stored`` gave; ``ids`` name a row that has none."""
        own = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(own):  # models are built, and views drawn, without touching the caller's chance
            found = [self._of_fold(number, source) for number in self.folds]
        for probability in found:
            submission.refuse_impossible(probability, ids)
        return geometric(np.stack(found)) if self.mean == "geometric" else np.mean(found, axis=0)

    def models(self, number: int) -> tuple[nn.Module, nn.Module]:
        """A fold's model and device half, on the device."""
        if number not in self._models:
            self._models[number] = trained_fold(self.run, number, self.device)
        return self._models[number]

    def _of_fold(self, number: int, source: Source) -> np.ndarray:
        train, none = self.run.config["train"], np.zeros((len(source), len(self.classes)), np.float32)
        rows = Batches(source, np.arange(len(source)), none, None, self.device, self.run.inputs["window"])
        how = (*self.models(number), rows, train["eval_batch_size"], train["precision"])
        if not self._views:
            return inference.probabilities(inference.logits(*how))
        return inference.averaged(
            *how, self._views, lambda view: epoch_seed(self.run.config["seed"], number, VIEWS, view)
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What the run remembers of its training files, which features ask a data set."""
        facts: dict[str, Any] = self.run.inputs.get("facts", {})
        return facts

    def stored(self, raw: Sequence[Any]) -> Any:
        """Raw examples' stored half, in memory; UserError naming the first that can't be used."""
        shape = self.features.stored_shape(SimpleNamespace(**self.facts))
        arrays = []
        for place, example in enumerate(raw):
            try:
                with np.errstate(over="ignore", invalid="ignore"):  # found below
                    x = np.asarray(self.features.store(example))
                    stored = np.ascontiguousarray(x, self.features.stored_dtype)
                if len(x.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, x.shape, strict=True)):
                    raise ValueError(f"it comes out in the shape {x.shape}, expected {shape}")
                if not is_finite(stored if stored.dtype.kind == "f" else x):
                    raise ValueError("its features are not finite")
            except (ValueError, IndexError, TypeError, AttributeError, KeyError) as error:
                raise UserError(
                    f"raw example {place} can't be used ({error}); give what {self.run.inputs['dataset']}'s "
                    "Dataset.read returns, in a list where there are several"
                ) from error
            arrays.append(stored)
        return self._fitting(Ragged(arrays) if shape[-1:] == (None,) else InMemory(np.stack(arrays)))

    def _fitting(self, source: Any) -> Any:
        """The source, unless its examples can't be looked at as ``tta`` says."""
        checks.stores({"synthetic": {"_target_": "none"}, "tta": self.tta}, {"train": source})
        return source


def opened(
    run: Run,
    folds: Sequence[int] | None,
    tta: Mapping[str, Any] | None,
    device: str,
    store: str | Path,
    workers: int | None,
    outputs: str | Path,
    mean: str = "arithmetic",
) -> Predictor:
    """The run, ready to predict; below ``outputs`` lie members of an ensemble that are not where they were."""
    if run.inputs["model"] != ENSEMBLE:
        return Predictor(run, folds, tta, device, store, workers, mean)
    from bench.blended import Blended  # which opens its members by this

    return Blended(run, folds, tta, device, store, workers, outputs)  # no mean: its folds predict one and the same


def load(
    run: str | Path,
    folds: Sequence[int] | None = None,
    device: str = "auto",
    outputs: str | Path = "outputs",
    store: str | Path = "data/store",
) -> Predictor:
    """The run that a folder, an identity, ``latest`` or a query names, ready to predict; see ``Predictor.predict``.

    An ensemble's members that are not where they were are looked for beside it and below ``outputs``.
    """
    return opened(chosen(str(run), Path(outputs)), folds, None, device, store, None, outputs)


def predict(config: dict[str, Any]) -> Outcome:
    """What ``python -m bench.predict`` does with its config; the last line on standard output names the folder."""
    if not config["run"]:
        raise UserError("run= names no run; give a finished run's folder or identity, latest, or a query")
    run = chosen(config["run"], Path(config["outputs"]))
    if config["register"] is not None:
        from bench.registering import register

        register(run, config)
        return Outcome(run, run.scores(), [], None)
    if config["export"]:
        from bench.export import export

        export(run, config)
        return Outcome(run, run.scores(), [], None)
    how = (config[key] for key in ("folds", "tta", "device", "store", "workers", "outputs"))
    predictor = opened(run, *how)
    say(f"run       {run.folder} (folds {', '.join(map(str, predictor.folds))} on {predictor.device})")
    for member in predictor.members:
        say(f"member    {member.run.folder}")
    source = Path(config["input"]) if config["input"] else own_files(run, Path(config["data"]))
    dataset = predictor.open(source)
    if config["excel"] and not dataset.excel:
        raise UserError(f"excel=true: {dataset.name} takes a CSV alone; leave it out")
    simulated = run.inputs["simulated"] or roots.is_simulated(source)
    ids = dataset.table("test")["id"].tolist()
    say(f"input     {source}: {len(ids)} rows" + (" (SIMULATED)" if simulated else ""))
    uniform = np.full((len(ids), len(dataset.classes)), 1 / len(dataset.classes))
    with tempfile.TemporaryDirectory() as scratch:  # its ids don't depend on hours of computing
        submission.write(dataset, Path(scratch) / "submission.csv", ids, uniform)
    store = predictor.store(dataset)
    said = {
        "run": run.identity,
        "test": hashlib.sha256(f"{store.digest} {[str(i) for i in ids]}".encode()).hexdigest()[:32],
        "folds": predictor.folds,
        "tta": predictor.tta,
    }
    folder = Path(config["output"]) if config["output"] else run.folder / "predictions" / identity(said)
    folder = folder.resolve()
    if _there(folder, said):
        say("predict   they are there already")
    else:
        probability = predictor.of(store, ids)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as building:
            made = Path(building) / "made"
            made.mkdir()
            write_frame(
                prediction_frame(dataset.table("test")["id"], probability, dataset.classes), made / "test.parquet"
            )
            submission.write(dataset, made / "submission.csv", ids, probability)
            more = {"input": str(source.resolve()), "rows": len(ids), "simulated": simulated}
            write_json(made / "inputs.json", said | more | {"device": str(predictor.device)})
            os.replace(made, folder)
    if config["excel"]:
        submission.write_excel(folder / "submission.csv", folder / "submission.xlsx")
    print(f"predictions {folder}", flush=True)
    return Outcome(run, run.scores(), [], None)


def chosen(wanted: str, outputs: Path) -> Run:
    """The one run that ``wanted`` names; a folder may be of a run that is not finished."""
    if Path(wanted).is_dir():
        return Run.open(wanted)
    found = select(wanted, outputs, "run").runs
    if len(found) > 1:
        raise UserError(f"run={wanted} names {len(found)} runs; give the folder or identity of one")
    return found[0]


def own_files(run: Run, data: Path) -> Path:
    """The folder of the files that the run was trained on, by training's own rule; simulated ones are made again."""
    node = run.config["dataset"]
    name = build.locate({k: v for k, v in node.items() if k != "simulator"}, "dataset").name  # type: ignore[attr-defined]
    usual = Path(node["root"] or data / name)
    if not run.inputs["simulated"] or node["root"]:
        if not usual.is_dir():
            raise UserError(f"{usual}, on which the run was trained, is not here; give a folder of test files: input=…")
        return usual
    if usual.is_dir():
        raise UserError(f"the run was trained on simulated files, and {usual} is real; say which to predict: input=…")
    settings = {k: v for k, v in node["simulator"].items() if k != "_target_"}
    simulate = build.partial(node["simulator"], "dataset.simulator", 1)
    return roots.find(name, None, data, settings, lambda folder: simulate(folder), say)


def _there(folder: Path, said: dict[str, Any]) -> bool:
    """Whether these very predictions are in the folder; UserError where something else is."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not folder.is_dir() or not (folder / "inputs.json").exists():
        raise UserError(f"output={folder} holds other files, and nothing is overwritten; name another folder")
    found = read_json(folder / "inputs.json")
    if {key: found.get(key) for key in said} != said:
        raise UserError(
            f"{folder} holds the predictions of other folds, files, views or another run, and nothing is overwritten; "
            "name another output="
        )
    return all((folder / name).exists() for name in ("test.parquet", "submission.csv"))
