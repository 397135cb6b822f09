"""python -m bench.catalog: everything in conf/ is there, what it says is true, and mistakes are one sentence."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import build, extensions
from bench.catalog import COMMAND
from bench.cli import options
from bench.cli.door import run
from bench.cli.keys import ADDED
from bench.cli.options import Option
from bench.paths import conf
from bench.spec import UserError

pytestmark = pytest.mark.slow

EVERYTHING = [option for group in options.groups() for option in options.options(group)]
# few files, with every class and the lengths that the published counts belong to
FILES: dict[str, dict[str, Any]] = {
    "freesound": {"n_train": 123, "n_test": 1, "longest": 0.4},
    "heartbeat": {"n_train": 60, "n_test": 2},
    "hms": {"n_eegs": 10, "n_patients": 5, "n_test": 0},
    "seti": {"n_train": 4, "n_test": 0, "n_old": 0},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a few files of every data set."""
    folder = tmp_path_factory.mktemp("data")
    for option in options.options("dataset"):
        settings = {**option.node["simulator"], **FILES.get(option.name, {})}
        (folder / option.name).mkdir()
        build.build(settings, "dataset.simulator", folder / option.name)
    return folder


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], data: Path) -> Any:
    """What the door prints for words, on those files."""

    def page(*words: str) -> str:
        code = run(COMMAND, [*words, f"data={data}"])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        assert max(map(len, out.splitlines())) <= 100
        return out

    return page


def leaves(node: dict[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if key in ("_target_", "defaults"):
            continue
        if isinstance(value, dict) and (key in ("dataset", "parts") or "_target_" in value):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def test_the_overview_names_everything_in_conf(printed: Any) -> None:
    names = {line.split(" ")[0] for line in printed().splitlines() if line}
    assert {option.name for option in EVERYTHING if option != Option("features", "default")} <= names


def test_the_overview_gives_every_feature_its_shape_and_every_data_set_its_metric(printed: Any) -> None:
    out = printed()
    for told in (
        "image, 1 × 40 × 173; reads freesound",
        "sequence, 8 × 2000; reads hms",
        "l1_20k, lower is better; loss=l1, split=stratified (5 folds)",
        "auc, higher is better; loss=ce, split=stratified (4 folds)",
    ):
        assert told in out


@pytest.mark.parametrize("option", EVERYTHING, ids=lambda option: f"{option.group}={option.name}")
def test_an_options_keys_are_those_of_its_file(option: Option) -> None:
    whole = yaml.safe_load(option.text) or {}
    listed = {key: yaml.safe_load(default) for key, default, _ in option.keys}
    if option.group in ("recipe", *ADDED):
        assert {key.split(".")[0] for key in listed} == set(whole) - {"defaults"}
    else:
        assert listed == dict(leaves(whole, "" if option.whole else f"{option.group}."))


@pytest.mark.parametrize("option", EVERYTHING, ids=lambda option: f"{option.group}={option.name}")
def test_every_option_says_in_a_line_what_it_is(option: Option) -> None:
    assert option.about
    assert "\n" not in option.about


def test_a_comment_ends_where_its_sentence_does() -> None:
    assert Option("loss", "ce").about == "Cross entropy, hard or soft targets."
    assert Option("experiments", "heartbeat_ecg5000").about.endswith("with the recipe of conf/recipe.")


def test_a_models_page_has_its_keys_and_what_serves_it(printed: Any) -> None:
    out = printed("model=wavenet")
    assert re.search(r"^model\.filters +\[8, 16, 32, 64\] +of each wave block", out, re.MULTILINE)
    assert re.search(r"^takes +a sequence", out, re.MULTILINE)
    assert "hms (hms_waveform)" in out
    assert re.search(r"^recipe for +hms", out, re.MULTILINE)


def test_a_losss_page_says_who_brings_it(printed: Any) -> None:
    out = printed("loss=ce", "split=group")
    assert "brought by  dataset=freesound, seti" in out
    assert re.search(r"^loss\.label_smoothing +0\.0", out, re.MULTILINE)
    assert re.search(r"^split\.n_splits +5", out, re.MULTILINE)


def test_a_features_page_says_what_it_gives_and_to_whom(printed: Any) -> None:
    out = printed("features=freesound_mfcc", "features.n_mfcc=20")
    assert re.search(r"^gives +an image", out, re.MULTILINE)
    assert re.search(r"^for +.*cnn2d", out, re.MULTILINE)
    assert "1 × 20 × 173, 41 classes" in out


@pytest.mark.parametrize(
    ("model", "words", "count"),
    [
        ("wavenet", "dataset=hms", "97,958"),
        ("heartbeat_net1", "dataset=heartbeat", "1,306,118"),
        ("heartbeat_net2", "dataset=heartbeat", "447,556"),
        ("heartbeat_net3", "dataset=heartbeat", "3,425,158"),
        ("heartbeat_net4", "dataset=heartbeat", "9,773,958"),
        ("heartbeat_net5", "dataset=heartbeat", "108,064,452"),
        ("resnet1d", "dataset=heartbeat", "1,459,332"),
        ("cnn1d", "dataset=freesound", "360,513"),
        ("cnn2d", "dataset=freesound features=freesound_mfcc", "168,361"),
        ("mlp", "dataset=heartbeat model.hidden=[]", "824"),
    ],
)
def test_parameter_counts_are_the_published_ones(printed: Any, model: str, words: str, count: str) -> None:
    out = printed(f"model={model}", *words.split())
    assert re.search(rf"^{model}( \*)? +{count} ", out, re.MULTILINE), out


def test_a_data_sets_page_counts_every_model(printed: Any) -> None:
    out = printed("dataset=seti")
    for model in options.options("model"):
        assert re.search(rf"^{model.name}( \*)? +[\d,]+ +seti_", out, re.MULTILINE), model.name
    assert re.search(r"^classes +2:", out, re.MULTILINE)
    assert "4 to train on, 0 to predict" in out


def test_without_files_a_few_are_simulated_and_told_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(COMMAND, ["dataset=heartbeat", "model=mlp", f"data={tmp_path / 'none'}"]) == 0
    out = capsys.readouterr().out
    assert "simulated for this page" in out
    assert re.search(r"^mlp +13,444 ", out, re.MULTILINE)
    assert not (tmp_path / "none").exists(), "nothing is kept"


def test_a_new_yaml_shows_up_without_an_edit(printed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tree = tmp_path / "conf"
    shutil.copytree(conf(), tree)
    (tree / "model" / "floor.yaml").write_text("# No hidden layer.\n_target_: bench.models.mlp.MLP\nhidden: []\n")
    (tree / "recipe" / "heartbeat_floor.yaml").write_text("# @package _global_\ntrain: {epochs: 3}\n")
    monkeypatch.setattr(extensions, "conf", lambda: tree)
    out = printed()
    assert re.search(r"^floor +No hidden layer\. +heartbeat", out, re.MULTILINE)
    assert re.search(r"^floor +824 ", printed("model=floor", "dataset=heartbeat"), re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("model=wavnet", "there is no model=wavnet; did you mean wavenet? choose model= one of cnn1d,"),
        ("loss=zzz", "there is no loss=zzz; choose loss= one of bce,"),
        ("modle=wavenet", "there is no key modle here; did you mean model?"),
        ("wavenet", "wavenet is not written as group=option; did you mean model=wavenet"),
        ("--modell", "--modell is not written as group=option; "),
        ("dataset=heartbeat dataset.root=/nowhere", "dataset.root=/nowhere is not a folder"),
        ("dataset=heartbeat model=mlp model.hidden=7", "model.hidden=7 is not of the type that MLP takes"),
        ("dataset=heartbeat model=mlp model.dropout=2", "model="),
        ("dataset=heartbeat features=hms_waveform", "features=hms_waveform reads hms, not heartbeat"),
        ("model=wavenet model.depth=3", "model.depth belongs to model=inceptiontime"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], data: Path, words: str, sentence: str
) -> None:
    assert run(COMMAND, [*words.split(), f"data={data}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"bench: {sentence}")
    assert error.count("\n") == 1


def test_a_data_set_that_lacks_files_is_told_beside_the_others(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "heartbeat" / "train.csv").unlink()
    assert run(COMMAND, [f"data={tmp_path / 'data'}"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"! heartbeat: dataset.root={tmp_path / 'data' / 'heartbeat'} lacks train.csv" in out
    assert "sequence, 8 × 2000; reads hms" in out


def test_asking_for_the_traceback_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError, match="there is no model=wavnet"):
        run(COMMAND, ["model=wavnet"])


def test_help_needs_no_heavy_import() -> None:
    code = "import sys, runpy; sys.argv = ['x', '--help']; runpy.run_module('bench.catalog', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "dataset=heartbeat" in done.stdout
    assert "row_weights" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not loaded & {"torch", "numpy", "pandas", "hydra", "omegaconf", "mlflow", "timm", "rich"}


def test_a_split_is_listed_from_the_table_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [f"{i:02}a,{i % 5 // 4},n{i // 8},{i}" for i in range(48)]
    (tmp_path / "train_labels.csv").write_text("\n".join(["id,target,group,time", *rows]) + "\n")
    words = ["dataset=seti", f"dataset.root={tmp_path}", "split=time", "split.n_splits=3"]
    assert run(COMMAND, words) == 0
    out = capsys.readouterr().out
    assert "lacks train" in out
    listed = re.findall(r"^(\d) +(\d+) +(\d+) +(\d+) +([\d.]+)% +([\d.]+)%", out, re.MULTILINE)
    assert [line[:3] for line in listed] == [("0", "8", "16"), ("1", "24", "8"), ("2", "32", "16")]
    assert "8 rows come first in time" in out


@pytest.mark.parametrize("name", ["freesound", "hms", "seti"])
def test_every_data_sets_table_is_read_without_its_recordings(
    name: str, capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(data / name, tmp_path / name))
    for folder in root.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    assert run(COMMAND, [f"dataset={name}", f"dataset.root={root}", "split=stratified", "split.n_splits=2"]) == 0
    assert "Folds of" in capsys.readouterr().out
