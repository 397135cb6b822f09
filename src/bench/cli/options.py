"""What conf/ says of itself: groups, their options, each option's comment, keys and defaults, and what it names."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench import build, extensions
from bench.cli.keys import ADDED, described
from bench.spec import UserError

PLACEHOLDERS = ("default", "none")
ORDER = (
    "dataset", "features", "model", "recipe", "loss", "split", "augment", "row_weights", "synthetic", "pseudo", "tta",
    "optimizer", "scheduler",
)  # fmt: skip


@dataclass(frozen=True)
class Option:
    """One file below conf/: ``<group>=<name>`` on the command line."""

    group: str
    name: str

    @property
    def path(self) -> Path:
        return extensions.option(self.group, self.name)

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def node(self) -> dict[str, Any]:
        """The option's own config, without its defaults for other groups."""
        content = parsed(self.text)
        return (content.get(self.group) or content) if self.whole else content

    @property
    def brings(self) -> dict[str, str]:
        """group → option of its defaults list: a data set's own loss and split."""
        entries = parsed(self.text).get("defaults") or []
        pairs = [pair for entry in entries if isinstance(entry, dict) for pair in entry.items()]
        return {key.removeprefix("override ").removeprefix("/"): value for key, value in pairs}

    @property
    def comment(self) -> list[str]:
        """The lines of the comment that the file opens with."""
        lines: list[str] = []
        for line in self.text.splitlines():
            if not line.startswith("#"):
                break
            if not line.startswith("# @package"):
                lines.append(line.removeprefix("#").removeprefix(" ").rstrip())
        return lines

    @property
    def tabular(self) -> bool:
        """Whether its comment has columns parted by spaces, whose lines have to stay as they are."""
        return any(re.search(r"\S {2,}\S", line) for line in self.comment)

    @property
    def said(self) -> str:
        """Its comment whole, a line a paragraph."""
        text = "\n".join(self.comment).strip()
        return text if self.tabular else re.sub(r"(?<!\n)\n(?!\n)", " ", text)

    @property
    def about(self) -> str:
        """The first sentence of its comment, else of its target's docstring, else its keys and values."""
        lines: list[str] = []
        for line in self.comment or self.document.splitlines():
            if not line:
                break
            lines.append(line)
            if line.endswith((".", "?")):
                break
        sets = ", ".join(f"{key}={value}" for key, value, _ in self.keys)
        return " ".join(lines) or sets or str(self.node.get("_target_", "nothing"))

    @property
    def keys(self) -> list[tuple[str, str, str]]:
        """(dotted key, default, comment) of each, as they stand in the file: a parser would lose the comments."""
        return described(self.text, None if self.whole else self.group)

    @property
    def whole(self) -> bool:
        """Whether its keys are the command's own and not its group's."""
        return "# @package _global_" in self.text

    @property
    def target(self) -> Any:
        """The class or function it names; None for one that names none."""
        path = self.node.get("_target_")
        return None if path in (None, *PLACEHOLDERS) else build.locate(self.node, self.group)

    @property
    def document(self) -> str:
        """What its class or function says of itself, a line a paragraph; the first one alone for other people's."""
        text = inspect.cleandoc(self.target.__doc__ or "") if self.target is not None else ""
        if not str(self.node.get("_target_")).startswith("bench."):
            text = text.split("\n\n")[0]
        return re.sub(r"(?<!\n)\n(?![\n-])", " ", text).replace("``", "").strip()


@lru_cache(maxsize=256)
def parsed(text: str) -> dict[str, Any]:
    """A YAML file's text; once, as what goes with what is asked of all options again and again."""
    import yaml

    return yaml.safe_load(text) or {}


SPACES = {"sweep"}
"""Folders whose files are no options of a run: spaces that ``hydra/sweeper=optuna`` searches."""


def groups() -> list[str]:
    """The groups there are, those that a command starts with first."""
    trees = extensions.confs()
    names = sorted({folder.name for tree in trees for folder in tree.iterdir() if any(folder.glob("*.yaml"))} - SPACES)
    known = [name for name in ORDER if name in names]
    return [
        *known,
        *(name for name in names if name not in (*known, *ADDED)),
        *(name for name in ADDED if name in names),
    ]


def options(group: str) -> list[Option]:
    names = {path.stem for tree in extensions.confs() for path in (tree / group).glob("*.yaml")}
    return [Option(group, name) for name in sorted(names)]


def defaults() -> dict[str, str]:
    """group → the option that a command takes where it names none."""
    entries = parsed(extensions.primary("train").read_text(encoding="utf-8"))["defaults"]
    pairs = [pair for entry in entries if isinstance(entry, dict) for pair in entry.items()]
    return {key: value for key, value in pairs if key in groups()}


def asked(words: Sequence[str]) -> dict[str, str]:
    """group → option that the words choose; UserError with a suggestion for an unknown name."""
    choices: dict[str, str] = {}
    known = {group: [option.name for option in options(group)] for group in groups()}
    for word in words:
        key, equals, value = word.partition("=")
        if word.startswith("-") or not equals:
            raise UserError(f"{word} is not written as group=option; {_meant(word, known)}")
        group = key.lstrip("+")
        if group not in known:
            continue
        if value.startswith("["):
            raise UserError(f"{word}: the catalog shows one option of a group at a time, as {group}={known[group][0]}")
        if value not in known[group]:
            near = difflib.get_close_matches(value, known[group], 3, 0.6)
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            raise UserError(f"there is no {group}={value}; {meant}choose {group}= one of {', '.join(known[group])}")
        choices[group] = value
    return choices


def _meant(word: str, known: dict[str, list[str]]) -> str:
    everything = {name: f"{group}={name}" for group, names in known.items() for name in names}
    near = [everything[name] for name in difflib.get_close_matches(word.lstrip("-"), everything, 2, 0.6)]
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{meant}python -m bench.catalog lists them all, --help shows how"


def own_of(feature: Option) -> list[str]:
    """The data sets that give this feature to models of its kind where a command names none."""
    return [o.name for o in options("dataset") if o.target.features.get(feature.target.kind) == feature.name]


def readers(feature: Option) -> list[str]:
    """The data sets that it can read."""
    only = feature.target.datasets
    return [o.name for o in options("dataset") if not only or o.target.name in only]


def fit(feature: Option, model: Option) -> bool:
    """Whether the model takes what the feature gives; numbers without order are for models that flatten."""
    gives, takes = feature.target, model.target
    return gives.kind == takes.takes and (gives.ordered or getattr(takes, "flattens", False))


def served(kind: str, model: Option | None = None) -> dict[str, list[str]]:
    """data set → its features of a kind, the default first; of a ``model`` those that it takes."""
    of_kind = [o for o in options("features") if o.target is not None and o.target.kind == kind]
    features = [o for o in of_kind if model is None or fit(o, model)]
    features_of: dict[str, list[str]] = {}
    for dataset in options("dataset"):
        default = dataset.target.features.get(kind)
        names = [f.name for f in features if dataset.name in readers(f)]
        features_of[dataset.name] = sorted(names, key=lambda name, default=default: name != default)  # type: ignore[misc]
    return {name: names for name, names in features_of.items() if names}


def recipes(dataset: str | None = None, model: str | None = None) -> list[str]:
    """The models that a data set has a recipe with, or the data sets that a model has one with."""
    others = options("model") if model is None else options("dataset")
    pairs = {o.name: f"{dataset}_{o.name}" if model is None else f"{o.name}_{model}" for o in others}
    return [name for name, pair in pairs.items() if Option("recipe", pair).path.exists()]
