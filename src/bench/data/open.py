"""From a config's nodes to what they name, opened: the data set on its root, the features for a model, their stores."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from bench import build
from bench.data import store
from bench.datasets import root
from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.spec import UserError
from bench.tell import say


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


def features_node(
    config: dict[str, Any], dataset_class: Any, model_class: Any, names: dict[str, str]
) -> tuple[str, dict[str, Any]]:
    """The chosen features, or the recipe's for this pair, or the dataset's own for what the model takes."""
    node = config["features"]
    if node.get("_target_") != "default":
        return names.get("features", "custom"), node
    import yaml

    from bench.paths import conf

    name = (config.get("recipe") or {}).get("features") or dataset_class.features.get(model_class.takes)
    if name is None:
        kinds = " or ".join(map(_a, dataset_class.features))
        raise UserError(
            f"dataset={names.get('dataset')} has no features for a model that takes {_a(model_class.takes)}; "
            f"choose a model that takes {kinds}, or name features="
        )
    return name, yaml.safe_load((conf() / "features" / f"{name}.yaml").read_text(encoding="utf-8"))


def open_features(config: dict[str, Any], dataset: Dataset, names: dict[str, str]) -> tuple[str, Features]:
    """The features' name and object; ``config["features"]`` becomes their node. They fit the data set and the model."""
    model_class: Any = build.locate(config["model"], "model")
    name, config["features"] = features_node(config, type(dataset), model_class, names)
    features: Features = build.build(config["features"], "features")
    if features.datasets and dataset.name not in features.datasets:
        raise UserError(
            f"features={name} reads {' or '.join(features.datasets)}, not {dataset.name}; "
            f"leave features out, or choose one that python -m bench.catalog dataset={names.get('dataset')} lists"
        )
    if features.kind != model_class.takes:
        fitting = dataset.fitting(model_class.takes) or "none yet"
        raise UserError(
            f"model={names.get('model')} takes {_a(model_class.takes)} and features={name} gives "
            f"{_a(features.kind)}; choose features={fitting} or another model"
        )
    return name, features


def open_store(config: dict[str, Any], dataset: Dataset, features: Features, part: Any) -> store.Store:
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


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"
