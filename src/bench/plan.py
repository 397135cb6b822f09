"""Before the first step of training: data, features, store, splits, every check, and the run's folder."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import build, checks
from bench.atomic import write_json, write_text
from bench.data import splits, store
from bench.datasets import root
from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.results.mirrored import public
from bench.results.run import Run, identity
from bench.spec import UserError
from bench.training import initial
from bench.training.collect import write_frame
from bench.training.progress import say

FORMAT = 1  # raise it when the same recipe would train another model: old runs keep their folders
# what says where or how fast, and not what: two runs that differ in these alone are one run
NOT_DECIDING = ("device", "compile", "outputs", "data", "store", "workers", "folds", "tracking", "recipe")


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
        write_frame(self.dataset.table("test")[["id"]], folder / "test_ids.parquet")
        _write_environment(self.run)
        uri = self.config["tracking"]["uri"]
        shown = {**self.config, "tracking": {**self.config["tracking"], "uri": uri and public(uri)}}
        write_text(folder / "config.yaml", yaml.safe_dump(shown, sort_keys=False, allow_unicode=True))


def make_plan(config: dict[str, Any], names: dict[str, str]) -> Plan:
    """Everything before the first step of training: data, features, splits, checks, and the run's folder."""
    checks.values(config)
    original = dict(config)
    metric_owner = build.locate(config["dataset"], "dataset")
    model_class = build.locate(config["model"], "model")
    dataset, simulated = open_dataset(config)
    features_name, config["features"] = _features_node(config, metric_owner, model_class, names)
    features: Features = build.build(config["features"], "features")
    if features.datasets and dataset.name not in features.datasets:
        raise UserError(
            f"features={features_name} reads {' or '.join(features.datasets)}, not {dataset.name}; "
            f"leave features out, or choose one that python -m bench.catalog dataset={names.get('dataset')} lists"
        )
    if features.kind != model_class.takes:  # type: ignore[attr-defined]
        fitting = getattr(metric_owner, "features", {}).get(model_class.takes, "none yet")  # type: ignore[attr-defined]
        raise UserError(
            f"model={names.get('model')} takes {_a(model_class.takes)} and features={features_name} gives "  # type: ignore[attr-defined]
            f"{_a(features.kind)}; choose features={fitting} or another model"
        )
    for key in ("features", "scheduler", "row_weights"):
        node = original[key]
        if node.get("_target_") in ("default", "none") and len(node) > 1:
            extra = ", ".join(f"{key}.{k}" for k in node if k != "_target_")
            raise UserError(f"{extra} would do nothing: name the option it belongs to, {key}=<name>, as well")
    if config["scheduler"].get("_target_") == "default":
        chosen = (config.get("recipe") or {}).get("scheduler")
        config["scheduler"] = chosen or {"_target_": "bench.training.schedules.constant"}
    if weights := config["model"].get("weights"):
        config["model"] = config["model"] | {"weights": str(Path(weights).resolve())}
    spec = features.spec(dataset)
    checks.parts(config, spec)
    for part in ("train", "test"):  # what tables and listings tell comes before hours of computing
        dataset.table(part)
        dataset.also_read(part, **features.reads)
    if config["row_weights"].get("_target_") != "none":
        build.partial(config["row_weights"], "row_weights", 3)(dataset.table("train"), 0, config["train"]["epochs"])
    table = dataset.table("train")
    splitter = {k: v for k, v in config["split"].items() if k != "strict"}
    split, strict = build.partial(splitter, "split", 1), bool(config["split"].get("strict", True))
    only = config["folds"]["only"]
    n_splits = splits.assign(table, np.zeros((len(table), 16), np.uint8), split, strict).n_splits  # contents come later
    if only is not None and (not only or not set(only) <= set(range(n_splits))):
        raise UserError(f"folds.only={only} must name folds from 0 to {n_splits - 1}")
    stores = {part: _open_store(config, dataset, features, part) for part in ("train", "test")}
    assignment = splits.assign(table, stores["train"].digests(), split, strict)
    for note in assignment.notes:
        say(f"split     {note}")
    if level := int(stores["train"].flat().sum()):
        say(f"split     {level} training examples are one number all over; they are not tied as copies of each other")
    rows = table.assign(fold=assignment.fold)
    checks.row_weights(config, rows)
    wanted = sorted(set(only)) if only is not None else list(range(assignment.n_splits))
    deciding = {k: v for k, v in config.items() if k not in NOT_DECIDING}
    deciding["dataset"] = {k: v for k, v in config["dataset"].items() if k not in ("root", "simulator")}
    deciding["split"] = splitter
    deciding["augment"] = list(config["augment"].items())  # their order decides, too
    if weights := config["model"].get("weights"):
        initial.refuse_leak(weights, config["dataset"]["_target_"], simulated, rows, wanted)
        deciding["model"] = config["model"] | {"weights": initial.digest(weights)}
    content = {"spec": asdict(spec), "data": stores["train"].digest, "rows": _digest(rows)}
    name = identity({"format": FORMAT, "config": deciding, **content})
    run = Run((Path(config["outputs"]) / names["dataset"] / names["model"] / name).resolve())
    test_ids = dataset.table("test")["id"].astype(str).tolist()
    test = hashlib.sha256(f"{stores['test'].digest} {test_ids}".encode()).hexdigest()[:32]
    metric = dataset.metric
    inputs = {
        "names": {**names, "features": features_name, "augment": ",".join(config["augment"]) or "none"},
        "dataset": names["dataset"],
        "model": names["model"],
        "metric": metric.name,
        "direction": metric.direction,
        "simulated": simulated,
        "n_splits": assignment.n_splits,
        "spec": asdict(spec),
        "window": features.window(dataset) if stores["train"].open else None,
        "stores": {part: str(s.folder.resolve()) for part, s in stores.items()},
        "test": test,
    }
    return Plan(run, dataset, wanted, test, config, inputs, rows)


def open_dataset(config: dict[str, Any]) -> tuple[Dataset, bool]:
    """The data set on its root, and whether its files are simulated."""
    node = {k: v for k, v in config["dataset"].items() if k != "simulator"}
    simulator = config["dataset"].get("simulator") or {}
    name = build.locate(node, "dataset").name  # type: ignore[attr-defined]
    settings = {k: v for k, v in simulator.items() if k != "_target_"}
    folder = root.find(
        name,
        node["root"],
        Path(config["data"]),
        settings,
        lambda folder: build.partial(simulator, "dataset.simulator", 1)(folder),
        say,
    )
    dataset: Dataset = build.build({**node, "root": str(folder)}, "dataset")
    simulated = root.is_simulated(folder)
    if not simulated or node["root"] is not None:
        say(f"data      {folder}" + (" (SIMULATED)" if simulated else ""))
    return dataset, simulated


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"


def _features_node(
    config: dict[str, Any], dataset_class: Any, model_class: Any, names: dict[str, str]
) -> tuple[str, dict[str, Any]]:
    """The chosen features, or the recipe's for this pair, or the dataset's own for what the model takes."""
    node = config["features"]
    if node.get("_target_") != "default":
        return names.get("features", "custom"), node
    import yaml

    from bench.cli import conf

    name = (config.get("recipe") or {}).get("features") or dataset_class.features.get(model_class.takes)
    if name is None:
        kinds = " or ".join(map(_a, dataset_class.features))
        raise UserError(
            f"dataset={names.get('dataset')} has no features for a model that takes {_a(model_class.takes)}; "
            f"choose a model that takes {kinds}, or name features="
        )
    return name, yaml.safe_load((conf() / "features" / f"{name}.yaml").read_text(encoding="utf-8"))


def _open_store(config: dict[str, Any], dataset: Dataset, features: Features, part: Any) -> store.Store:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    workers = config["workers"] or os.cpu_count() or 1
    columns = (TextColumn(f"store     {part}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=None)
        opened = store.open_or_build(
            dataset,
            features,
            part,
            Path(config["store"]),
            workers,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    if len(opened):
        say(f"store     {len(opened)} {part} examples ({opened.nbytes / 1e6:.0f} MB) in {opened.folder}")
    return opened


def _digest(rows: pd.DataFrame) -> str:
    """Hash of ids, targets and folds (and weights and groups where there are any)."""
    kept = rows.assign(id=rows["id"].astype(str))
    return hashlib.sha256(pd.util.hash_pandas_object(kept, index=False).to_numpy().tobytes()).hexdigest()


def _write_environment(run: Run) -> None:
    """Versions, machine, code and command of this call, for whoever reads the run later."""
    import platform
    import subprocess
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    packages = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "pyarrow", "mlflow", "hydra-core", "timm")
    changed = git("status", "--porcelain")
    write_json(
        run.folder / "environment.json",
        {
            "command": public(shlex.join(sys.orig_argv)),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "packages": {name: of(name) for name in packages},
            "git": {"commit": git("rev-parse", "HEAD"), "changed": bool(changed) if changed is not None else None},
        },
    )
