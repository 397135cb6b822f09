"""Every file below conf/: it composes, what it names exists, and every model can be compiled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
import torch

from bench import build
from bench.cli.compose import compose as as_composed
from bench.cli.keys import ADDED
from bench.cli.schema import SCHEMAS, unread
from bench.datasets.base import Dataset
from bench.paths import conf
from bench.runs.records import plain
from bench.spec import InputSpec, Kind
from conftest import compose
from tiny import load, node, options, raw_files

GROUPS = sorted(p.name for p in conf().iterdir() if p.is_dir() and p.name not in ("recipe", "sweep", *ADDED))
OPTIONS = [(g, o) for g in GROUPS for o in options(g)]
MODELS, DATASETS = options("model"), options("dataset")
RECIPES = options("recipe")
BLENDS = ("freesound_pair", "heartbeat_stacking")  # these are bench.ensemble's
EXPERIMENTS = [name for name in options("experiments") if name not in BLENDS]


def takes(model: str) -> Kind:
    return build.locate(node("model", model), "model").takes  # type: ignore[attr-defined]


def targets(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "_target_":
                yield value
            else:
                yield from targets(value)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group: str, option: str) -> None:
    config, names = compose(f"{group}={option}")
    assert names[group] == option
    assert set(targets(plain(config)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_composes_with_its_pair(recipe: str) -> None:
    dataset, _, model = recipe.partition("_")
    pair = [f"dataset={dataset}", f"model={model}"] if model else ["recipe=none"]
    config, names = compose(*pair)
    assert names.get("recipe") == recipe
    assert load(conf() / "recipe" / f"{recipe}.yaml").get("train", {}).items() <= asdict(config.train).items()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment: str) -> None:
    config, _ = as_composed("train", [f"+experiments={experiment}"])
    assert unread(config, SCHEMAS["train"]) == [], "nothing would read these keys"


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, o in OPTIONS if o not in ("default", "none")])
def test_an_option_has_the_name_of_its_module_or_function(group: str, option: str) -> None:
    target = node(group, option)["_target_"]
    assert option in [part.lower() for part in target.split(".")[-2:]]


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, InputSpec]:
    """kind of model → the spec that heartbeats give it, from a few simulated files."""
    root = raw_files("heartbeat", tmp_path_factory.mktemp("heartbeat"))
    dataset: Dataset = build.build({"_target_": node("dataset", "heartbeat")["_target_"], "root": str(root)}, "dataset")
    return {
        kind: build.build(node("features", features), "features").spec(dataset)
        for kind, features in dataset.features.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_captured_as_a_graph(specs: dict[str, InputSpec], model: str) -> None:
    """tests/test_matrix.py trains it on every data set; this is what torch.compile asks of its code besides."""
    spec = specs[takes(model)]
    torch.manual_seed(0)
    net, x = build.build(node("model", model), "model", spec).eval(), torch.randn(2, *spec.shape)
    with torch.no_grad():
        compiled = torch.compile(net, backend="eager")(x)  # needs no C++ compiler
        torch.testing.assert_close(compiled, net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_compiled_mlp_trains_like_itself(specs: dict[str, InputSpec]) -> None:
    spec = specs["sequence"]
    net = build.build(node("model", "mlp"), "model", spec)
    x = torch.randn(4, *spec.shape)
    torch.testing.assert_close(torch.compile(net)(x), net(x), rtol=1e-4, atol=1e-5)


def test_a_model_yaml_repeats_nothing_that_the_data_says() -> None:
    facts = {"channels", "size", "length", "classes", "n_classes", "num_classes", "in_channels", "in_chans"}
    for model in MODELS:
        assert not facts & set(load(conf() / "model" / f"{model}.yaml"))
