"""The types of the command line's keys, so that a wrong one is refused before anything starts.

Groups (dataset, model, …) are checked against the signature of what they name, in ``build``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

from omegaconf import MISSING


@dataclass
class Train:
    epochs: int = MISSING
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    precision: str = MISSING
    clip: float | None = None
    keep: str = MISSING
    patience: int | None = None
    accumulate: int = 1
    ema: float | None = None
    ema_every: str = "step"
    balanced: bool = False


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
    synthetic: Any = MISSING
    pseudo: Any = MISSING
    tta: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    recipe: Any = field(default=None, metadata={"keys": ("features", "n_splits", "scheduler")})
    init_from: str | None = None
    pretrain: list[str] | None = None
    seed: int = 0
    device: str = "auto"
    compile: bool = False
    outputs: str = MISSING
    data: str = MISSING
    store: str = MISSING
    workers: int | None = None
    extensions: list[str] | None = None
    train: Train = field(default_factory=Train)
    folds: Folds = field(default_factory=Folds)
    tracking: Tracking = field(default_factory=Tracking)


@dataclass
class Predict:
    """The keys of conf/predict.yaml."""

    run: str | None = None
    input: str | None = None
    folds: list[int] | None = None
    tta: Any = None
    output: str | None = None
    excel: bool = False
    export: str | None = None
    register: str | None = None
    device: str = "auto"
    outputs: str = MISSING
    data: str = MISSING
    store: str = MISSING
    workers: int | None = None
    extensions: list[str] | None = None


@dataclass
class Ensemble:
    """The keys of conf/ensemble.yaml."""

    blend: Any = MISSING
    harden: Any = MISSING
    runs: Any = None
    folds: str = "arithmetic"
    root: str | None = None
    outputs: str = MISSING
    extensions: list[str] | None = None
    tracking: Tracking = field(default_factory=Tracking)


@dataclass
class Compare:
    """The keys of conf/compare.yaml."""

    runs: str | None = None
    outputs: str = MISSING
    resamples: int = MISSING
    seed: int = 0
    extensions: list[str] | None = None
    tracking: Tracking = field(default_factory=Tracking)


SCHEMAS = {"train": Keys, "predict": Predict, "ensemble": Ensemble, "compare": Compare}
"""command → its keys; conf/<command>.yaml asks for them as <command>_schema."""


def unread(config: Mapping[str, Any], schema: type, above: str = "") -> list[str]:
    """The dotted keys of a composed config that its schema does not have: nothing would read them.

    Of groups, whose keys are the callee's, ``build`` says so.
    """
    known = {item.name: item for item in fields(schema)}
    hints = get_type_hints(schema)
    odd = []
    for key, value in config.items():
        if key not in known:
            odd.append(f"{above}{key}")
        elif isinstance(value, Mapping) and is_dataclass(hints[key]):
            odd += unread(value, hints[key], f"{above}{key}.")
        elif isinstance(value, Mapping) and "keys" in known[key].metadata:
            odd += [f"{above}{key}.{name}" for name in value if name not in known[key].metadata["keys"]]
    return odd


def register() -> None:
    """Makes the schemas known to Hydra."""
    from hydra.core.config_store import ConfigStore

    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(f"{name}_schema", schema)
