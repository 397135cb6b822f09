"""A run's recipe: the typed config, the part of it that decides the result, and its file config.yaml.

The same dataclasses are the types of the command line's keys (``cli/schema.py`` hands them to Hydra). A key that an
earlier version did not write has its default here, and nowhere else.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from bench import bounded, targets
from bench.addresses import public, word_without_secrets
from bench.atomic import write_text
from bench.runs import checksums, records
from bench.spec import UserError

Node = Mapping[str, Any]
"""A group's choice: a ``_target_`` and its options, which ``training/parts.py`` turns into an object."""
NOTHING = {"_target_": "none"}
CONSTANT: Node = {"_target_": "bench.training.schedules.constant"}
FILE = "config.yaml"
LATER = {"later": True}
"""Of a key that came after the first release: it decides where it is not its default, so earlier runs stay found."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """How long and how a fold is trained. ``clip`` is a gradient norm, ``ema`` the decay of an average of weights.

    ``epochs`` None: ``crossval/length.py`` finds them before a run is planned, as ``crossval/settle.py`` does
    ``batch_size`` None and ``precision`` auto; a run's own recipe has the numbers, and what precision it was.
    """

    epochs: int | None = None
    min_steps: int | None = None
    batch_size: int | None
    eval_batch_size: int
    precision: Literal["float32", "bf16", "fp16", "auto"]
    clip: float | None = None
    keep: Literal["last", "loss", "metric", "train_loss"]
    patience: int | None = None
    accumulate: int = 1
    ema: float | None = None
    ema_every: Literal["step", "epoch"] = "step"
    batch_stats: Literal["exact", "running"] = "running"
    balanced: bool = False
    sync_batch_norm: bool = dataclasses.field(default=True, metadata=LATER)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folds:
    """Which folds a command trains (None: all), how many side by side (None: as the machine has it), or together.

    ``launcher`` says where: as processes of the command, or as jobs with the options ``job``.
    """

    only: tuple[int, ...] | None = None
    parallel: int | None = None
    fused: bool | Literal["auto"] = False
    launcher: Literal["local", "submitit", "ray"] = "local"
    job: Node | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sending:
    """Where to something is sent. ``uri`` None is a database in the outputs; ``wait`` is in seconds."""

    enabled: bool = True
    uri: str | None = None
    wait: float = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracking(Sending):
    """Where runs are mirrored; ``sweep`` names the sweep that a run is part of."""

    sweep: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What ``python -m bench.train`` was asked for: conf/train.yaml says what each key means."""

    dataset: Node
    model: Node
    features: Node
    loss: Node
    split: Node
    augment: Node = dataclasses.field(default_factory=dict)
    row_weights: Node = dataclasses.field(default_factory=NOTHING.copy)
    synthetic: Node = dataclasses.field(default_factory=NOTHING.copy)
    pseudo: Node = dataclasses.field(default_factory=NOTHING.copy)
    tta: Node = dataclasses.field(default_factory=NOTHING.copy)
    optimizer: Node
    scheduler: Node
    recipe: Node | None = dataclasses.field(
        default=None,
        metadata={
            "keys": (
                "adam_eps",
                "batch_size",
                "batch_size_simulated",
                "epochs",
                "features",
                "n_splits",
                "scheduler",
                "scheduler_simulated",
            )
        },
    )
    rows: int | None = None
    resume_from: str | None = None
    init_from: str | None = None
    pretrain: tuple[str, ...] | None = None
    seed: int = 0
    device: str | tuple[str, ...] = "auto"
    compile: bool | Literal["graph", "auto"] = False
    pictures: bool = True
    outputs: str = "outputs"
    data: str = "data"
    store: str = "data/store"
    verify: bool = False
    workers: int | None = None
    extensions: tuple[str, ...] | None = None
    train: Train
    folds: Folds = dataclasses.field(default_factory=Folds)
    tracking: Tracking = dataclasses.field(default_factory=Tracking)

    elsewhere: ClassVar[tuple[str, ...]] = (
        "recipe", "rows", "resume_from", "pretrain", "device", "compile", "pictures", "outputs", "data", "store",
        "verify", "workers", "extensions", "folds", "tracking",
    )  # fmt: skip
    """Keys that do not change the result, or repeat what else names a run: rows are known by their ids."""
    within: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "dataset": ("root", "simulator"),
        "split": ("strict",),
        "train": ("min_steps",),
    }
    """Keys of groups that decide nothing either."""
    settled: ClassVar[tuple[str, ...]] = ()
    """Keys that the command does not have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleRecipe:
    """What ``python -m bench.ensemble`` was asked for; once it is settled, ``runs`` are the members' folders.

    ``dataset`` and ``data`` are the first member's. ``members`` are training commands, lists of
    overrides, which are done first where they are not finished.
    """

    dataset: Node = dataclasses.field(default_factory=dict)
    blend: Node
    harden: Node
    folds: Literal["arithmetic", "geometric"] = "arithmetic"
    runs: Any = None
    members: Any = None
    root: str | None = None
    outputs: str = "outputs"
    data: str = "data"
    extensions: tuple[str, ...] | None = None
    tracking: Tracking = dataclasses.field(default_factory=Tracking)

    elsewhere: ClassVar[tuple[str, ...]] = ("members", "root", "outputs", "data", "extensions", "tracking")
    within: ClassVar[Mapping[str, tuple[str, ...]]] = {"dataset": ("root", "simulator")}
    settled: ClassVar[tuple[str, ...]] = ("dataset", "data")
    seed: ClassVar[None] = None
    loss: ClassVar[None] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdoptedRecipe:
    """What ``python -m bench.adopt`` was asked for: conf/adopt.yaml says what each key means.

    ``loss``, ``split`` and ``recipe`` are what a data set's option brings for training; nothing of them is used.
    """

    dataset: Node
    loss: Node | None = None
    split: Node | None = None
    recipe: Node | None = None
    oof: str | None = None
    test: str | None = None
    name: str | None = None
    id: str | None = None
    columns: Any = None
    folds: str | None = None
    strict: bool = True
    pictures: bool = True
    outputs: str = "outputs"
    data: str = "data"
    extensions: tuple[str, ...] | None = None
    tracking: Tracking = dataclasses.field(default_factory=Tracking)

    elsewhere: ClassVar[tuple[str, ...]] = (
        "loss", "split", "recipe", "oof", "test", "pictures", "outputs", "data", "extensions", "tracking",
    )  # fmt: skip
    within: ClassVar[Mapping[str, tuple[str, ...]]] = {"dataset": ("root", "simulator")}
    settled: ClassVar[tuple[str, ...]] = ()
    seed: ClassVar[None] = None


AnyRecipe = Recipe | EnsembleRecipe | AdoptedRecipe
Kind = TypeVar("Kind", Recipe, EnsembleRecipe, AdoptedRecipe)


def composed(kind: type[Kind], config: Any, module: str) -> Kind:
    """The recipe of a composed command of ``module``, such as bench.train; UserError for a group that is no group."""
    for name in groups(kind):
        if name in config and not isinstance(config[name], Mapping):
            raise UserError(f"{name}={config[name]} names nothing; python -m {module} --help lists the options")
    return records.parse(kind, config, None)


def groups(kind: type[AnyRecipe]) -> list[str]:
    """The keys whose values are options of a group of conf/."""
    hints = typing.get_type_hints(kind)
    return [field.name for field in dataclasses.fields(kind) if hints[field.name] == Node]


def deciding(recipe: AnyRecipe) -> dict[str, Any]:
    """What decides the result, as plain containers: the rest says where it is done, and how fast.

    Paths of files stand for their content, which the caller puts in their place.
    """
    decides = {}
    for field in dataclasses.fields(recipe):
        if field.name not in recipe.elsewhere:
            own = getattr(recipe, field.name)
            value, without = records.plain(own), {*recipe.within.get(field.name, ()), *_unset(own)}
            decides[field.name] = {k: v for k, v in value.items() if k not in without} if without else value
    if decides.get("split", {}).get("duplicates") == "exact":  # it was not a key at first: earlier runs stay found
        decides["split"] = {k: v for k, v in decides["split"].items() if k != "duplicates"}
    return decides


def _unset(value: Any) -> list[str]:
    """The later keys of a part of the recipe that are their defaults."""
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    return [f.name for f in fields if f.metadata.get("later") and getattr(value, f.name) == f.default]


def read(folder: Path) -> AnyRecipe:
    """The recipe in a run's folder; UserError naming the file, and what is wrong with it."""
    path = folder / FILE
    content = mapping(folder)
    if "blend" in content:
        return records.parse(EnsembleRecipe, content, str(path))
    if "oof" in content:
        return records.parse(AdoptedRecipe, content, str(path))
    return records.parse(Recipe, content, str(path))


def mapping(folder: Path) -> dict[str, Any]:
    """The recipe's file as plain containers; targets that have moved get their current names."""
    path = folder / FILE
    content = records.read(path, lambda path: bounded.read_yaml(checksums.held(path), records.AGAIN))
    if not isinstance(content, dict):
        raise UserError(f"{path} is no mapping of keys to values; {records.AGAIN}")
    named_as_today: dict[str, Any] = targets.renamed(content)
    return named_as_today


def sweep_of(folder: Path) -> str | None:
    """The sweep that a run's config.yaml names; None where it names none, or can't be read."""
    try:
        return read(folder).tracking.sweep
    except (UserError, OSError):
        return None


def write(folder: Path, recipe: AnyRecipe) -> None:
    """Writes config.yaml; addresses lose their passwords, and a run stays one of its sweep's."""
    import yaml

    content = records.plain(recipe)
    content["tracking"]["sweep"] = recipe.tracking.sweep or sweep_of(folder)
    content["tracking"]["uri"] = recipe.tracking.uri and public(recipe.tracking.uri)
    if isinstance(root := content["dataset"].get("root"), str) and "://" in root:
        content["dataset"]["root"] = public(root)
    if content.get("pretrain"):
        content["pretrain"] = [word_without_secrets(word) for word in content["pretrain"]]
    write_text(folder / FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
