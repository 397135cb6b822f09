"""The page that a command's --help prints, made from its description and its config."""

from __future__ import annotations

from bench import extensions
from bench.cli.command import Command
from bench.cli.keys import groups_of

TITLE = "Groups (an option is a file in conf/<group>, its keys can be set: model.filters=[8,16]):"
CODES = """Exit codes: 0 done, 1 a fold or job failed, 2 a mistake in the command or the data, 130 interrupted."""


def help_page(command: Command) -> str:
    """What it does, how it is written, the groups with their options, and the keys with their comments."""
    head = [f"usage: python -m {command.module} {command.usage}", "", command.about]
    if not command.composed or command.config is None:
        return "\n".join([*head, "", CODES]).replace("{groups}", ", ".join(groups_of("train", installed=False)))
    opening, _, keys = extensions.primary(command.config).read_text(encoding="utf-8").partition("\n\n")
    training = command.config == "train"
    options = {
        group: ", ".join(file.stem for file in files)
        for group, files in groups_of(command.config, installed=False).items()
        if training or f"- {group}:" in opening
    }
    experiments = options.pop("experiments", "")
    groups = [f"  {group + '=':11}{names}" for group, names in options.items()]
    return "\n".join(
        [
            *head,
            *(["", TITLE, *groups] if groups else []),
            *([f"  +experiments={experiments}"] if experiments else []),
            "",
            "Keys and their defaults:",
            *("  " + line for line in keys.splitlines() if line.strip()),
            "",
            "More: --cfg job prints the composed config; -m runs every combination of key=a,b;",
            "HYDRA_FULL_ERROR=1 shows tracebacks.",
            CODES,
        ]
    )
