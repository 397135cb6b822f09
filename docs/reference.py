"""The reference as Markdown: each command, competition, model and option, from docstrings and the comments of conf/.

It says what ``python -m bench.catalog`` and ``--help`` say, from the same source (``bench.cli.options``).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from importlib import import_module

import bench
from bench import extensions
from bench.__main__ import COMMANDS
from bench.cli import help as help_pages
from bench.cli.command import Command
from bench.cli.keys import described, plus
from bench.cli.options import Option, defaults, fit, groups, options, own_of, readers, recipes, served
from bench.cli.pages import PLURALS, metric

ALONE = ("dataset", "features", "model")
"""Groups whose options have a page each; the others share one."""
TITLES = {**PLURALS, "dataset": "Competitions", "features": "Features", "model": "Models", "row_weights": "Row weights",
          "debug": "Quick looks", "experiments": "Experiments"}  # fmt: skip
LEFT_OUT = ("experiments", "recipe", "hydra", "ensemble")
"""Groups without a page: experiments have one of their own, recipes stand with their models."""
SPECIAL = {"<": "&lt;", "*": "\\*", "_": "\\_", "[": "\\["}
"""What Markdown would read as more than a character → how that character is written."""


def navigation() -> list[dict[str, object]]:
    """The entries of the site's navigation below Reference."""
    entries: list[dict[str, object]] = [{"Python": "reference/python.md"}]
    entries.append({"Commands": [{name: f"reference/commands/{name}.md"} for name in COMMANDS]})
    for group in shown():
        if group in ALONE:
            pages = [{"Overview": f"reference/{group}/index.md"}]
            pages += [{o.name: f"reference/{group}/{o.name}.md"} for o in real(group)]
            entries.append({title(group): pages})
        else:
            entries.append({title(group): f"reference/{group}.md"})
    return entries


def pages() -> dict[str, str]:
    """Where each page is → its Markdown."""
    texts = {"reference/python.md": python()}
    for name in COMMANDS:
        texts[f"reference/commands/{name}.md"] = command(import_module(f"bench.{name}").COMMAND)
    for group in shown():
        if group in ALONE:
            texts[f"reference/{group}/index.md"] = overview(group)
            for option in real(group):
                texts[f"reference/{group}/{option.name}.md"] = f"# {option.name}\n\n{body(option)}\n"
        else:
            texts[f"reference/{group}.md"] = together(group)
    return texts


def shown() -> list[str]:
    return [group for group in groups() if group not in LEFT_OUT]


def page(group: str) -> str:
    """Where a group's page is, below reference/."""
    return f"{group}/index.md" if group in ALONE else f"{group}.md"


def real(group: str) -> list[Option]:
    """The options but for ``features=default``, which stands for another."""
    return [option for option in options(group) if group not in ALONE or option.target is not None]


def title(group: str) -> str:
    return TITLES.get(group, group.capitalize()).partition(",")[0]


def overview(group: str) -> str:
    """A table of a group's options, each with its page."""
    rows = []
    for option in real(group):
        kind = {"dataset": metric, "features": lambda o: o.target.kind, "model": lambda o: o.target.takes}[group](
            option
        )
        rows.append((f"[{option.name}]({option.name}.md)", plain(option.about), plain(kind)))
    head = {"dataset": "metric", "features": "gives", "model": "takes"}[group]
    return f"# {title(group)}\n\n`{group}=` takes one of these.\n\n{table((group, 'what it is', head), rows)}\n"


def kind(option: Option) -> str:
    """Of a competition its metric, of features what they give, of a model what it takes."""
    if option.group == "dataset":
        return metric(option)
    return str(option.target.kind if option.group == "features" else option.target.takes)


def together(group: str) -> str:
    """A group's options one below the other."""
    name = f"{plus(group)}{group}="
    default = defaults().get(group)
    lines = [
        f"# {title(group)}",
        f"`{name}` takes one of these" + (f"; `{default}` where a command names none." if default else "."),
    ]
    for option in options(group):
        lines += [f"## {option.name}", body(option, f"{name}{option.name}")]
    return "\n\n".join(line for line in lines if line) + "\n"


def body(option: Option, written: str | None = None) -> str:
    """What an option is, what it goes with, its keys with their defaults."""
    written = written or f"{option.group}={option.name}"
    comment = "\n".join(option.comment).strip()
    parts = [f"`{written}`", f"```text\n{comment}\n```" if option.tabular else plain(option.said)]
    ours = str(option.node.get("_target_")).startswith("bench.")  # of other people's classes the comment says enough
    if option.document and option.document != option.said and (ours or not option.comment):
        parts.append(paragraphs(option.document))
    if rows := facts(option):
        parts.append("\n".join(f"- {name}: {value}" for name, value in rows))
    if option.keys:
        parts.append(table(("key", "default", ""), [(f"`{k}`", f"`{v}`", plain(c)) for k, v, c in option.keys]))
    if option.group == "model" and (space := sweep(option.name)):
        parts.append(f"**A space to search**, `+sweep={option.name}`:\n\n```yaml\n{space}\n```")
    return "\n\n".join(part for part in parts if part)


def facts(option: Option) -> list[tuple[str, str]]:
    """What goes with it, as links."""
    if option.group == "dataset":
        brings = ", ".join(f"`{group}={name}`" for group, name in option.brings.items())
        kinds = [name for name in ("sequence", "image") if name in option.target.features]
        own = [(f"features for {name} models", links("features", of(name, option.name))) for name in kinds]
        return [
            ("metric", metric(option)),
            ("brings", brings),
            *own,
            ("recipes with", links("model", recipes(dataset=option.name))),
        ]
    if option.group == "features":
        models = [model.name for model in real("model") if fit(option, model)]
        readable = ", ".join(f"{link('dataset', n)}{' (its own)' * (n in own_of(option))}" for n in readers(option))
        return [("gives", option.target.kind), ("reads", readable), ("for", links("model", models))]
    if option.group == "model":
        serve = served(option.target.takes, option).items()
        trains = "; ".join(f"{link('dataset', name)}: {links('features', names)}" for name, names in serve)
        return [
            ("takes", option.target.takes),
            ("trains on", trains),
            ("recipe for", links("dataset", recipes(model=option.name))),
        ]
    bringing = [d.name for d in real("dataset") if d.brings.get(option.group) == option.name]
    return [("brought by", ", ".join(f"[dataset={n}](dataset/{n}.md)" for n in bringing))] if bringing else []


def of(kind: str, dataset: str) -> list[str]:
    return served(kind).get(dataset, [])


def link(group: str, name: str) -> str:
    return f"[{name}](../{group}/{name}.md)"


def links(group: str, names: Iterable[str]) -> str:
    return ", ".join(link(group, name) for name in names) or "none yet"


def sweep(model: str) -> str:
    file = extensions.option("sweep", model)
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def command(described_command: Command) -> str:
    """A command's page: what --help says, and every key with its comment."""
    module = described_command.module
    about = described_command.about.replace("{groups}", ", ".join(groups()))
    parts = [f"# bench.{described_command.name}", f"```sh\npython -m {module} {described_command.usage}\n```"]
    parts.append(about if "\n  " not in about else f"```text\n{about}\n```")
    if examples := help_pages.examples(described_command):
        parts.append("```sh\n" + "\n".join(line.strip() for line in examples) + "\n```")
    if described_command.composed and described_command.config:
        text = extensions.primary(described_command.config).read_text(encoding="utf-8").partition("\n\n")[2]
        if described_command.config == "train":
            parts.append("## Groups\n\n" + ", ".join(f"[{plus(g)}{g}=](../{page(g)})" for g in shown()))
        parts.append("## Keys")
        parts.append(table(("key", "default", ""), [(f"`{k}`", f"`{v}`", plain(c)) for k, v, c in whole(text)]))
    return "\n\n".join(parts) + "\n"


def whole(text: str) -> list[tuple[str, str, str]]:
    """The keys of a config with their whole comments: a comment that goes on in the next line is one comment."""
    return described(re.sub(r"\n +# *(?=\S)", " ", text))


def python() -> str:
    """The calls of ``bench``, from their signatures and docstrings."""
    lines = ["# Python", paragraphs(inspect.cleandoc(bench.__doc__ or ""))]
    for name in bench.__all__:
        call = getattr(bench, name)
        signature = inspect.signature(call)
        words = "".join(f"    {parameter},\n" for parameter in signature.parameters.values()).replace("'", "")
        lines += [f"## bench.{name}", f"```python\nbench.{name}(\n{words}) -> {signature.return_annotation}\n```"]
        lines.append(paragraphs(inspect.cleandoc(call.__doc__ or "")))
    return "\n\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *cells])


def plain(text: str) -> str:
    """A comment as Markdown: what it writes as <run> is no HTML, what it stars is no emphasis."""
    return "".join(SPECIAL.get(character, character) for character in text.replace("\n", " "))


def paragraphs(text: str) -> str:
    """A docstring as Markdown, its ``code`` kept."""
    pieces = re.split(r"(``[^`]+``)", text)
    return "".join(
        piece.replace("``", "`") if piece.startswith("``") else "".join(SPECIAL.get(c, c) for c in piece)
        for piece in pieces
    )
