"""A run's recipe, inputs and scores: typed, frozen, readable from every version that wrote them."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

import fake_run
from bench.cli.schema import Predict, schema
from bench.runs import inputs, recipe, scores
from bench.runs.recipe import EnsembleRecipe, Recipe
from bench.runs.records import parse, plain
from bench.runs.run import Run
from bench.runs.selection import select
from bench.spec import UserError
from fake_run import rewrite, write_run

OLD_RUNS = Path(__file__).parent / "data" / "runs_0_1_0"
OLD = sorted(path.parent for path in OLD_RUNS.rglob("config.yaml"))


def test_a_recipe_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    made = parse(Recipe, fake_run.recipe(augment={"b": {"_target_": "x"}, "a": {"_target_": "y"}}), "here")
    recipe.write(tmp_path, made)
    assert recipe.read(tmp_path) == made
    assert list(made.augment) == ["b", "a"], "their order decides"


def test_the_file_has_the_keys_that_earlier_versions_wrote_in_their_order(tmp_path: Path) -> None:
    recipe.write(tmp_path, parse(Recipe, fake_run.recipe(), "here"))
    assert list(yaml.safe_load((tmp_path / "config.yaml").read_text())) == [
        "dataset", "model", "features", "loss", "split", "augment", "row_weights", "synthetic", "pseudo", "tta",
        "optimizer", "scheduler", "recipe", "rows", "resume_from", "init_from", "pretrain", "seed", "device", "compile",
        "pictures", "outputs", "data", "store", "verify", "workers", "extensions", "train", "folds", "tracking",
    ]  # fmt: skip


def test_a_password_does_not_reach_the_file(tmp_path: Path) -> None:
    recipe.write(tmp_path, parse(Recipe, fake_run.recipe(tracking={"uri": "http://me:secret@here/x"}), "here"))
    text = (tmp_path / "config.yaml").read_text()
    assert "secret" not in text
    assert "http://here/x" in text


@pytest.mark.parametrize("kind", [Recipe, EnsembleRecipe, Predict, inputs.Inputs, scores.Scores])
def test_records_are_frozen(kind: type[Any]) -> None:
    made = object.__new__(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(kind)[0].name, 1)


def test_what_an_earlier_version_did_not_write_has_its_default(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    old = run.recipe
    assert {old.row_weights["_target_"], old.synthetic["_target_"], old.pseudo["_target_"], old.tta["_target_"]} == {
        "none"
    }
    assert (old.train.accumulate, old.train.ema, old.tracking.uri, old.augment) == (1, None, None, {})
    known, found = run.inputs, run.scores()
    assert (known.notes, known.teachers, known.members, known.facts, known.window) == ((), (), (), {}, None)
    assert found is not None
    assert (found.without_tta, found.also) == (None, {})


def test_what_a_later_version_writes_too_is_left_alone(tmp_path: Path) -> None:
    run = rewrite(write_run(tmp_path), "inputs.json", hologram=True)
    assert run.inputs.dataset == "hms"
    assert rewrite(run, "config.yaml", hologram=True).recipe.seed == 0


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("inputs.json", None, "inputs.json is not there"),
        ("inputs.json", "{", "inputs.json is not whole"),
        ("inputs.json", "[]", "inputs.json: its content is no mapping"),
        ("inputs.json", json.dumps({"dataset": "hms"}), "inputs.json has no model;"),
        ("inputs.json", json.dumps(fake_run.inputs(n_splits="two")), "n_splits is of a wrong type .'two'"),
        ("inputs.json", json.dumps(fake_run.inputs(direction="up")), "direction is not one of min, max"),
        ("inputs.json", json.dumps(fake_run.inputs(spec={"size": [1]})), "inputs.json has no spec.channels;"),
        ("config.yaml", "train: [", "config.yaml can't be read as YAML"),
        ("config.yaml", "- a", "config.yaml is no mapping"),
        ("config.yaml", yaml.safe_dump(fake_run.recipe(train={"epochs": 3})), "config.yaml has no train.batch_size;"),
        ("config.yaml", yaml.safe_dump(fake_run.recipe(model="mlp")), "config.yaml: model is of a wrong type"),
        ("scores.json", json.dumps({"metric": "kl"}), "scores.json has no direction;"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_sentence_that_names_it(
    tmp_path: Path, file: str, text: str | None, sentence: str
) -> None:
    folder = write_run(tmp_path).folder
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text, encoding="utf-8")
    run = Run(folder)
    with pytest.raises(UserError, match=sentence) as error:
        _ = {"inputs.json": lambda: run.inputs, "config.yaml": lambda: run.recipe, "scores.json": run.scores}[file]()
    assert str(folder / file) in str(error.value)


def test_a_run_that_is_broken_does_not_hide_the_others_from_a_query(tmp_path: Path) -> None:
    whole, broken = write_run(tmp_path), write_run(tmp_path, identity="2f3a90c2d4e5")
    for fold in whole.folds:
        fold.oof.touch()
    (broken.folder / "inputs.json").write_text("{")
    rewrite(whole, "config.yaml")
    whole.write_state(status="finished")
    chosen = select("dataset=hms", tmp_path)
    assert [run.folder for run in chosen.runs] == [whole.folder]
    assert any(str(broken.folder / "inputs.json") in sentence for sentence in chosen.left_out)


def test_an_ensemble_has_no_recipe_of_a_training_and_the_other_way_round(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    with pytest.raises(UserError, match="no ensemble"):
        _ = run.ensemble
    mean = {"_target_": "bench.ensembling.ways.Mean"}
    (run.folder / "config.yaml").write_text(yaml.safe_dump({"blend": mean, "harden": {"_target_": "none"}}))
    made = Run(run.folder)
    assert made.ensemble.folds == "arithmetic"
    assert (made.made_by.seed, made.made_by.loss) == (None, None)
    with pytest.raises(UserError, match=r"is an ensemble, .*; name one of its members"):
        _ = made.recipe


def test_what_says_where_or_how_fast_decides_nothing() -> None:
    given = fake_run.recipe(dataset={"_target_": "d", "root": "/a", "simulator": {"seed": 1}, "min_votes": 2})
    first = parse(Recipe, {**given, "split": {"_target_": "s", "strict": True}}, "here")
    other = parse(
        Recipe,
        {
            **given,
            "dataset": {"_target_": "d", "root": "/b", "min_votes": 2},
            "split": {"_target_": "s"},
            "device": "cuda",
            "workers": 3,
            "folds": {"only": [0]},
            "tracking": {"enabled": False},
        },
        "here",
    )
    assert recipe.deciding(first) == recipe.deciding(other)
    assert recipe.deciding(first) != recipe.deciding(dataclasses.replace(first, seed=1))


def test_every_key_either_decides_or_is_named_as_elsewhere() -> None:
    for kind in (Recipe, EnsembleRecipe):
        names = {field.name for field in dataclasses.fields(kind)}
        assert names >= {*kind.elsewhere, *kind.within, *kind.settled}


@pytest.mark.parametrize("kind", [Recipe, EnsembleRecipe, Predict])
def test_hydra_has_the_same_keys_and_defaults(kind: type[Any]) -> None:
    from omegaconf import MISSING, OmegaConf

    composed = OmegaConf.to_container(OmegaConf.structured(schema(kind)))
    assert isinstance(composed, dict)
    wanted = {field.name for field in dataclasses.fields(kind)} - set(getattr(kind, "settled", ()))
    assert set(composed) == wanted
    groups = [name for name, hint in typing.get_type_hints(kind).items() if hint == recipe.Node and name in wanted]
    assert {composed[name] for name in groups} <= {MISSING}
    for field in dataclasses.fields(kind):
        if field.name in wanted and field.default is not dataclasses.MISSING:
            assert composed[field.name] == plain(field.default)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ({"model": "mlp"}, "^model=mlp names nothing; python -m bench.train --help"),
        ({"train": {**fake_run.TRAIN, "keep": "best"}}, "^train.keep=best is not one of last, loss, metric"),
    ],
)
def test_a_command_that_makes_no_recipe_is_told_by_its_key(override: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe.composed(Recipe, fake_run.recipe(**override), "bench.train")


@pytest.mark.parametrize("folder", OLD, ids=lambda folder: str(folder.relative_to(OLD_RUNS)))
def test_the_files_of_version_0_1_0_read_whole(folder: Path) -> None:
    run = Run.open(folder)
    known, found = run.inputs, run.scores()
    assert found is not None
    assert (known.metric, known.simulated, known.n_splits) == (found.metric, found.simulated, len(found.folds))
    assert run.made_by == parse(type(run.made_by), run.config, "here")
    for part, content in ((known, "inputs.json"), (found, "scores.json")):
        written = json.loads((folder / content).read_text())
        assert {key: plain(part)[key] for key in written} == written
