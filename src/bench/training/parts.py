"""The one place that knows how an option of each group is built: which of its arguments are given, which are to come.

Checking, training, predicting, loading and listing build with these. Nothing heavy is imported before it is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import build
from bench.datasets.root import Files
from bench.runs.recipe import Node
from bench.targets import PLACEHOLDERS

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bench.augment.base import Augmentation
    from bench.data.row_weights import RowWeights
    from bench.data.splits import Splitter
    from bench.datasets.base import Dataset
    from bench.features.base import Features
    from bench.spec import InputSpec, Metric
    from bench.training.loop import Loss
    from bench.training.schedules import Schedule
    from bench.training.tta import View


def named(node: Node) -> bool:
    """Whether a group's option names something to build."""
    return node.get("_target_") not in PLACEHOLDERS


def dataset_class(node: Node) -> type[Dataset]:
    return build.locate(_own(node), "dataset")  # type: ignore[return-value]


def metric(node: Node) -> Metric:
    """The competition's, of a data set's node."""
    return dataset_class(node).metric


def files(node: Node, data: str | Path) -> Files:
    """Where a data set's files are, and how they are simulated where there are none."""
    simulator: Node = node.get("simulator") or {}
    settings = {key: value for key, value in simulator.items() if key != "_target_"}

    def simulate(folder: Path) -> None:
        build.partial(simulator, "dataset.simulator", 1)(folder)

    given = Path(node["root"]) if node.get("root") is not None else None
    return Files(dataset_class(node).name, given, Path(data), settings, simulate if simulator else None)


def dataset(node: Node, root: Path) -> Dataset:
    """The data set on a folder of its files; UserError for one that lacks some."""
    opened: Dataset = build.build({**_own(node), "root": str(root)}, "dataset")
    return opened


def dataset_to_predict(node: Node, facts: Mapping[str, Any], folder: Path) -> Dataset:
    """The data set on a folder of test files alone; ``facts`` are what a run knows of the training files."""
    kind = dataset_class(node)
    options = {key: value for key, value in _own(node).items() if key != "root"}
    checked = build.check(kind, options, "dataset", 0, {"root": str(folder)})
    return kind.remembered(dict(facts), folder, **checked)


def features(node: Node) -> Features:
    made: Features = build.build(node, "features")
    return made


def model_class(node: Node) -> Any:
    """The class, which says what it ``takes``."""
    return build.locate(node, "model")


def model(node: Node, spec: InputSpec) -> nn.Module:
    made: nn.Module = build.build(node, "model", spec)
    return made


def trained_model(node: Node, spec: InputSpec) -> nn.Module:
    """The model without the weights that it started from: they have been trained over, and may be gone."""
    sources = {"pretrained": False, "weights": None}
    return model({**node, **{key: value for key, value in sources.items() if key in node}}, spec)


def loss(node: Node) -> Loss:
    return build.partial(node, "loss", 3)


def judging_loss(node: Node) -> Loss:
    """What validation rows are judged by: every one of them counts."""
    return loss({**node, "mask_above": None} if "mask_above" in node else node)


def optimizer(node: Node, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    made: torch.optim.Optimizer = build.build(node, "optimizer", parameters)
    return made


def schedule(node: Node) -> Schedule:
    return build.partial(node, "scheduler", 4)


def augment(node: Node, features: Features) -> list[Augmentation]:
    """The changes to a training batch, in the order of the command line."""
    return build.each(node, "augment", features=features)


def views(node: Node, features: Features, augment: Sequence[Augmentation]) -> list[View]:
    """The views of a row whose predictions are averaged; none where it is looked at once, as it is."""
    return build.build(node, "tta").views(features, augment) if named(node) else []


def row_weights(node: Node) -> RowWeights | None:
    return build.partial(node, "row_weights", 3) if named(node) else None


def synthetic(node: Node) -> Any:
    """A ``synthetic.base.Way``, or None."""
    return build.build(node, "synthetic") if named(node) else None


def pseudo_labels(node: Node) -> Any:
    """A ``crossval.pseudo_labels.Teachers``, or None."""
    return build.build(node, "pseudo") if named(node) else None


def split(node: Node) -> tuple[Splitter, bool]:
    """The splitter, and whether a split that leaks is refused."""
    own = {key: value for key, value in node.items() if key != "strict"}
    return build.partial(own, "split", 1), bool(node.get("strict", True))


def name(node: Node) -> str:
    """The last word of what an option names, small: smote."""
    return str(node.get("_target_", "")).rpartition(".")[2].lower()


def _own(node: Node) -> dict[str, Any]:
    """A data set's node without what simulates its files."""
    return {key: value for key, value in node.items() if key != "simulator"}
