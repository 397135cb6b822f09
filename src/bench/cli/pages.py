"""The pages of ``python -m bench.catalog``: the options, what they fit, and models' parameter counts."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import build
from bench.cli.compose import compose
from bench.cli.grids import table
from bench.cli.keys import plus
from bench.cli.options import Option, asked, defaults, fit, groups, options, own_of, readers, recipes, served
from bench.runs.recipe import Recipe, composed
from bench.spec import InputSpec, UserError
from bench.tell import console

if TYPE_CHECKING:
    from rich.console import Console

    from bench.datasets.base import Dataset

Facts = list[tuple[str, str]]
FEW = "FEW"
"""A simulator's module may hold settings of this name: those that make few files, with every class and true lengths."""
PAGED = ("dataset", "features", "model")
"""Groups that the overview gives a table of their own; the others share one."""
PLURALS = {
    "augment": "Augmentations",
    "loss": "Losses",
    "optimizer": "Optimizers",
    "pseudo": "Pseudo-labels",
    "recipe": "Recipes, taken with their pair",
    "scheduler": "Schedulers",
    "split": "Splits",
    "synthetic": "Synthetic rows",
    "tta": "Views at test time",
}


@dataclass(frozen=True)
class Source:
    """An opened data set (by its option's name) and a description of its files."""

    name: str
    dataset: Dataset
    files: str
    temporary: bool


@dataclass(frozen=True)
class Asked:
    """A request: its words, selected options (group → option), recipe, and data set if selected."""

    words: list[str]
    selected: dict[str, str]
    recipe: Recipe
    source: Source | None = None

    def node(self, option: Option) -> Mapping[str, Any]:
        """The option's config, including the words' overrides if the option is selected."""
        return getattr(self.recipe, option.group) if self.selected.get(option.group) == option.name else option.node


def show(words: Sequence[str]) -> None:
    """Prints what ``words``, those of a training command, choose: each at length; everything in short without one.

    Raises UserError, or Hydra's errors, for words that the training command would refuse.
    """
    screen = console(markup=False)
    selected = asked(words)
    words = [plus(word.partition("=")[0]) + word for word in words]
    recipe, choices = as_recipe(words)
    for word in words:  # dataset.root=… alone speaks of the data set that the command would take
        group = word.partition(".")[0].lstrip("+")
        if group in choices and group in groups():
            selected.setdefault(group, choices[group])
    if not selected:
        everything(screen, words)
        return
    with ExitStack() as stack:
        source = None
        try:
            source = stack.enter_context(opened(selected["dataset"], recipe)) if "dataset" in selected else None
        except UserError as error:
            if set(selected) != {"dataset", "split"}:  # a split needs the table alone
                raise
            screen.print(f"! {error}")
            del selected["dataset"]
        request = Asked(words, selected, recipe, source)
        for group in sorted(selected, key=groups().index):
            page(screen, Option(group, selected[group]), request)


def as_recipe(words: Sequence[str]) -> tuple[Recipe, dict[str, str]]:
    """The recipe that a training command of these words would have, and the options that it chooses."""
    config, choices = compose("train", words)
    return composed(Recipe, config, "bench.train"), choices


@contextmanager
def opened(name: str, recipe: Recipe) -> Iterator[Source]:
    """The data set on its files; without any, on a few simulated ones that are deleted at the end."""
    from bench.datasets.root import is_simulated
    from bench.training import parts

    node = recipe.dataset
    files = parts.files(node, recipe.data)
    with tempfile.TemporaryDirectory() as folder:
        root = files.placed()
        place = f"{root}, SIMULATED" if root and is_simulated(root) else str(root)
        if root is None:
            if simulator := node.get("simulator"):
                few = getattr(sys.modules[build.locate(simulator, "dataset.simulator").__module__], FEW, {})
                files = parts.files({**node, "simulator": {**simulator, **few}}, recipe.data)
            files.make(Path(folder))
            place = f"simulated for this page, as {files.usual} is not there and dataset.root not given"
        yield Source(name, parts.dataset(node, root or Path(folder)), place, root is None)


def everything(console: Console, words: Sequence[str]) -> None:
    """All options of all groups, a line or two each."""
    console.print("What python -m bench.train can be told, each as group=option; * where a command names none.")
    console.print("One at length, with its keys: python -m bench.catalog model=wavenet. Models' parameter counts:")
    console.print("python -m bench.catalog dataset=heartbeat.")
    sets: list[tuple[str, ...]] = []
    features: list[tuple[str, ...]] = []
    troubles: list[str] = []
    with ExitStack() as stack:
        sources: list[Source] = []
        for option in options("dataset"):
            recipe, _ = as_recipe([*words, f"dataset={option.name}"])
            sets.append((star(option), f"{option.about}\n{metric(option)}; {brings(option, recipe)}"))
            try:
                sources.append(stack.enter_context(opened(option.name, recipe)))
            except UserError as error:
                troubles.append(f"{option.name}: {error}")
        for option in options("features"):
            if option.target is None:
                continue
            shapes = dict.fromkeys(shape(spec_on(s, option.node)) for s in sources if s.name in readers(option))
            name = f"{option.name} *" if own_of(option) else option.name
            gives = f"{option.target.kind}, {' or '.join(shapes)}" if shapes else option.target.kind
            features.append((name, f"{option.about}\n{gives}; reads {', '.join(readers(option))}"))
    table(console, "Data sets, dataset=", ("", ""), sets)
    table(console, "Features, features= (* the data set's own for models of that kind)", ("", ""), features)
    if simulated := [source.name for source in sources if source.temporary]:
        console.print(
            f"Shapes of {', '.join(simulated)}: of a few files simulated for this page, as there are no others here."
        )
    for trouble in troubles:
        console.print(f"! {trouble}")
    for kind in dict.fromkeys(option.target.takes for option in options("model")):
        models = [option for option in options("model") if option.target.takes == kind]
        rows = [(star(option), option.about, ", ".join(recipes(model=option.name))) for option in models]
        title = f"Models that take {a(kind)}, model= (on {', '.join(served(kind)) or 'no data set yet'})"
        table(console, title, ("", "", "recipe for"), rows)
    for group in groups():
        if group not in PAGED:
            title = f"{PLURALS.get(group, group.replace('_', ' ').capitalize())}, "
            title += f"{plus(group)}{group}="
            table(console, title, ("", ""), [(star(option), option.about) for option in options(group)])


def page(console: Console, option: Option, request: Asked) -> None:
    """One option at length: what it is, what it goes with, its own keys."""
    console.print(f"\n{option.group}={option.name}", style="bold")
    if option.said:
        console.print(option.said, soft_wrap=True if option.tabular else None)
    if option.document:
        console.print(f"\n{option.document}")
    facts = {"dataset": of_dataset, "features": of_features, "model": of_model}.get(option.group, of_other)
    table(console, "", ("", ""), facts(option, request))
    if option.group == "dataset":
        on_dataset(console, request)
    if option.keys:
        table(console, "Keys", ("", "default", ""), option.keys)
    if option.group == "split":
        on_split(console, request)


def of_dataset(option: Option, request: Asked) -> Facts:
    assert request.source is not None  # show() opens the data set that is chosen
    dataset = request.source.dataset
    names = ", ".join(dataset.classes[:12]) + (", …" if len(dataset.classes) > 12 else "")
    rows = [
        ("metric", metric(option)),
        ("brings", brings(option, request.recipe)),
        ("recipe with", ", ".join(recipes(dataset=option.name)) or "no model yet"),
        ("files", request.source.files),
        ("classes", f"{len(dataset.classes)}: {names}"),
    ]
    if not request.source.temporary:
        train, test = len(dataset.table("train")), len(dataset.table("test"))
        rows.append(("examples", f"{train:,} to train on, {test:,} to predict"))
    return rows


def of_features(option: Option, request: Asked) -> Facts:
    if option.target is None:
        return []
    takers = [model.name for model in options("model") if fit(option, model)]
    rows = [
        ("gives", a(option.target.kind)),
        ("reads", ", ".join(f"{name} (its own)" if name in own_of(option) else name for name in readers(option))),
        ("for", ", ".join(takers) or "no model yet"),
    ]
    with ExitStack() as stack:
        for name in readers(option):
            source = request.source
            if source is None:
                source = stack.enter_context(opened(name, as_recipe([*request.words, f"dataset={name}"])[0]))
            if source.name == name:
                spec = spec_on(source, request.node(option))
                rows.append(("shape", f"{shape(spec)}, {spec.n_classes} classes ({name}: {source.files})"))
    return rows


def of_model(option: Option, request: Asked) -> Facts:
    serve = [f"{name} ({', '.join(features)})" for name, features in served(option.target.takes, option).items()]
    rows = [
        ("takes", a(option.target.takes)),
        ("trains on", "\n".join(serve) or "no data set yet"),
        ("recipe for", ", ".join(recipes(model=option.name)) or "no data set yet"),
    ]
    if request.source is None:
        rows.append(("parameters", f"as the data has it: python -m bench.catalog model={option.name} dataset=…"))
    return rows


def of_other(option: Option, request: Asked) -> Facts:
    bringing = [dataset.name for dataset in options("dataset") if dataset.brings.get(option.group) == option.name]
    rows = [("brought by", f"dataset={', '.join(bringing)}")] if bringing else []
    return rows + ([("taken", "where a command names none")] if defaults().get(option.group) == option.name else [])


def on_dataset(console: Console, request: Asked) -> None:
    """The data set's features with their shapes, and the parameter count of each model that takes one."""
    assert request.source is not None
    name = request.source.name
    rows: list[tuple[str, ...]] = []
    inputs: dict[str, tuple[Option, InputSpec]] = {}
    for option in options("features"):
        selected = request.selected.get("features") == option.name
        if option.target is None or name not in readers(option):
            if option.target is not None and selected:
                raise UserError(
                    f"features={option.name} reads {' or '.join(readers(option))}, not {name}; leave one out"
                )
            continue
        is_default, spec = name in own_of(option), spec_on(request.source, request.node(option))
        rows.append((f"{option.name} *" if is_default else option.name, spec.kind, shape(spec), option.about))
        if selected or (is_default and spec.kind not in inputs):
            inputs[spec.kind] = (option, spec)
    table(console, "Its features (* where a command names none)", ("", "gives", "shape", ""), rows)
    rows, others = [], []
    kinds = sorted(inputs, key=["sequence", "image"].index)
    models = [o for kind in kinds for o in options("model") if o.target.takes == kind]
    for option in models + [o for o in options("model") if o not in models]:
        if request.selected.get("model", option.name) != option.name:
            continue
        if option.target.takes not in inputs:
            others.append(f"{option.name} takes {a(option.target.takes)}")
            continue
        features, spec = inputs[option.target.takes]
        if not fit(features, option):
            others.append(f"{option.name} looks for order in {features.name}")
            continue
        try:
            count = f"{parameters(request.node(option), spec):,}"
        except UserError:
            if "model" in request.selected:
                raise
            count = "does not fit"
        rows.append((star(option), count, features.name, shape(spec)))
    table(console, "Models on it, with their trained parameters", ("", ">parameters", "from", "shape"), rows)
    if others:
        console.print(f"Not on {name} with these features: {', '.join(others)}.")


def on_split(console: Console, request: Asked) -> None:
    """What the split makes of the data set's training table, where there is one."""
    from bench.training.split_table import of_files

    if folds := of_files(request.recipe.dataset, request.recipe.split, request.recipe.data):
        table(console, folds.title, folds.columns, folds.rows)
        console.print("\n".join(folds.notes))


def parameters(node: Mapping[str, Any], spec: InputSpec) -> int:
    """Trained parameters of a model for ``spec``, without memory or arithmetic; UserError where the two don't fit."""
    import torch

    from bench.training import parts

    try:
        with torch.device("meta"):
            model = parts.model(node, spec)
            model.eval()(torch.empty(2, *spec.shape))
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        why = str(error).splitlines()[0]
        raise UserError(
            f"model={node} does not take {a(spec.kind)} of {shape(spec)}: {why}; choose other options"
        ) from error
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def spec_on(source: Source, node: Mapping[str, Any]) -> InputSpec:
    from bench.training import parts

    return parts.features(parts.with_signal(node, type(source.dataset))).spec(source.dataset)


def a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def shape(spec: InputSpec) -> str:
    return " × ".join(map(str, spec.shape))


def star(option: Option) -> str:
    return f"{option.name} *" if defaults().get(option.group) == option.name else option.name


def metric(dataset: Option) -> str:
    scorer = dataset.target.metric
    return f"{scorer.name}, {scorer.direction.sentence}"


def brings(dataset: Option, recipe: Recipe) -> str:
    folds = recipe.split.get("n_splits")
    choices = [f"{group}={name}" for group, name in dataset.brings.items()]
    return ", ".join(choices) + (f" ({folds} folds)" if folds and "split" in dataset.brings else "")
