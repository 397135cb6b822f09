"""A command's words composed into a config, by Hydra: where it looks, and what comes out in plain containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from bench import extensions
from bench.cli.schema import register
from bench.paths import conf

Composed = tuple[dict[str, Any], dict[str, str]]
"""The resolved config in plain containers; and group → the name of the option chosen there."""


class Trees(SearchPathPlugin):
    """Where Hydra looks for options after conf/: in the command's own groups, then in the extensions' trees.

    Hydra makes an object of it for each search path and gives it nothing, so the command stands in the class.
    """

    command = ""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in [*extensions.confs(self.command), *extensions.confs()[1:]]:
            search_path.append("bench", f"file://{folder.resolve()}")


def prepare(command: str) -> None:
    """Makes known to Hydra what ``conf/<command>.yaml`` needs: its keys' types, and where its options are."""
    register()
    Plugins.instance().register(Trees)
    for file in (conf() / "hydra" / "launcher").glob("*.yaml"):  # a plugin's schema of that name would refuse our keys
        ConfigStore.instance().repo.get("hydra", {}).get("launcher", {}).pop(file.name, None)
    Trees.command = command


def compose(command: str, words: Sequence[str]) -> Composed:
    """What the command of ``conf/<command>.yaml`` works with when it gets these words; Hydra's errors as they are."""
    if GlobalHydra.instance().is_initialized():  # a command is running
        return plain(hydra.compose(command, list(words), return_hydra_config=True))
    prepare(command)
    with hydra.initialize_config_dir(str(extensions.primary(command).parent), version_base="1.3"):
        return plain(hydra.compose(command, list(words), return_hydra_config=True))


def again(more: Sequence[str]) -> Composed:
    """The running command with more words behind its own."""
    running = HydraConfig.get()
    return compose(str(running.job.config_name), [*running.overrides.task, *more])


def plain(config: DictConfig) -> Composed:
    """A composed config with Hydra's own part, or a job's config, whose part Hydra has put aside."""
    choices = (config.hydra if "hydra" in config else HydraConfig.get()).runtime.choices
    mine = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return OmegaConf.to_container(mine, resolve=True), names(choices)  # type: ignore[return-value]


def names(choices: Mapping[Any, Any]) -> dict[str, str]:
    """group → option, of what Hydra calls its choices; several of one group with commas between them."""
    groups = ((str(group), option) for group, option in choices.items())
    return {g: o if isinstance(o, str) else ",".join(o) for g, o in groups if "/" not in g and o}
