"""What experiments/ promises about published results."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from bench.cli.compose import compose as cli_compose
from bench.crossval.plan import make_plan
from bench.paths import conf
from conftest import Composed, compose

FOLDER = conf().resolve().parent / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
BLENDS = ("freesound_pair", "heartbeat_stacking")
"""Those of python -m bench.ensemble, of finished runs."""
TRAINED = [name for name in NAMES if name not in BLENDS]


def experiment(name: str, *overrides: str) -> Composed:
    return compose(f"+experiments={name}", *overrides)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tiny.raw_files(name, tmp_path_factory.mktemp(name)) for name in tiny.RAW}


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_opens_with_its_command_and_what_was_measured(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    opening = text.split("\ndefaults:")[0].split("\ntrain:")[0]
    assert f"python -m bench.{'ensemble' if name in BLENDS else 'train'} +experiments={name} " in opening
    for line in ("hardware, time", "our score", "published score"):
        assert re.search(rf"^# {line}  +\S", opening, re.M), line
    assert f"`{name}`" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_an_experiment_is_a_run_that_could_start(name: str, roots: dict[str, Path], tmp_path: Path) -> None:
    """All that is checked before the first step passes on small files: parts fit each other, options are right."""
    if "stage2" in name:
        pytest.skip("needs a finished stage 1: tests/test_pseudo.py trains both stages small")
    config, names = experiment(name)
    local = [f"outputs={tmp_path}", f"store={tmp_path}/store", "split.strict=false", "device=cpu"]
    local += [f"dataset.root={roots[names['dataset']]}"]
    if names["split"] == "predefined":
        local += ["split=stratified"]
    if "n_splits" in config.split:
        local += ["split.n_splits=2"]
    if config.model.get("pretrained"):
        local += ["model.pretrained=false"]
    if "min_votes" in config.dataset:
        local += ["dataset.min_votes=1", "dataset.min_votes_valid=1"]
    if "seconds" in config.features:
        local += ["features.seconds=0.5"]
    plan = make_plan(*experiment(name, *local))
    assert plan.inputs.names["model"] == names["model"]


def test_the_wavenet_starter_is_the_write_ups_training() -> None:
    config, names = experiment("hms_wavenet_starter")
    assert (names["dataset"], names["model"], names["loss"], names["split"]) == ("hms", "wavenet", "kl", "group")
    assert (config.train.epochs, config.train.batch_size, config.split["n_splits"]) == (5, 32, 5)
    assert config.recipe is not None
    rates = [config.optimizer["lr"] * f for f in config.recipe["scheduler"]["factors"]]
    assert rates == [1e-3, 1e-3, 1e-4, 1e-4, 1e-5]
    assert config.optimizer["_target_"] == "torch.optim.Adam"
    assert (config.optimizer["eps"], config.train.precision) == (1e-7, "auto")


def test_the_tinyvit_stages_are_the_write_ups_training() -> None:
    first, _ = experiment("hms_tinyvit_stage1")
    keys = ("epochs", "batch_size", "accumulate", "ema", "ema_every", "precision")
    assert [getattr(first.train, key) for key in keys] == [16, 8, 3, 0.8, "epoch", "bf16"]
    assert (first.dataset["min_votes"], first.dataset["records"]) == (8, "each")
    assert list(first.augment) == ["left_right", "brightness_contrast", "one_of", "coarse_dropout"]
    assert [first.augment[part]["p"] for part in first.augment] == [0.5, 0.5, 0.4, 0.5]
    assert first.augment["coarse_dropout"]["holes"] == 5
    assert (first.optimizer["lr"], first.tta["flips"]) == (3e-4, ["left_right"])
    cosine = {key: first.scheduler[key] for key in ("warmup", "start", "end")}
    assert list(cosine.values()) == [0.1, 0.1, 0.01]
    second, names = experiment("hms_tinyvit_stage2")
    assert names["pseudo"] == "teachers"
    assert second.pseudo["drop_above"] == {"other": 0.8}
    assert replace(second, pseudo=first.pseudo) == first  # both stages split the same rows


def test_the_heartbeat_networks_are_stacked_and_hardened_as_the_write_up_says() -> None:
    config, _ = cli_compose("ensemble", ["+experiments=heartbeat_stacking"])
    assert config["blend"]["hidden"] == [64, 128]
    assert config["harden"]["above"] == [0.49] * 4


def test_seti_is_trained_on_the_withdrawn_edition_first() -> None:
    config, _ = experiment("seti_resizer_efficientnetv2")
    assert config.pretrain == ("dataset.edition=withdrawn", "folds.only=[0]")
    assert list(config.augment) == ["vertical_flip", "shift_scale_rotate", "motion_blur", "specaugment", "mixup"]
    assert (config.tta["n"], config.split["n_splits"]) == (16, 4)
    larger, _ = experiment("seti_resizer_efficientnetv2_m")
    assert (config.model["variant"], config.model["resizer"]) == ("tf_efficientnetv2_s", [384, 384])
    assert (larger.model["variant"], larger.model["resizer"]) == ("tf_efficientnetv2_m", [480, 480])
    one, names = experiment("seti_one_output_bce")
    assert (one.model["one_output"], names["loss"]) == (True, "bce")


@pytest.mark.parametrize(
    ("name", "model", "momentum"),
    [
        ("freesound_cnn1d", "cnn1d", None),
        ("freesound_mfcc_cnn2d", "cnn2d", 0.01),
        ("freesound_verified_only", "cnn2d", 0.01),
    ],
)
def test_the_freesound_networks_are_trained_as_their_framework_does(
    name: str, model: str, momentum: float | None
) -> None:
    config, names = experiment(name)
    assert (names["model"], config.model.get("norm_momentum")) == (model, momentum)
    assert config.model.get("norm_eps") == (momentum and 0.001)
    assert (config.split["n_splits"], config.split["shuffle"]) == (10, False)
    assert (config.optimizer["lr"], config.optimizer["eps"]) == (1e-3, 1e-7)
    assert (config.train.epochs, config.train.batch_size) == (50, 64)
    assert (config.train.keep, config.train.patience) == ("loss", 5)
    assert model == "cnn1d" or config.train.batch_stats == "running"


def test_the_freesound_pair_is_twenty_predictions_and_their_geometric_mean() -> None:
    config, _ = cli_compose("ensemble", ["+experiments=freesound_pair"])
    assert config["members"] == [["+experiments=freesound_cnn1d"], ["+experiments=freesound_mfcc_cnn2d"]]
    assert (config["folds"], config["blend"]["_target_"]) == ("geometric", "bench.ensembling.ways.Geometric")
    first, second = (experiment(words[0].partition("=")[2])[0] for words in config["members"])
    assert (first.split, first.dataset) == (second.split, second.dataset)  # or they could not be blended


def test_the_gan_makes_ten_thousand_rows_of_a_class() -> None:
    config, names = experiment("heartbeat_gan")
    assert (config.synthetic["rows"], names["synthetic"], names["model"]) == (10_000, "gan", "resnet1d")


def test_the_write_ups_seeds_stand_in_the_file() -> None:
    text = (FOLDER / "hms_tinyvit_stage1.yaml").read_text(encoding="utf-8")
    match = re.search(r"seed=([\d,]+)", text)
    assert match is not None
    seeds = [int(seed) for seed in match[1].split(",")]
    assert (len(set(seeds)), seeds[0], seeds[-1], sum(seeds)) == (10, 28490463, 684355834, 31_504_673_017)


@pytest.mark.parametrize("number", range(1, 7))
def test_the_heartbeat_networks_are_trained_as_the_write_up_says(number: int) -> None:
    config, names = experiment(f"heartbeat_net{number}")
    assert names["model"] == ("resnet1d" if number == 6 else f"heartbeat_net{number}")
    assert (config.optimizer["lr"], config.train.epochs, config.train.batch_size) == (1e-5, 200, 32)
    assert (names["loss"], names["synthetic"], config.train.keep) == ("l1", "smote", "train_loss")
