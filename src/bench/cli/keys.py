"""The keys that a command has: its own, and those of its groups' options, as they stand in the YAML files."""

from __future__ import annotations

import re
from pathlib import Path

from bench import extensions

PACKAGE = "# @package _global_"
"""The line of an option whose keys stand at the top of the config, and not below its group's name."""

ADDED = ("experiments", "debug")
"""Groups whose options no command has of its own accord: they are added with a plus."""
KEY = re.compile(r"(?P<indent> *)(?P<key>[\w/]+):(?: +(?P<value>[^\s#](?:.*?)))?(?:\s+#\s*(?P<comment>.*))?\s*$")


def described(text: str, group: str | None = None) -> list[tuple[str, str, str]]:
    """(dotted key, default, comment) of each key of a YAML text, those of a ``group`` below its name.

    A parser would lose the comments.
    """
    rows: list[tuple[str, str, str]] = []
    above: list[tuple[int, str]] = [] if group is None else [(-1, group)]
    for line in text.splitlines():
        match = KEY.match(line)
        if match is None or match["key"] in ("_target_", "defaults") or "/" in match["key"]:
            continue
        indent = len(match["indent"])
        while above and above[-1][0] >= indent:
            above.pop()
        dotted = ".".join([*(key for _, key in above), match["key"]])
        if match["value"] is None:
            above.append((indent, match["key"]))
        else:
            rows.append((dotted, match["value"], match["comment"] or ""))
    return rows


def plus(group: str) -> str:
    """What stands before a group's name on the command line."""
    return "+" * (group in ADDED)


def groups_of(config: str, installed: bool = True) -> dict[str, list[Path]]:
    """group → the files of its options; those of conf/<config> where a command has groups of its own, as ensembles do.

    Without ``installed`` those of extensions are left out that no command has named.
    """
    groups: dict[str, list[Path]] = {}
    for tree in extensions.confs(config, installed) or extensions.confs(installed=installed):
        for folder in sorted(tree.iterdir()):
            if folder.name == "sweep":  # spaces of searches, whose keys are others'
                continue
            groups.setdefault(folder.name, []).extend(sorted(folder.glob("*.yaml")))
    return {group: files for group, files in sorted(groups.items()) if files}


def keys_of(config: str) -> dict[str, list[str]]:
    """Dotted keys of a command's config and of its groups' options; with the options that have them."""
    import yaml

    keys: dict[str, list[str]] = {}
    for key, value in yaml.safe_load(extensions.primary(config).read_text(encoding="utf-8")).items():
        if key not in ("defaults", "hydra"):
            keys |= {key: []} | ({f"{key}.{k}": [] for k in value} if isinstance(value, dict) else {})
    for group, files in groups_of(config).items():
        keys.setdefault(group, [])
        for file in files:
            text = file.read_text(encoding="utf-8")
            node = yaml.safe_load(text) or {}
            if PACKAGE in text:  # its keys are the command's own
                node = node.get(group) or {}
            for key in node or ():
                keys.setdefault(f"{group}.{key}", []).append(file.stem)
    return keys
