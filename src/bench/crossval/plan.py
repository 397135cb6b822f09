"""Before the first step of training: data, features, store, splits, every check, and the run's folder."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import build
from bench.atomic import write_json, write_text
from bench.crossval import checks, pseudo_labels, warm_start
from bench.data.assignment import Splitter, assign
from bench.data.open import open_dataset, open_features, open_store
from bench.datasets.base import Dataset
from bench.runs.environment import write_environment
from bench.runs.facts import public
from bench.runs.frames import write_frame
from bench.runs.run import Run, identity
from bench.spec import UserError
from bench.tell import say

FORMAT = 1  # raise it when the same recipe would train another model: old runs keep their folders
# what says where or how fast, and not what: two runs that differ in these alone are one run
OPTIONAL = ("row_weights", "synthetic", "pseudo", "tta")
"""Groups that may name nothing."""
NOT_DECIDING = ("device", "compile", "outputs", "data", "store", "workers", "folds", "tracking", "recipe", "pretrain")


@dataclass(frozen=True)
class Plan:
    """A run that is ready to train, once ``write`` has put into its folder all that a fold's process needs.

    test_digest is a hash of the test examples and their ids; nothing is written before the caller holds the run.
    """

    run: Run
    dataset: Dataset
    folds: list[int]
    test_digest: str
    config: dict[str, Any]
    inputs: dict[str, Any]
    rows: pd.DataFrame

    def write(self) -> None:
        import yaml

        folder = self.run.folder
        write_json(folder / "inputs.json", self.inputs)
        write_frame(self.rows, folder / "splits.parquet")
        write_frame(self.dataset.table("test").filter(["id", "group"]), folder / "test_ids.parquet")
        write_environment(self.run)
        uri = self.config["tracking"]["uri"]
        shown = {**self.config, "tracking": {**self.config["tracking"], "uri": uri and public(uri)}}
        write_text(folder / "config.yaml", yaml.safe_dump(shown, sort_keys=False, allow_unicode=True))


def make_plan(config: dict[str, Any], names: dict[str, str]) -> Plan:
    """Everything before the first step of training: data, features, splits, checks, and the run's folder."""
    checks.values(config)
    dataset, simulated = open_dataset(config)
    features_name, features = open_features(config, dataset, names)
    _settle(config)
    spec = features.spec(dataset)
    checks.parts(config, spec, features)
    for part in ("train", "test"):  # what tables and listings tell comes before hours of computing
        dataset.table(part)
        dataset.also_read(part, **features.reads)
    table = dataset.table("train")
    split, strict = _splitter(config)
    early = assign(table, np.zeros((len(table), 16), np.uint8), split, strict)  # contents come later
    wanted = _wanted(config, early.n_splits)
    stores = {part: open_store(config, dataset, features, part) for part in ("train", "test")}
    checks.stores(config, stores)
    assignment = assign(table, stores["train"].digests(), split, strict)
    notes = list(assignment.notes)
    if level := int(stores["train"].flat().sum()):
        notes.append(f"{level} training examples are one number all over; they are not tied as copies of each other")
    for note in notes:
        say(f"split     {note}")
    rows = assignment.onto(table)
    checks.row_weights(config, rows)
    if config["init_from"]:
        warm_start.refuse_leak("init_from", config["init_from"], config["dataset"]["_target_"], simulated, rows, wanted)
    teachers = pseudo_labels.open_teachers(config, dataset, simulated, rows, wanted)
    content = {"spec": asdict(spec), "data": stores["train"].digest, "rows": _digest(rows)}
    deciding: dict[str, Any] = {"format": FORMAT, "config": _deciding(config), **content}
    run = Run((Path(config["outputs"]) / names["dataset"] / names["model"] / identity(deciding)).resolve())
    deciding["config"].pop("seed")
    test_ids = dataset.table("test")["id"].astype(str).tolist()
    test = hashlib.sha256(f"{stores['test'].digest} {test_ids}".encode()).hexdigest()[:32]
    metric = dataset.metric
    inputs = {
        "names": {**names, "features": features_name, **_composed(config)},
        "dataset": names["dataset"],
        "model": names["model"],
        "metric": metric.name,
        "direction": metric.direction,
        "simulated": simulated,
        "n_splits": assignment.n_splits,
        "spec": asdict(spec),
        "window": features.window(dataset) if stores["train"].open else None,
        "stores": {part: str(s.folder.resolve()) for part, s in stores.items()},
        "teachers": teachers,
        "test": test,
        "facts": dataset.facts(),
        "notes": notes,  # what a person should know of the split
        "group": identity(deciding),  # of the runs that differ in their seed alone
    }
    return Plan(run, dataset, wanted, test, config, inputs, rows)


def _settle(config: dict[str, Any]) -> None:
    """Replaces what stands for something else: the recipe's schedule, whole paths of weights and runs."""
    for key in ("scheduler", *OPTIONAL):
        node = config[key]
        if node.get("_target_") in ("default", "none") and len(node) > 1:
            extra = ", ".join(f"{key}.{k}" for k in node if k != "_target_")
            raise UserError(f"{extra} would do nothing: name the option it belongs to, {key}=<name>, as well")
    if config["scheduler"].get("_target_") == "default":
        chosen = (config.get("recipe") or {}).get("scheduler")
        config["scheduler"] = chosen or {"_target_": "bench.training.schedules.constant"}
    if weights := config["model"].get("weights"):
        config["model"] = config["model"] | {"weights": str(Path(weights).resolve())}
    if source := config["init_from"]:
        config["init_from"] = str(Path(source).resolve())
    if runs := config["pseudo"].get("runs"):
        config["pseudo"] = config["pseudo"] | {"runs": [str(Path(run).resolve()) for run in runs]}


def _splitter(config: dict[str, Any]) -> tuple[Splitter, bool]:
    node = {k: v for k, v in config["split"].items() if k != "strict"}
    return build.partial(node, "split", 1), bool(config["split"].get("strict", True))


def _wanted(config: dict[str, Any], n_splits: int) -> list[int]:
    """The folds to train."""
    only = config["folds"]["only"]
    if only is not None and (not only or not set(only) <= set(range(n_splits))):
        raise UserError(f"folds.only={only} must name folds from 0 to {n_splits - 1}")
    return sorted(set(only)) if only is not None else list(range(n_splits))


def _deciding(config: dict[str, Any]) -> dict[str, Any]:
    """What decides the result: two configs that agree here train one run."""
    deciding = {k: v for k, v in config.items() if k not in NOT_DECIDING}
    deciding["dataset"] = {k: v for k, v in config["dataset"].items() if k not in ("root", "simulator")}
    deciding["split"] = {k: v for k, v in config["split"].items() if k != "strict"}
    deciding["augment"] = list(config["augment"].items())  # their order decides, too
    if weights := config["model"].get("weights"):
        deciding["model"] = config["model"] | {"weights": warm_start.digest("model.weights", weights)}
    if source := config["init_from"]:
        deciding["init_from"] = warm_start.digest("init_from", source)
    if runs := config["pseudo"].get("runs"):
        deciding["pseudo"] = config["pseudo"] | {"runs": [warm_start.digest("pseudo.runs", run) for run in runs]}
    return deciding


def _composed(config: dict[str, Any]) -> dict[str, str]:
    """Names of what is composed by list or may be absent, for the tables."""
    return {"augment": ",".join(config["augment"]) or "none"}


def _digest(rows: pd.DataFrame) -> str:
    """Hash of ids, targets and folds (and weights and groups where there are any)."""
    kept = rows.assign(id=rows["id"].astype(str))
    return hashlib.sha256(pd.util.hash_pandas_object(kept, index=False).to_numpy().tobytes()).hexdigest()
