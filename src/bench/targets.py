"""What a config may name in each group: the one table of contracts, and the new names of targets that have moved.

A run's folder may come from anybody, so a ``_target_`` is held against its group's contract before it is called: first
by its name alone, before anything is imported, then by what it is. Nothing outside bench may be named but optimizers,
one by one, and what lies in a package that the person names as an extension.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench import extensions
from bench.spec import UserError

PLACEHOLDERS = ("default", "none")
"""What stands for a target where nothing is named."""


@dataclass(frozen=True)
class Contract:
    """What a group takes: modules of bench that may hold it, and what the class or function there must be.

    ``base`` is the dotted name of the class that a class must derive from, ``has`` attributes that it must have.
    A function must begin with the parameters ``first``. ``elsewhere`` are the targets outside bench, by name.
    """

    rooms: tuple[str, ...]
    base: str | None = None
    has: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    elsewhere: frozenset[str] = frozenset()

    def __str__(self) -> str:
        if self.base:
            attributes = "".join(f" with {name}" for name in self.has)
            return f"subclasses of {self.base.replace('torch.nn.modules.module', 'torch.nn')}{attributes}"
        return f"functions ({', '.join(self.first)}, …)"


OPTIMIZERS = frozenset(
    {
        *(
            f"torch.optim.{name}"
            for name in (
                "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop",
                "Rprop", "SGD",
            )
        ),
        *(
            f"timm.optim.{name}"
            for name in ("AdaBelief", "AdamP", "Adan", "Lamb", "Lars", "Lion", "NAdamW", "RMSpropTF", "SGDP", "SGDW")
        ),
    }
)  # fmt: skip
"""Optimizers of torch and timm that step on gradients alone: no closure, dense gradients, any shape of parameter."""

CONTRACTS: Mapping[str, Contract] = {
    "dataset": Contract(("bench.datasets",), base="bench.datasets.base.Dataset", has=("name", "metric", "features")),
    "simulator": Contract(("bench.simulators",), first=("root",)),
    "features": Contract(("bench.features",), base="bench.features.base.Features", has=("kind",)),
    "model": Contract(("bench.models",), base="torch.nn.modules.module.Module", has=("takes",)),
    "loss": Contract(("bench.losses",), first=("logits", "target", "weight")),
    "augment": Contract(("bench.augment",), base="bench.augment.base.Augmentation"),
    "split": Contract(("bench.data.splits",), first=("rows", "n_splits")),
    "row_weights": Contract(("bench.data.row_weights",), first=("rows", "epoch", "epochs")),
    "synthetic": Contract(("bench.synthetic",), base="bench.synthetic.base.Way"),
    "pseudo": Contract(("bench.crossval.pseudo_labels",), base="bench.crossval.pseudo_labels.Teachers"),
    "tta": Contract(("bench.training.tta",), base="bench.training.tta.Views"),
    "optimizer": Contract((), base="torch.optim.optimizer.Optimizer", elsewhere=OPTIMIZERS),
    "scheduler": Contract(("bench.training.schedules",), first=("epoch", "epochs", "base", "losses")),
    "blend": Contract(("bench.ensembling.ways", "bench.ensembling.stacking"), base="bench.ensembling.ways.Way"),
    "harden": Contract(("bench.ensembling.hardening",), base="bench.ensembling.hardening.Hardening"),
}
"""group → what it takes. The group of a data set's ``simulator`` is simulator."""

MOVED = {
    "bench.multirun": "bench.cli.sweep",
    "bench.pseudo": "bench.crossval.pseudo_labels",
    "bench.results.blending": "bench.ensembling.ways",
    "bench.results.hardening": "bench.ensembling.hardening",
    "bench.results.stacking": "bench.ensembling.stacking",
}
"""Modules of bench whose classes and functions are elsewhere today; the folders of older runs have the old names."""

PATH = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)
"""Public dotted names: whatever begins with an underscore is nobody's target."""


def group_of(where: str) -> str:
    """The group whose contract holds for the config key ``where``: augment for augment.one_of.parts.gain."""
    return "simulator" if where == "dataset.simulator" else where.partition(".")[0]


def current(path: str) -> str:
    """A target's current name."""
    module, _, name = path.rpartition(".")
    return f"{MOVED[module]}.{name}" if module in MOVED else path


def renamed(node: Any) -> Any:
    """A config in plain containers with its targets' current names."""
    if isinstance(node, dict):
        return {
            key: current(value) if key == "_target_" and isinstance(value, str) else renamed(value)
            for key, value in node.items()
        }
    return [renamed(value) for value in node] if isinstance(node, list) else node


def extensions_of(node: Any) -> list[str]:
    """The extensions that a config's targets lie in, in alphabetical order."""
    if isinstance(node, dict):
        owner = extensions.owner(node["_target_"]) if isinstance(node.get("_target_"), str) else None
        return sorted({*filter(None, [owner]), *(name for value in node.values() for name in extensions_of(value))})
    return sorted({name for value in node for name in extensions_of(value)}) if isinstance(node, list) else []


def modules(node: Any) -> list[str]:
    """The modules that a config's targets lie in, but for those of extensions, in alphabetical order."""
    if isinstance(node, dict):
        path = node.get("_target_")
        known = isinstance(path, str) and any(
            path in contract.elsewhere or any(_lies_in(current(path), room) for room in contract.rooms)
            for contract in CONTRACTS.values()
        )
        here = {current(str(path)).rpartition(".")[0]} if known else set()
        return sorted({*here, *(name for value in node.values() for name in modules(value))})
    return sorted({name for value in node for name in modules(value)}) if isinstance(node, list) else []


def allowed(path: str, where: str) -> bool:
    """Whether the group may take a target of this name; nothing is imported for that."""
    contract, module = CONTRACTS.get(group_of(where)), path.rpartition(".")[0]
    if contract is None or not PATH.fullmatch(path):
        return False
    in_bench = path in contract.elsewhere or any(_lies_in(module, room) for room in contract.rooms)
    return in_bench or extensions.owner(module) is not None


def refuse_name(path: str, where: str) -> None:
    """UserError where the name alone shows that the group does not take it."""
    group = group_of(where)
    if group not in CONTRACTS:
        raise UserError(f"{where}._target_={path} is refused: {where} names nothing to build; leave it out")
    if not allowed(path, where):
        raise UserError(f"{where}._target_={path} is refused: {takes(group)}{_instead(path, group)}")


def refuse_kind(target: Any, path: str, where: str) -> None:
    """UserError where what was imported is not what the group takes, or comes from elsewhere than its name says."""
    group = group_of(where)
    contract = CONTRACTS[group]
    home = getattr(target, "__module__", None) or ""
    extension = extensions.owner(path)
    at_home = home == path.rpartition(".")[0] or (extension is not None and extensions.owner(home) == extension)
    if not (at_home or path in contract.elsewhere) or not _is_a(target, contract):
        raise UserError(f"{where}._target_={path} is refused: {takes(group)}{_instead('', group)}")


def takes(group: str) -> str:
    """What the group takes, as the middle of a sentence."""
    contract = CONTRACTS[group]
    named = [f"optimizers of torch and timm such as {', '.join(sorted(contract.elsewhere)[-3:])}"]
    bench = [f"{contract} in {' and '.join(contract.rooms)}"]
    return f"{group} takes {' and '.join(bench if contract.rooms else named)} or of your extensions"


def options(group: str) -> list[str]:
    """The names that ``<group>=`` takes."""
    trees = [folder for tree in extensions.confs() for folder in (tree / group, tree / "ensemble" / group)]
    return sorted({file.stem for folder in trees for file in folder.glob("*.yaml")})


def _is_a(target: Any, contract: Contract) -> bool:
    if contract.base:
        return (
            isinstance(target, type)
            and contract.base in {f"{parent.__module__}.{parent.__qualname__}" for parent in target.__mro__}
            and not inspect.isabstract(target)
            and all(hasattr(target, name) for name in contract.has)
        )
    if not isinstance(target, types.FunctionType):
        return False
    return tuple(inspect.signature(target).parameters)[: len(contract.first)] == contract.first


def _lies_in(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def _instead(path: str, group: str) -> str:
    """The advice that ends an error's sentence."""
    package = path.partition(".")[0]
    if PATH.fullmatch(path) and package not in extensions.NOT_YOURS:
        return f"; if you trust the package {package}, name it: extensions=[{package}]"
    names = options(group)
    return f"; choose {group}= one of {', '.join(names)}" if names else ""
