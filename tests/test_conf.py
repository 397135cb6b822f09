"""Every file below conf/: it composes, what it names exists, and every model trains on every data set it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench import build
from bench.cli import conf
from bench.datasets.base import Dataset
from bench.spec import InputSpec
from conftest import compose

GROUPS = ("augment", "dataset", "features", "loss", "model", "optimizer", "scheduler", "split")
OPTIONS = [(g, p.stem) for g in GROUPS for p in sorted((conf() / g).glob("*.yaml"))]
MODELS = sorted(p.stem for p in (conf() / "model").glob("*.yaml"))
DATASETS = sorted(p.stem for p in (conf() / "dataset").glob("*.yaml"))
RECIPES = sorted(p.stem for p in (conf() / "recipe").glob("*.yaml"))
EXPERIMENTS = sorted(p.stem for p in (conf() / "experiments").glob("*.yaml"))
TINY = {
    "hms": {"n_eegs": 6, "n_patients": 3, "n_test": 1, "seed": 0},
    "heartbeat": {"n_train": 40, "n_test": 4, "length": 205, "seed": 0},
    "freesound": {"n_train": 8, "n_test": 1, "n_classes": 4, "longest": 2.0, "seed": 0},
    "seti": {"n_train": 4, "n_test": 0, "n_old": 0, "height": 40, "width": 64, "seed": 0},
}
# the same code with fewer parameters and layers, where a test of the whole would take minutes
SMALL = {
    "efficientnetv2": {"variant": "tf_efficientnetv2_b0", "resizer": [64, 64]},
    "heartbeat_net5": {"hidden": [64]},
    "squeezeformer1d": {"blocks": 1},
    "tinyvit": {"variant": "tiny_vit_5m_224"},
}


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield value
            else:
                yield from targets(value)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group: str, option: str) -> None:
    config, names = compose(f"{group}={option}")
    assert names[group] == option
    assert set(targets(config))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_composes_with_its_pair(recipe: str) -> None:
    dataset, _, model = recipe.partition("_")
    pair = [f"dataset={dataset}", f"model={model}"] if model else ["recipe=none"]
    config, names = compose(*pair)
    assert names.get("recipe") == recipe
    assert load(conf() / "recipe" / f"{recipe}.yaml").get("train", {}).items() <= config["train"].items()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment: str) -> None:
    compose(f"+experiments={experiment}")


@pytest.mark.parametrize("path", sorted(conf().rglob("*.yaml")), ids=lambda p: str(p.relative_to(conf())))
def test_every_target_resolves(path: Path) -> None:
    for target in targets(load(path)):
        if target not in ("default", "none"):
            build.locate({"_target_": target}, path.parent.name)


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, o in OPTIONS if o not in ("default", "none")])
def test_an_option_has_the_name_of_its_module_or_function(group: str, option: str) -> None:
    node = load(conf() / group / f"{option}.yaml")
    target = node.get("dataset", node)["_target_"]
    assert option in [part.lower() for part in target.split(".")[-2:]]


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, InputSpec]]:
    """dataset → kind of model → the spec of its own features, from a few simulated files."""
    made: dict[str, dict[str, InputSpec]] = {}
    for name in DATASETS:
        node = load(conf() / "dataset" / f"{name}.yaml")["dataset"]
        root = tmp_path_factory.mktemp(name)
        build.build({"_target_": node["simulator"]["_target_"], **TINY[name]}, "simulator", root)
        dataset: Dataset = build.build({"_target_": node["_target_"], "root": str(root)}, "dataset")
        made[name] = {}
        for kind, features in dataset.features.items():
            made[name][kind] = build.build(load(conf() / "features" / f"{features}.yaml"), "features").spec(dataset)
    return made


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_goes_forward_backward_and_through_compile(
    specs: dict[str, dict[str, InputSpec]], dataset: str, model: str
) -> None:
    node = load(conf() / "model" / f"{model}.yaml") | SMALL.get(model, {})
    takes = build.locate(node, "model").takes  # type: ignore[attr-defined]
    assert takes in ("sequence", "image")
    if takes not in specs[dataset]:
        return
    spec = specs[dataset][takes]
    torch.manual_seed(0)
    net = build.build(node, "model", spec)
    x = torch.randn(2, *spec.shape)
    answer = net(x)
    assert answer.shape == (2, spec.n_classes)
    answer.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    net.eval()
    with torch.no_grad():
        # graph capture without a C++ compiler: what a model's code can break
        compiled = torch.compile(net, backend="aot_eager")(x)
        torch.testing.assert_close(compiled, net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_compiled_mlp_trains_like_itself(specs: dict[str, dict[str, InputSpec]]) -> None:
    spec = specs["heartbeat"]["sequence"]
    net = build.build(load(conf() / "model" / "mlp.yaml"), "model", spec)
    x = torch.randn(4, *spec.shape)
    torch.testing.assert_close(torch.compile(net)(x), net(x), rtol=1e-4, atol=1e-5)


def test_a_model_yaml_repeats_nothing_that_the_data_says() -> None:
    facts = {"channels", "size", "length", "classes", "n_classes", "num_classes", "in_channels", "in_chans"}
    for model in MODELS:
        assert not facts & set(load(conf() / "model" / f"{model}.yaml"))
