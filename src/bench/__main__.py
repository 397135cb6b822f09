"""``bench <command> …`` and ``python -m bench <command> …``: the commands by name, and what each is for."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

import bench
from bench.cli.door import run
from bench.cli.errors import MISTAKE, say_mistake

COMMANDS = (
    "prepare",
    "train",
    "predict",
    "ensemble",
    "adopt",
    "compare",
    "leaderboard",
    "clean",
    "track",
    "catalog",
    "doctor",
)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command that the first word names on the others; lists the commands without one."""
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help", "help"):
        print(page())
        return 0
    name, *others = words
    if name in ("--completion", "--complete"):
        return _completion(name, others)
    if name == "--version":
        print(f"bench {bench.__version__}")
        return 0
    if name in COMMANDS:
        return run(import_module(f"bench.{name}").COMMAND, others)
    near = difflib.get_close_matches(name, COMMANDS, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    if "=" in name:
        meant = f"the command's name comes first, as in bench train {' '.join(words)}; "
    say_mistake(f"{name} is not a command; {meant}there are {', '.join(COMMANDS)}")
    return MISTAKE


def page() -> str:
    """The commands, with the first sentence of what each module says of itself."""
    modules = {name: import_module(f"bench.{name}") for name in COMMANDS}
    return "\n".join(
        [
            "usage: bench <command> [key=value …]",
            "",
            "Cross-validated, tracked, resumable training for competitions on signals. Commands:",
            "",
            *(f"  {name:12}{(module.__doc__ or '').partition(chr(10))[0]}" for name, module in modules.items()),
            "",
            "bench <command> --help tells of one; python -m bench.<command> is the same command.",
            "bench --completion bash (or zsh, fish) prints what completes its words in that shell.",
            "A first try, on simulated data: bench train dataset=heartbeat model=mlp",
        ]
    )


def _completion(name: str, words: list[str]) -> int:
    """Prints a shell's script, or, as that asks, the words that a line may go on with."""
    from bench.cli import completion

    shell = words[0] if words else ""
    if shell not in completion.SCRIPTS:
        say_mistake(f"bench {name} {shell or '…'}: name a shell, one of {', '.join(completion.SCRIPTS)}")
        return MISTAKE
    if name == "--completion":
        print(completion.SCRIPTS[shell], end="")
        return 0
    line = words[1] if len(words) > 1 else ""
    commands = {name: None if name not in line else import_module(f"bench.{name}").COMMAND for name in COMMANDS}
    print("\n".join(completion.shown(completion.candidates(line, commands), shell, line.split(" ")[-1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
