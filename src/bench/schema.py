"""The types of the command line's keys, so that a wrong one is refused before anything starts.

Groups (dataset, model, …) are checked against the signature of what they name, in ``build``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Train:
    epochs: int = MISSING
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    precision: str = MISSING
    clip: float | None = None
    keep: str = MISSING


@dataclass
class Folds:
    only: list[int] | None = None
    parallel: int | None = None


@dataclass
class Tracking:
    enabled: bool = True
    uri: str | None = None
    wait: float = 30.0


@dataclass
class Keys:
    dataset: Any = MISSING
    model: Any = MISSING
    features: Any = MISSING
    loss: Any = MISSING
    split: Any = MISSING
    augment: Any = MISSING
    row_weights: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    recipe: Any = None
    seed: int = 0
    device: str = "auto"
    compile: bool = False
    outputs: str = MISSING
    data: str = MISSING
    store: str = MISSING
    workers: int | None = None
    train: Train = field(default_factory=Train)
    folds: Folds = field(default_factory=Folds)
    tracking: Tracking = field(default_factory=Tracking)


def register() -> None:
    """Makes the schema known to Hydra under the name that conf/train.yaml asks for."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store("schema", Keys)
