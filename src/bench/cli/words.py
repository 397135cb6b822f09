"""The words of a command made ready for Hydra: flags first, and values that are text in quotes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from bench import extensions
from bench.cli.command import Command
from bench.cli.keys import described, keys_of
from bench.mistake import UserError

ALONE = ("-m", "--multirun", "-r", "--run", "--resolve", "--hydra-help", "--version", "-sc", "--shell-completion")
"""Hydra's flags without a value."""
VALUED = (
    "-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir", "-i",
    "--info", "--experimental-rerun",
)  # fmt: skip
"""Hydra's flags that are followed by their value."""
RESUME = ("resume", "continue", "restart")


def arranged(command: Command, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides; Hydra itself takes a flag behind an override for neither.

    UserError for a flag that is none, with the key that was meant.
    """
    flags: list[str] = []
    overrides: list[str] = []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        name = word.partition("=")[0]
        if word in ALONE:
            flags.append(word)
        elif name in VALUED:
            flags += [word] if "=" in word or not remaining else [word, remaining.pop(0)]
        elif word.startswith("--") and switch(command, word[2:]):
            overrides.append(f"{word[2:].replace('-', '_')}=true")
        elif word.startswith("-"):
            raise UserError(_meant(command, word, remaining[0] if remaining else ""))
        else:
            overrides.append(quoted(word, command.texts))
    return flags, overrides


def switch(command: Command, name: str) -> bool:
    """Whether it is a key of the command that is false unless it is said, so that ``--check`` can say it."""
    text = extensions.primary(str(command.config)).read_text(encoding="utf-8")
    return (name.replace("-", "_"), "false") in {(key, value) for key, value, _ in described(text)}


def name_extensions(words: Sequence[str]) -> None:
    """Adds the packages of ``extensions=[…]`` among the words, which decide where options are looked for.

    UserError for one that can't be.
    """
    for word in words:
        key, equals, value = word.partition("=")
        if key.lstrip("+") == "extensions" and equals and value not in ("", "null"):
            extensions.add(name.strip(" '\"") for name in value.strip("[]").split(",") if name.strip())


def quoted(word: str, texts: Mapping[str, str]) -> str:
    """``<key>=<text>`` in quotes where the text is of the form that ``texts`` has for the key, so that Hydra takes it.

    It would stumble over a query's equals signs, and read an identity's digits as a number.
    """
    key, _, text = word.partition("=")
    if not re.fullmatch(texts.get(key, ""), text) or not text:
        return word
    return f'{key}="' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _meant(command: Command, word: str, follows: str) -> str:
    """The sentence on a word that is written as a flag and is none."""
    name, equals, value = word.lstrip("-").partition("=")
    name = name.replace("-", "_")
    if not equals and follows and "=" not in follows and not follows.startswith("-"):
        value = follows
    keys = keys_of(str(command.config))
    if name in RESUME:
        return f"{word} is not needed: the same command again goes on where the last one stopped; leave it out"
    near = [name] if name in keys else [key for key in keys if key.endswith(f".{name}")]
    near = near or difflib.get_close_matches(name, keys, 1, 0.75)
    if near:
        return f"{word} is not written as key=value; write {near[0]}={value or '…'}"
    return f"{word} is not an option; keys are written as key=value, and python -m {command.module} --help lists them"
