"""The command line's keys and their types, so that a wrong one is refused before anything starts.

The recipes' dataclasses are the keys of training and ensembling; here are those of predicting and comparing. Groups
(dataset, model, …) are checked against the signature of what they name, in ``build``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from bench.runs.recipe import AdoptedRecipe, EnsembleRecipe, Node, Recipe, Sending


@dataclasses.dataclass(frozen=True, kw_only=True)
class Registry:
    """Where MLflow's registry is, for ``register``."""

    uri: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict:
    """The keys of conf/predict.yaml, which says what each means."""

    run: str | None = None
    input: str | None = None
    folds: tuple[int, ...] | None = None
    tta: Node | None = None
    output: str | None = None
    excel: bool = False
    export: str | None = None
    register: str | None = None
    runtime: str = "torch"
    device: str = "auto"
    outputs: str = "outputs"
    data: str = "data"
    store: str = "data/store"
    workers: int | None = None
    extensions: tuple[str, ...] | None = None
    tracking: Registry = dataclasses.field(default_factory=Registry)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare:
    """The keys of conf/compare.yaml, which says what each means."""

    runs: str | None = None
    outputs: str = "outputs"
    resamples: int
    seed: int = 0
    extensions: tuple[str, ...] | None = None
    tracking: Sending = dataclasses.field(default_factory=Sending)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """The keys of conf/leaderboard.yaml, which says what each means."""

    runs: str | None = None
    outputs: str = "outputs"
    top: int = 20
    to: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """The keys of conf/doctor.yaml, which says what each means."""

    self_test: bool = True
    outputs: str = "outputs"
    data: str = "data"
    store: str = "data/store"
    tracking: Registry = dataclasses.field(default_factory=Registry)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clean:
    """The keys of conf/clean.yaml, which says what each means."""

    runs: str | None = None
    what: str = "failed"
    yes: bool = False
    dry_run: bool = False
    outputs: str = "outputs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """Which of how many parts of a store a command fills."""

    count: int = 1
    index: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare:
    """The keys of conf/prepare.yaml, which says what each means.

    ``loss``, ``split`` and ``recipe`` are what a data set's option brings for training; nothing of them is used.
    """

    dataset: Node
    features: Node
    model: Node | None = None
    loss: Node | None = None
    split: Node | None = None
    recipe: Node | None = None
    source: str | None = None
    check: bool = False
    shard: Shard = dataclasses.field(default_factory=Shard)
    outputs: str = "outputs"
    data: str = "data"
    store: str = "data/store"
    workers: int | None = None
    extensions: tuple[str, ...] | None = None


SCHEMAS: Mapping[str, type[Any]] = {
    "train": Recipe,
    "prepare": Prepare,
    "predict": Predict,
    "ensemble": EnsembleRecipe,
    "adopt": AdoptedRecipe,
    "compare": Compare,
    "leaderboard": Leaderboard,
    "clean": Clean,
    "doctor": Doctor,
}
"""command → its keys; conf/<command>.yaml asks for them as <command>_schema."""


def unread(config: Mapping[str, Any], kind: type[Any], above: str = "") -> list[str]:
    """The dotted keys of a composed config that its dataclass does not have: nothing would read them.

    Of groups, whose keys are the callee's, ``build`` says so.
    """
    known = {item.name: item for item in dataclasses.fields(kind) if item.name not in getattr(kind, "settled", ())}
    hints = typing.get_type_hints(kind)
    odd = []
    for key, value in config.items():
        if key not in known:
            odd.append(f"{above}{key}")
        elif isinstance(value, Mapping) and dataclasses.is_dataclass(hints[key]):
            odd += unread(value, hints[key], f"{above}{key}.")
        elif isinstance(value, Mapping) and "keys" in known[key].metadata:
            odd += [f"{above}{key}.{name}" for name in value if name not in known[key].metadata["keys"]]
    return odd


def register() -> None:
    """Makes the schemas known to Hydra."""
    from hydra.core.config_store import ConfigStore

    for name, kind in SCHEMAS.items():
        ConfigStore.instance().store(f"{name}_schema", schema(kind))


def schema(kind: type[Any]) -> type[Any]:
    """A dataclass as Hydra composes one: not frozen, and with types that OmegaConf knows.

    A group may be anything until it is looked at: whoever does says what to choose.
    """
    hints = typing.get_type_hints(kind)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(kind):
        if field.name in getattr(kind, "settled", ()):
            continue
        hint = _hint(hints[field.name])
        if dataclasses.is_dataclass(hint):
            fields.append((field.name, hint, dataclasses.field(default_factory=hint)))  # type: ignore[arg-type]
        else:  # "???" is OmegaConf's word for what has no value yet
            default = "???" if field.default is dataclasses.MISSING else field.default
            fields.append((field.name, hint, dataclasses.field(default=default)))
    return dataclasses.make_dataclass(kind.__name__, fields)


def _hint(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint == Node or hint == Node | None:
        return Any
    if origin in (typing.Union, types.UnionType):
        if any(typing.get_origin(a) is tuple for a in arguments) and type(None) not in arguments:
            return Any  # one or a list: OmegaConf has no such type
        return typing.Union[tuple(_hint(a) for a in arguments)]  # noqa: UP007 (its members are known only now)
    if origin is tuple:
        return list[_hint(arguments[0])]  # type: ignore[misc]
    if origin is typing.Literal:
        return str
    return schema(hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else hint
