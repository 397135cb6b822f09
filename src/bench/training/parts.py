"""The one place that knows how an option of each group is built: which of its arguments are given, which are to come.

Checking, training, predicting, loading and listing build with these. Nothing heavy is imported before it is named.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import build, extensions, targets
from bench.datasets import remote
from bench.datasets.root import Files
from bench.runs.recipe import Node
from bench.spec import UserError
from bench.targets import PLACEHOLDERS

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bench.augment.base import Augmentation
    from bench.data.assignment import Splitter
    from bench.data.row_weights import RowWeights
    from bench.datasets.base import Dataset
    from bench.features.base import Features
    from bench.spec import InputSpec, Kind, Metric
    from bench.training.schedules import Schedule
    from bench.training.step import Loss
    from bench.training.tta import View


GIVEN: Mapping[str, int] = {
    "dataset": 0, "model": 1, "features": 0, "loss": 3, "split": 1, "row_weights": 3, "synthetic": 0, "pseudo": 0,
    "tta": 0, "optimizer": 1, "scheduler": 4,
}  # fmt: skip
"""group → how many arguments of its target are not the config's: a model's input spec, a loss's logits …"""
BESIDES: Mapping[str, tuple[str, ...]] = {"dataset": ("simulator",), "split": ("strict", "duplicates")}
"""group → keys of its node that its target is not given."""
DUPLICATES = ("exact", "near")
"""What ``split.duplicates`` may be: which rows count as copies of each other."""


def named(node: Node) -> bool:
    """Whether a group's option names something to build."""
    return node.get("_target_") not in PLACEHOLDERS


def bound(group: str, node: Node) -> Callable[..., Any]:
    """An option's target with its own keys; what is ``GIVEN`` is to come. UserError for a key that it does not take."""
    return build.partial(_own(group, node), group, GIVEN[group])


def dataset_class(node: Node) -> type[Dataset]:
    return build.locate(node, "dataset")  # type: ignore[return-value]


def metric(node: Node) -> Metric:
    """The competition's, of a data set's node."""
    return dataset_class(node).metric


def files(node: Node, data: str | Path, store: str | Path | None = None) -> Files:
    """Where a data set's files are, and how they are simulated where there are none.

    Files at an address are listed now, and kept below ``store`` (None: <data>/store) as they are opened.
    """
    simulator: Node = node.get("simulator") or {}
    settings = {key: value for key, value in simulator.items() if key != "_target_"}

    def simulate(folder: Path) -> None:
        build.partial(simulator, "dataset.simulator", 1)(folder)

    root = node.get("root")
    if root is not None:
        root = remote.mirror(root, Path(store or Path(data) / "store")) if remote.is_address(root) else Path(root)
    return Files(dataset_class(node).name, root, Path(data), settings, simulate if simulator else None)


def dataset(node: Node, root: Path) -> Dataset:
    """The data set on a folder of its files; UserError for one that lacks some."""
    opened: Dataset = bound("dataset", {**node, "root": str(root)})()
    return opened


def dataset_to_predict(node: Node, facts: Mapping[str, Any], folder: Path) -> Dataset:
    """The data set on a folder of test files alone; ``facts`` are what a run knows of the training files."""
    kind = dataset_class(node)
    options = {key: value for key, value in _own("dataset", node).items() if key != "root"}
    checked = build.check(kind, options, "dataset", 0, {"root": str(folder)})
    return kind.remembered(dict(facts), folder, **checked)


def dataset_of_tables(node: Node, root: Path) -> Dataset:
    """The data set on a folder of which the training table alone is read."""
    kind = dataset_class(node)
    options = {key: value for key, value in _own("dataset", node).items() if key != "root"}
    return kind.of_tables(root, **build.check(kind, options, "dataset", 0, {"root": str(root)}))


def features(node: Node) -> Features:
    instance: Features = bound("features", node)()
    return instance


def comparable_features(dataset: Dataset) -> Features:
    """The features by which rows of a data set are held against each other, whatever a model is trained on.

    They are its own for a sequence, or else for an image: near-duplicates, and so folds, are the same for every model.
    Raises UserError for a data set that has neither.
    """
    import yaml

    name = dataset.fitting("sequence") or dataset.fitting("image")
    if name is None:
        raise UserError(f"dataset={dataset.name} has no features by which rows could be compared; set duplicates=exact")
    return features(yaml.safe_load(extensions.option("features", name).read_text(encoding="utf-8")))


def with_signal(node: Node, dataset: type[Dataset]) -> Node:
    """A features' node whose ``signal``, where it has one, names its target in full.

    ``default`` are the data set's own features for a sequence, another word an option of conf/features; the signal's
    other keys win over that option's. Raises UserError where there is no such option.
    """
    signal = node.get("signal")
    if signal is None:
        return node
    signal = {"_target_": signal} if isinstance(signal, str) else signal
    name = str(signal.get("_target_"))
    if "." in name:
        return {**node, "signal": signal}
    import yaml

    name = dataset.features.get("sequence", "") if name == "default" else name
    path = extensions.option("features", name)
    if not path.exists():
        raise UserError(
            f"features.signal={name or 'default'} is no feature of dataset={dataset.name}; choose features.signal= "
            f"one of {', '.join(targets.options('features'))}"
        )
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "signal" in own:
        raise UserError(f"features.signal={name} gives no signal to lay kernels on; choose one for sequence models")
    return {**node, "signal": {**own, **{key: value for key, value in signal.items() if key != "_target_"}}}


def model_class(node: Node) -> Any:
    """The class, which says what it ``takes``."""
    return build.locate(node, "model")


def takes(node: Node) -> Kind:
    """What the model takes. It is read in the source of a module that is not imported yet: torch takes a second."""
    path = targets.current(str(node.get("_target_")))
    module, _, name = path.rpartition(".")
    if module in sys.modules or not targets.allowed(path, "model"):
        return model_class(node).takes  # type: ignore[no-any-return]
    return _literal(module, name, "takes") or model_class(node).takes  # type: ignore[return-value]


def solved(node: Node) -> bool:
    """Whether the model is solved at once (``training/solving.py``)."""
    return _says(node, "solved")


def flattens(node: Node) -> bool:
    """Whether the model takes a sequence's numbers in any order."""
    return _says(node, "flattens")


def _says(node: Node, attribute: str) -> bool:
    """What a model's class says of itself, False where nothing; it is read as ``takes`` is."""
    path = targets.current(str(node.get("_target_")))
    module, _, name = path.rpartition(".")
    if module in sys.modules or not targets.allowed(path, "model"):
        return bool(getattr(model_class(node), attribute, False))
    return _literal(module, name, attribute) == "True"


def _literal(module: str, name: str, attribute: str) -> str | None:
    """A value, as text, that a class's body gives an attribute; None where its module does not say it so."""
    spec = find_spec(module)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    for node in ast.parse(Path(spec.origin).read_bytes()).body:
        for line in node.body if isinstance(node, ast.ClassDef) and node.name == name else ():
            target = line.target if isinstance(line, ast.AnnAssign) else None
            value = line.value if isinstance(line, ast.AnnAssign) else None
            if isinstance(target, ast.Name) and target.id == attribute and isinstance(value, ast.Constant):
                return str(value.value)
    return None


def model(node: Node, spec: InputSpec) -> nn.Module:
    instance: nn.Module = bound("model", node)(spec)
    return instance


def trained_model(node: Node, spec: InputSpec) -> nn.Module:
    """The model without its initial weights: training has replaced them, and their file may be gone."""
    sources = {"pretrained": False, "weights": None}
    return model({**node, **{key: value for key, value in sources.items() if key in node}}, spec)


def loss(node: Node) -> Loss:
    return bound("loss", node)


def judging_loss(node: Node) -> Loss:
    """What validation rows are judged by: every one of them counts."""
    return loss({**node, "mask_above": None} if "mask_above" in node else node)


def optimizer(node: Node, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    instance: torch.optim.Optimizer = bound("optimizer", node)(parameters)
    return instance


def schedule(node: Node) -> Schedule:
    return bound("scheduler", node)


def augment(node: Node, features: Features) -> list[Augmentation]:
    """The changes to a training batch, in the order of the command line."""
    return build.each(node, "augment", features=features)


def views(node: Node, features: Features, augment: Sequence[Augmentation]) -> list[View]:
    """The views whose predictions are averaged; empty without test-time augmentation."""
    return bound("tta", node)().views(features, augment) if named(node) else []


def row_weights(node: Node) -> RowWeights | None:
    return bound("row_weights", node) if named(node) else None


def synthetic(node: Node) -> Any:
    """A ``synthetic.base.Way``, or None."""
    return bound("synthetic", node)() if named(node) else None


def pseudo_labels(node: Node) -> Any:
    """A ``crossval.pseudo_labels.Teachers``, or None."""
    return bound("pseudo", node)() if named(node) else None


def split(node: Node) -> tuple[Splitter, bool]:
    """The splitter, and whether a split that leaks is refused; UserError where the node says anything else wrong."""
    if (word := node.get("duplicates", DUPLICATES[0])) not in DUPLICATES:
        raise UserError(f"split.duplicates={word} is not one of {', '.join(DUPLICATES)}")
    return bound("split", node), bool(node.get("strict", True))


def name(node: Node) -> str:
    """The last part of the target's dotted name in lower case, such as smote."""
    return str(node.get("_target_", "")).rpartition(".")[2].lower()


def _own(group: str, node: Node) -> dict[str, Any]:
    """What of a node its target is given."""
    return {key: value for key, value in node.items() if key not in BESIDES.get(group, ())}
