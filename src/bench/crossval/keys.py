"""Keys of a recipe's groups that nothing would read: refused before a file is read or made."""

from __future__ import annotations

from typing import Any

from bench import build
from bench.spec import UserError
from bench.targets import PLACEHOLDERS

GIVEN = {
    "dataset": 0, "model": 1, "features": 0, "loss": 3, "split": 1, "row_weights": 3, "synthetic": 0, "pseudo": 0,
    "tta": 0, "optimizer": 1, "scheduler": 4,
}  # fmt: skip
"""How many arguments of a group's target are not the config's: a model's input spec, a loss's logits …"""
NOT_THEIRS = {"dataset": "simulator", "split": "strict"}
"""Keys of a group's node that its target is not given."""
OF_THE_DATA = {"channels", "size", "classes", "sample_rate", "n_classes", "num_classes", "in_chans", "in_channels"}


def refuse_unread(config: dict[str, Any]) -> None:
    """UserError for a key of a group's node that its target does not take, or that stands where nothing is named.

    Of what is composed by list, such as augment, ``build.each`` says so.
    """
    for key in sorted(OF_THE_DATA & set(config["model"])):
        raise UserError(f"model.{key} is decided by the data; leave it out of the model's config")
    for group, n_args in GIVEN.items():
        node = {key: value for key, value in config[group].items() if key != NOT_THEIRS.get(group)}
        if node.get("_target_") not in PLACEHOLDERS:
            build.partial(node, group, n_args)
        elif len(node) > 1:
            extra = ", ".join(f"{group}.{key}" for key in node if key != "_target_")
            raise UserError(f"{extra} would do nothing: name the option it belongs to, {group}=<name>, as well")
    if simulator := config["dataset"].get("simulator"):
        build.partial(simulator, "dataset.simulator", 1)
