"""Every data set × model × loss of conf/, from raw files to a submission, in this process and in tiny sizes.

A pair that can't be trained must be refused with what to choose instead; there is no third way. What later comes into
conf/ is walked, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from bench import build
from bench.crossval.plan import Plan, make_plan
from bench.crossval.run import cross_validate
from bench.data.batches import Batches
from bench.data.store import Store
from bench.datasets.base import serves, targets
from bench.runs.frames import predictions
from bench.runs.recipe import Recipe
from bench.spec import Kind, UserError
from bench.training import inference, parts
from conftest import Composed, compose
from tiny import node, options, raw_files

pytestmark = pytest.mark.slow

DATASETS, MODELS, LOSSES = options("dataset"), options("model"), options("loss")
OTHERS = [
    (g, o)
    for g in ("augment", "optimizer", "row_weights", "scheduler", "split", "synthetic", "tta")
    for o in options(g)
]
SEQUENTIAL = ("band_pass", "channel_drop")
"""Augmentations that no image of some data set takes; all others take images."""
KINDS = [
    (d, kind)
    for d in DATASETS
    for kind in build.locate(node("dataset", d), "dataset").features  # type: ignore[attr-defined]
]
Roots = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small work: two threads on a busy machine wait for each other
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where raw files, stores and runs lie: shared, so that every pair opens what the first one has built."""
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def roots(folder: Path) -> Roots:
    """Raw files of a data set, made once; heartbeat's have columns `fold` and `time` of one's own."""

    def of(name: str) -> Path:
        root = folder / "raw" / name
        if not root.exists():
            root.mkdir(parents=True)
            raw_files(name, root)
            if name == "heartbeat":
                rows = pd.read_csv(root / "train.csv")
                rows.assign(fold=np.arange(len(rows)) % 2, time=np.arange(len(rows))).to_csv(
                    root / "train.csv", index=False
                )
        return root

    return of


def command(folder: Path, root: Path, dataset: str, *overrides: str) -> list[str]:
    here = [f"dataset.root={root}", f"outputs={folder / 'outputs'}", f"store={folder / 'store'}"]
    here += ["workers=1", "device=cpu", "tracking.enabled=false"]
    return [f"dataset={dataset}", *here, *overrides]


def default_features(recipe: Recipe, takes: Kind) -> str | None:
    """The features that a command without ``features=`` means: the recipe's, or the data set's for the kind."""
    return (recipe.recipe or {}).get("features") or parts.dataset_class(recipe.dataset).features.get(takes)


@cache
def composed(*overrides: str) -> Composed:
    return compose(*overrides)


def pair(folder: Path, root: Path, dataset: str, model: str) -> Composed:
    """The composed command of a pair, in two folds, with its model in its small size.

    Composing takes longer than training here: pairs without a recipe of their own differ in the model's node alone.
    """
    own = f"{dataset}_{model}" in options("recipe")
    standing_in = [f"model={model}"] if own else ["model=mlp", "recipe=none"]
    recipe, names = composed(*command(folder, root, dataset, *standing_in, "split.n_splits=2"))
    return replace(recipe, model=node("model", model)), names | {"model": model}


def planned(folder: Path, roots: Roots, dataset: str, model: str, features: str | None = None) -> Plan:
    """The plan of a pair with its default features (or those named) in their small size."""
    recipe, names = pair(folder, roots(dataset), dataset, model)
    chosen = features or default_features(recipe, parts.model_class(recipe.model).takes)
    if chosen is not None:
        recipe = replace(recipe, features=node("features", chosen))
    return make_plan(recipe, names)


class Sides:
    """A plan's rows as a fold sees them: a few to train on, a few to validate, all of the test part."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        rows, stores = plan.rows, {part: Store(Path(path)) for part, path in plan.inputs.stores.items()}
        window, target = plan.inputs.window, targets(rows)
        weight = rows["weight"].to_numpy(np.float32) if "weight" in rows else None
        held_out = rows["fold"].to_numpy() == 0

        def side(mask: np.ndarray) -> Batches:
            few = np.flatnonzero(mask)[:3]
            own = None if weight is None else weight[few]
            return Batches(stores["train"], few, target[few], own, device, window)

        self.train = side(~held_out & serves(rows, "trained"))
        self.valid = side(held_out & serves(rows, "validated"))
        none = np.zeros((len(stores["test"]), target.shape[1]), np.float32)
        self.test = Batches(stores["test"], np.arange(len(none)), none, None, device, window)


def predicted(model: nn.Module, half: nn.Module, side: Batches) -> np.ndarray:
    probability = inference.probabilities(inference.logits(model, half, side, 4, "float32"))
    np.testing.assert_allclose(probability.sum(1), 1)
    assert (probability >= 0).all()
    return probability


def one_step(plan: Plan, model: nn.Module, half: nn.Module, loss: Callable[..., Tensor], train: Batches) -> float:
    """A step of the plan's optimiser on one batch; the loss before it. Every parameter must have had a slope."""
    optimizer = parts.optimizer(plan.recipe.optimizer, model.parameters())
    model.train()
    half.train()
    batch = next(iter(train.shuffled(4, (0,))))
    value = loss(model(half(batch.x)).float(), batch.target, batch.weight)
    value.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    optimizer.step()
    return float(value.detach())


def trained(plan: Plan, losses: list[str], folder: Path) -> None:
    """A step with each of the losses in turn, predictions after each, then the data set's own submission."""
    sides = Sides(plan, torch.device("cpu"))
    spec = plan.inputs.spec
    half = parts.features(plan.recipe.features).device_half()
    if half.learns:
        half.fit(batch.x for batch in sides.train.in_order(4))
    assert tuple(half(next(sides.valid.in_order(4)).x).shape[1:]) == spec.shape
    model = parts.model(plan.recipe.model, spec)
    before = predicted(model, half, sides.valid)
    for name in losses:
        loss = build.partial(node("loss", name), "loss", 3)
        assert np.isfinite(one_step(plan, model, half, loss, sides.train)), name
        after = predicted(model, half, sides.valid)
        assert not np.array_equal(before, after), f"{name} moved nothing"
        before = after
    ids = plan.dataset.table("test")["id"].tolist()
    plan.dataset.write_submission(folder / "submission.csv", ids, predicted(model, half, sides.test))
    assert len(pd.read_csv(folder / "submission.csv")) >= len(ids) > 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_pair_trains_with_every_loss_or_is_refused_with_what_to_choose(
    folder: Path, roots: Roots, tmp_path: Path, dataset: str, model: str
) -> None:
    takes = build.locate(node("model", model), "model").takes  # type: ignore[attr-defined]
    own = build.locate(node("dataset", dataset), "dataset").features  # type: ignore[attr-defined]
    if takes in own:
        trained(planned(folder, roots, dataset, model), LOSSES, tmp_path)
    else:
        with pytest.raises(UserError, match=f"dataset={dataset} has no features .* takes a {takes}; choose"):
            planned(folder, roots, dataset, model)


@pytest.mark.parametrize("features", [f for f in options("features") if f != "default"])
def test_every_feature_trains_a_model_of_its_kind(folder: Path, roots: Roots, tmp_path: Path, features: str) -> None:
    kind = build.locate(node("features", features), "features")
    model = {"sequence": "mlp", "image": "cnn2d"}[kind.kind]  # type: ignore[attr-defined]
    for dataset in kind.datasets or DATASETS:  # type: ignore[attr-defined]
        trained(planned(folder, roots, dataset, model, features=features), ["ce"], tmp_path)


@pytest.mark.parametrize(("dataset", "kind"), KINDS)
def test_a_command_without_features_means_the_data_sets_own(
    folder: Path, roots: Roots, dataset: str, kind: Kind
) -> None:
    """As the plan chooses them, in full size; the recipes' choices are one line in the plan."""
    model = {"sequence": "mlp", "image": "cnn2d"}[kind]
    config, names = compose(
        *command(folder, roots(dataset), dataset, f"model={model}", "recipe=none", "split.n_splits=2")
    )
    own = parts.dataset_class(config.dataset).features
    assert make_plan(config, names).inputs.names["features"] == own[kind]


@pytest.mark.parametrize(("group", "option"), OTHERS)
def test_every_other_option_serves_some_data_set_and_the_others_are_told_what_to_choose(
    folder: Path, roots: Roots, group: str, option: str
) -> None:
    model = "cnn2d" if group == "augment" and option not in SEQUENTIAL else "mlp"
    whole = (group, option) == ("split", "none")  # one training on all rows
    served, refusals = [], []
    for dataset in DATASETS:
        two = [] if option == "predefined" or whole else ["split.n_splits=2"]
        two += ["augment=[gain]"] if option == "random" else []
        two += ["split.strict=false"] if option == "time" else []  # a rare class may come late
        overrides = command(folder, roots(dataset), dataset, f"model={model}", f"{group}={option}", *two)
        try:
            plan = make_plan(*compose(*overrides))
        except UserError as error:
            refusals.append(str(error))
        else:
            served.append(dataset)
            assert plan.inputs.n_splits == (1 if whole else 2)
    assert served
    assert all(re.search(r"choose|leave|needs|give|add", sentence) for sentence in refusals), refusals


ALONE = [
    ("heartbeat", "tinyvit", ["features.n_scales=32", "features.width=40", "folds.only=[0]"]),
    ("seti", "wavenet", ["features.panels=on"]),
    ("freesound", "resnet1d", ["features.seconds=0.25"]),
    ("hms", "cnn2d", ["features.height=80", "features.width=96", "folds.only=[1]"]),
]


@pytest.mark.parametrize(("dataset", "model", "smaller"), ALONE)
def test_unusual_pairs_go_all_the_way_with_a_process_for_each_fold(
    folder: Path, roots: Roots, tmp_path: Path, dataset: str, model: str, smaller: list[str]
) -> None:
    small = node("model", model)
    takes = build.locate(small, "model").takes  # type: ignore[attr-defined]
    features = build.locate(node("dataset", dataset), "dataset").features[takes]  # type: ignore[attr-defined]
    two = ["split.n_splits=2", "train.epochs=1", "train.batch_size=8", f"features={features}", *smaller]
    config, names = compose(*command(tmp_path, roots(dataset), dataset, f"model={model}", *two))
    outcome = cross_validate(replace(config, model=small), names)
    assert outcome.failed == []
    assert outcome.scores is not None
    oof, test = (pd.read_parquet(outcome.run.folder / name) for name in ("oof.parquet", "test.parquet"))
    for frame in (oof, test):
        np.testing.assert_allclose(predictions(frame).sum(1), 1)
    assert len(oof) == outcome.scores.rows
    assert (outcome.run.folder / "submission.csv").exists()
