"""A run trained again from its own config.yaml: ``--config-path <run> --config-name config``.

Of the folder only what decides the result is taken: where files are, where runs go and where they are tracked is the
command's own, and so are extensions. What a folder says may come from anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import extensions
from bench.runs import inputs, inside, recipe
from bench.runs.records import plain
from bench.runs.run import Run
from bench.spec import UserError

NAME = "repeat"
"""What Hydra calls the config that is composed of a run's."""
PATH = ("-cp", "--config-path")
FOLDER = (*PATH, "-cd", "--config-dir")
CONFIG = ("-cn", "--config-name")
RERUN = "--experimental-rerun"


def run_of(flags: Sequence[str]) -> Path | None:
    """The run's folder that Hydra's flags name; None where none of them names another config than the command's.

    UserError for any other folder: Hydra would call what its config names, such as callbacks, before anything is
    checked.
    """
    if any(flag.partition("=")[0] == RERUN for flag in flags):
        raise UserError(
            f"{RERUN} reads a pickle, which may hold any code; write --config-path <run> --config-name config"
        )
    folder, name = _value(flags, FOLDER), _value(flags, CONFIG)
    if folder is None or (name is None and _value(flags, PATH) is None):
        return None
    path, files = Path(folder).resolve(), (recipe.FILE, inputs.FILE)
    missing = [file for file in files if not (path / file).is_file()]
    if (name or "config").removesuffix(".yaml") == "config" and not missing:
        return path
    reason = f"it has no {missing[0]}" if missing else f"a run's is called config, not {name}"
    raise UserError(
        f"{folder} is not taken as a config: {reason}. --config-path takes a finished run's folder, with --config-name "
        "config; options of your own go into a package (extensions=)"
    )


def without_folder(flags: Sequence[str]) -> list[str]:
    """Hydra's flags without those that name the run."""
    kept, remaining = [], list(flags)
    while remaining:
        flag = remaining.pop(0)
        if flag.partition("=")[0] in (*FOLDER, *CONFIG):
            remaining = remaining if "=" in flag else remaining[1:]
        else:
            kept.append(flag)
    return kept


def register(folder: Path, words: Sequence[str]) -> dict[str, str]:
    """Makes the run's recipe known to Hydra under ``NAME``; returns the names of its groups' options.

    UserError for a folder that holds no recipe of a training, and for words that would choose another option.
    """
    import yaml
    from hydra.core.config_store import ConfigStore

    primary = yaml.safe_load(extensions.primary("train").read_text(encoding="utf-8"))
    run = Run.open(folder)
    try:
        run_recipe, names = run.recipe, run.inputs.names
    except UserError as error:
        raise UserError(f"{error}; repeat the run by its command") from error
    if "${" in (folder / recipe.FILE).read_text(encoding="utf-8"):
        raise UserError(f"{folder / recipe.FILE} is not the recipe of a training; repeat the run by its command")
    for word in words:
        key = word.partition("=")[0].lstrip("+~")
        if key in recipe.groups(recipe.Recipe):
            raise UserError(
                f"{word}: a run that is repeated keeps its options; set their keys ({key}.<key>=…), or write the whole "
                "command for others"
            )
    _refuse_elsewhere(run, run_recipe, words)
    defaults = [entry for entry in primary.pop("defaults") if not isinstance(entry, dict) or _is_hydras(entry)]
    node: dict[str, Any] = {"defaults": defaults, **primary}
    node |= {key: value for key, value in plain(run_recipe).items() if key not in run_recipe.elsewhere}
    ConfigStore.instance().store(NAME, node)
    return dict(names)


def _refuse_elsewhere(run: Run, run_recipe: recipe.Recipe, words: Sequence[str]) -> None:
    """UserError for a path that only the folder says, and that leads out of the outputs that the folder lies in."""
    outputs = inside.outputs_of(run.folder)
    told = {
        "dataset.root": run_recipe.dataset.get("root"),
        "init_from": run_recipe.init_from,
        "model.weights": run_recipe.model.get("weights"),
        "pseudo.runs": run_recipe.pseudo.get("runs"),
    }
    given = {word.partition("=")[0].lstrip("+~") for word in words}
    for key, value in told.items():
        paths = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        for path in paths if key not in given else []:
            if not inside.within(Path(str(path)), outputs):
                written = f"[{','.join(map(str, value))}]" if isinstance(value, list) else path
                reason = f"{run.folder} names {key}={path}, which is not in {outputs}"
                raise UserError(f"{reason}; where you trust it, add {key}={written}")


def _is_hydras(entry: dict[str, Any]) -> bool:
    return any("hydra/" in key for key in entry)


def _value(flags: Sequence[str], names: Sequence[str]) -> str | None:
    """The value of the last of such flags."""
    value = None
    for place, flag in enumerate(flags):
        name, equals, text = flag.partition("=")
        if name in names:
            value = text if equals else next(iter(flags[place + 1 :]), None)
    return value
