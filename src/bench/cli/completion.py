"""Completion in shells: what may follow a command line that is half typed, and the scripts that ask for it.

Hydra's own completion knows ``python script.py`` alone, neither ``bench train`` nor a module, and takes a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench import extensions
from bench.cli.command import Command
from bench.cli.keys import described, groups_of, plus

BASH = """_bench_complete() {
    local IFS=$'\\n'
    COMPREPLY=($(bench --complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
}
complete -o nospace -F _bench_complete bench
"""
ZSH = """#compdef bench
_bench_complete() {
    local -a words
    words=("${(@f)$(bench --complete zsh "$LBUFFER" 2>/dev/null)}")
    compadd -S '' -- $words
}
compdef _bench_complete bench
"""
FISH = """complete -c bench -f -a '(bench --complete fish (commandline -cp) 2>/dev/null)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
RUNS = ("run", "runs")


def candidates(line: str, commands: Mapping[str, Command | None], outputs: Path = Path("outputs")) -> list[str]:
    """The words that the last one of ``line`` may become; ``commands`` has those of bench by their names."""
    words = line.split(" ")
    typed, last = [word for word in words[1:-1] if word], words[-1]
    if not typed:
        return _beginning([*(f"{name} " for name in commands), "--help ", "--version "], last)
    command = commands.get(typed[0])
    if command is None or command.config is None:
        return []
    signed = "+" if last.startswith("+") else ""
    key, equals, _ = last.removeprefix("+").partition("=")
    groups = {group: [file.stem for file in files] for group, files in groups_of(command.config).items()}
    if equals:
        values = groups.get(key) or (_runs(outputs) if key in RUNS else [])
        return _beginning([f"{signed}{key}={value} " for value in values], last)
    chosen = dict(word.partition("=")[::2] for word in typed if "=" in word)
    names = [key for key, _, _ in described(extensions.primary(command.config).read_text(encoding="utf-8"))]
    group = key.partition(".")[0]
    if "." in key and chosen.get(group) in groups.get(group, []):
        text = extensions.option(group, chosen[group]).read_text(encoding="utf-8")
        names += [key for key, _, _ in described(text, group)]
    offered = [f"{signed}{name}=" for name in names] + [f"{plus(group) or signed}{group}=" for group in groups]
    return _beginning([*offered, "--help ", "-m "], last)


def shown(words: list[str], shell: str, last: str) -> list[str]:
    """The candidates as this shell takes them: bash puts in what stands behind an equals sign alone."""
    if shell == "bash" and "=" in last:
        return [word.partition("=")[2] for word in words]
    return words if shell == "bash" else [word.rstrip() for word in words]


def _beginning(words: list[str], start: str) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(start)]


def _runs(outputs: Path) -> list[str]:
    return ["latest", "best", *sorted(path.parent.name for path in outputs.glob("*/*/*/inputs.json"))]
