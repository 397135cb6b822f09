"""The pages of a command's --help: one that fits a screen, and with ``all`` every option and key."""

from __future__ import annotations

import shutil
import textwrap
from importlib import import_module

from bench import extensions
from bench.cli.command import Command
from bench.cli.keys import described, groups_of, plus

TITLE = "Groups (an option is a file in conf/<group>, its keys can be set: model.filters=[8,16]):"
CODES = """Exit codes: 0 done, 1 a fold or job failed, 2 a mistake in the command or the data, 130 interrupted."""
ALL = "all"
"""The word behind --help that asks for everything."""
LINES, WIDEST = 24, 120
"""Of a screen; wider ones are not filled, since long lines are hard to read."""
OFTEN = ("dataset", "model", "features", "loss", "split", "augment")
"""Groups whose options the short page shows; it names the others."""
ABOUT_LINES, MOST_EXAMPLES = 3, 2


def help_page(command: Command, everything: bool, width: int | None = None) -> str:
    """The short page, or ``everything``; ``width`` columns wide, else as wide as the terminal."""
    width = min(width or shutil.get_terminal_size().columns, WIDEST)
    usage = f"usage: python -m {command.module} {command.usage}"
    if not command.composed or command.config is None:
        about = command.about.replace("{groups}", ", ".join(groups_of("train", installed=False)))
        return "\n".join([usage, "", *_wrapped(about, width), "", *examples(command), "", *_wrapped(CODES, width)])
    return _whole(command, usage, width) if everything else _short(command, usage, width)


def examples(command: Command) -> list[str]:
    """The commands in the docstring of its module."""
    text = import_module(command.module).__doc__ or ""
    return [f"  {line}" for line in text.splitlines() if " -m bench." in line]


def _short(command: Command, usage: str, width: int) -> str:
    """What it does in a sentence or two, the groups and keys that are set most often, and examples."""
    options = _options(command)
    shown = [group for group in OFTEN if group in options] if len(options) > len(OFTEN) else list(options)
    others = [f"{plus(group)}{group}=" for group in options if group not in shown]
    head = [usage, "", *_first_sentences(command.about, width), ""]
    if shown:
        head += [_cut(f"  {group + '=':11}{', '.join(options[group])}", width) for group in shown]
    if others:
        head += textwrap.wrap(f"  also: {' '.join(others)}", width, subsequent_indent=" " * 8)
    more = f"--help {ALL}: every option and key; python -m bench.catalog explains the options"
    foot = ["", *(_cut(line, width) for line in examples(command)[:MOST_EXAMPLES]), "", more]
    return "\n".join([*head, *_keys(command, width)[: LINES - len(head) - len(foot)], *foot])


def _whole(command: Command, usage: str, width: int) -> str:
    """What it does, the groups with their options, and the keys with their comments."""
    _, _, keys = extensions.primary(str(command.config)).read_text(encoding="utf-8").partition("\n\n")
    options = _options(command).items()
    groups = [line for group, names in options for line in _listed(f"{plus(group)}{group}=", names, width)]
    return "\n".join(
        [
            *(usage, "", *_wrapped(command.about, width)),
            *(["", TITLE, *groups] if groups else []),
            *("", "Keys and their defaults:"),
            *("  " + line for line in keys.splitlines() if line.strip()),
            *("", *examples(command), ""),
            *("More: --cfg job prints the composed config; -m runs every combination of key=a,b;",),
            "HYDRA_FULL_ERROR=1 shows tracebacks.",
            *_wrapped(CODES, width),
        ]
    )


def _options(command: Command) -> dict[str, list[str]]:
    """group → the names of its options, of the groups that the command has."""
    opening, _, _ = extensions.primary(str(command.config)).read_text(encoding="utf-8").partition("\n\n")
    groups = {
        group: [file.stem for file in files]
        for group, files in groups_of(str(command.config), installed=False).items()
        if command.config == "train" or f"- {group}:" in opening
    }
    return dict(sorted(groups.items(), key=lambda pair: plus(pair[0])))


def _keys(command: Command, width: int) -> list[str]:
    """A line a key: those that the command says are set most often, else all in their order."""
    _, _, text = extensions.primary(str(command.config)).read_text(encoding="utf-8").partition("\n\n")
    known = {key: (value, comment) for key, value, comment in described(text)}
    chosen = command.often or tuple(known)
    words = {key: f"{key}={known[key][0]}" for key in chosen}
    column = max(map(len, words.values())) + 2
    return [_cut(f"  {words[key]:{column}}{known[key][1].partition(';')[0]}".rstrip(), width) for key in chosen]


def _first_sentences(text: str, width: int) -> list[str]:
    """As many of the first sentences as a few lines hold, at least one."""
    sentences = " ".join(text.split()).replace(". ", ".\n").splitlines()
    kept = sentences[:1]
    for sentence in sentences[1:]:
        if len(textwrap.wrap(" ".join([*kept, sentence]), width)) > ABOUT_LINES:
            break
        kept.append(sentence)
    return textwrap.wrap(" ".join(kept), width)


def _wrapped(text: str, width: int) -> list[str]:
    """Its paragraphs at this width; a line that begins with spaces stays one."""
    paragraphs: list[str] = []
    for line in text.splitlines():
        if paragraphs and paragraphs[-1].strip() and line.strip() and not line.startswith(" "):
            paragraphs[-1] += " " + line
        else:
            paragraphs.append(line)
    wrap = textwrap.TextWrapper(width, break_on_hyphens=False)
    return [line for text in paragraphs for line in ([text] if text.startswith(" ") else wrap.wrap(text) or [""])]


def _listed(name: str, names: list[str], width: int) -> list[str]:
    return textwrap.wrap(f"  {name:11}{', '.join(names)}", width, subsequent_indent=" " * 13, break_on_hyphens=False)


def _cut(line: str, width: int) -> str:
    """On one line, cut at a word."""
    if len(line) <= width:
        return line
    return line[: width - 1].rpartition(" ")[0].rstrip(",") + " …"
