"""The page that a command's --help prints, made from its config."""

from __future__ import annotations

from bench.cli.errors import _groups
from bench.paths import conf


def help_page(module: str, about: str, config: str) -> str:
    """The door's help: what it does, the groups with their options, and the keys with their comments."""
    root = conf()
    opening, _, keys = (root / f"{config}.yaml").read_text(encoding="utf-8").partition("\n\n")
    keys, training = keys.split("\nhydra:", 1)[0], config == "train"
    groups = [
        f"  {folder.name + '=':11}{', '.join(sorted(p.stem for p in folder.glob('*.yaml')))}"
        for folder in sorted(_groups(config).iterdir())
        if any(folder.glob("*.yaml")) and folder.name != "experiments" and (training or f"- {folder.name}:" in opening)
    ]
    experiments = sorted(p.stem for p in (root / "experiments").glob("*.yaml")) if training else []
    return "\n".join(
        [
            f"usage: python -m {module} [-m] [key=value …]",
            "",
            about,
            "",
            "Groups (an option is a file in conf/<group>, its keys can be set: model.filters=[8,16]):",
            *groups,
            *([f"  +experiments={', '.join(experiments)}"] if experiments else []),
            "",
            "Keys and their defaults:",
            *("  " + line for line in keys.splitlines() if line.strip()),
            "",
            "More: --cfg job prints the composed config; -m runs every combination of key=a,b;",
            "HYDRA_FULL_ERROR=1 shows tracebacks. Exit codes: 0 done, 1 a fold or job failed, 2 a mistake in the",
            "command or the data, 130 interrupted.",
        ]
    )
