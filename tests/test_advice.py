"""Every piece of advice that a refusal gives is tried: taken, it leads on."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile

from bench.crossval.plan import make_plan
from bench.paths import conf
from bench.simulators import hms
from bench.spec import UserError
from conftest import compose

pytestmark = pytest.mark.slow

SETTING = r"(?<![\w.\[/])[a-z_]+(?:\.[a-z_]+)*=[\w.-]*\w"
ADVICE = re.compile(rf"{SETTING}(?: {SETTING})*")
SOURCE = Path(__file__).parents[1] / "src/bench"


def beats(root: Path, n: int = 24, classes: int = 2, copies: int = 0, **columns: object) -> list[str]:
    """A heartbeat root of ``n`` rows, of which the first ``copies`` are the same beat."""
    x_nt = np.random.default_rng(0).random((n, 16)).round(4)
    x_nt[:copies] = x_nt[0]
    frame = pd.DataFrame({"id": range(n), "heartbeat_signals": [",".join(map(str, x)) for x in x_nt]})
    frame["label"] = columns.pop("label", np.arange(n) % classes)
    frame.assign(**columns).to_csv(root / "train.csv", index=False)
    return ["dataset=heartbeat", "model=mlp"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hms") / "raw"
    hms.simulate(root, n_eegs=4, n_patients=4, n_test=0, seed=2)
    return root


def changed(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(path)).to_csv(path, index=False)


def eegs(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    for path in (root / "train_eegs").iterdir():
        change(pq.read_table(path).to_pandas()).to_parquet(path, index=False)


HMS = ["dataset=hms", "model=mlp", "split.n_splits=2", "split.strict=false"]
PICTURE = [*HMS[:1], "model=cnn2d", "model.filters=[4,4,4,4]", *HMS[2:]]
SMALL_IMAGE = ["features=hms_image", "features.height=80", "features.width=96"]
DAYS = pd.date_range("2024-01-01", periods=24).astype(str)


def without_spectrograms(root: Path) -> list[str]:
    changed(root / "train.csv", lambda rows: rows.drop(columns="spectrogram_id"))
    shutil.rmtree(root / "train_spectrograms")
    return PICTURE


def without_spectrogram_files(root: Path) -> list[str]:
    shutil.rmtree(root / "train_spectrograms")
    return PICTURE


def without_offsets(root: Path) -> list[str]:
    changed(root / "train.csv", lambda rows: rows.drop(columns="eeg_label_offset_seconds"))
    return [*HMS, "dataset.records=each"]


def weighted_rows(root: Path) -> list[str]:
    changed(root / "train.csv", lambda rows: rows.assign(weight=np.arange(len(rows)) + 1.0))
    return HMS


def in_volts(root: Path) -> list[str]:
    eegs(root, lambda eeg: (eeg * 1e-6).astype(np.float32))
    return HMS


def with_times(root: Path) -> list[str]:
    def timed(eeg: pd.DataFrame) -> pd.DataFrame:
        longer = pd.concat([eeg, eeg], ignore_index=True).iloc[:14_000]
        return longer.assign(time=np.arange(len(longer)) / 256)

    eegs(root, timed)
    return HMS


def short(root: Path) -> list[str]:
    eegs(root, lambda eeg: eeg.iloc[:6100])
    return HMS


RECORDINGS: dict[str, Callable[[Path], list[str]]] = {
    "no spectrograms": without_spectrograms,
    "no spectrograms, a sequence's features": lambda root: [*without_spectrograms(root), "features=hms_waveform"],
    "no spectrograms, a sequence": lambda root: [*without_spectrograms(root)[:1], *HMS[1:], "features=hms_image"],
    "no files of spectrograms": without_spectrogram_files,
    "no offsets": without_offsets,
    "rows of several weights": weighted_rows,
    "volts": in_volts,
    "another rate": with_times,
    "short": short,
    "seconds for an image": lambda _: [*PICTURE, *SMALL_IMAGE, "dataset.seconds=10"],
    "seconds for a spectrogram": lambda _: [*PICTURE, "dataset.seconds=4", "features=hms_eeg_spectrogram"],
}

BEATS: dict[str, Callable[[Path], list[str]]] = {
    "groups across folds": lambda root: beats(root, group=np.repeat(range(8), 3)),
    "no groups": lambda root: [*beats(root), "split=group"],
    "no groups, stratified": lambda root: [*beats(root), "split=stratified_group"],
    "fewer groups than folds": lambda root: [*beats(root, group=np.repeat(range(3), 8)), "split=group"],
    "one group": lambda root: [*beats(root, group="a"), "split=group"],
    "one group, stratified": lambda root: beats(root, group="a"),
    "more folds than rows": lambda root: [*beats(root, n=8), "split.n_splits=6"],
    "a class of one row": lambda root: beats(root, label=[2, *[0, 1] * 11, 0]),
    "a class of copies": lambda root: beats(root, copies=3, label=[2, 2, 2, *[0, 1] * 10, 0]),
    "a class of one group": lambda root: [
        *beats(root, label=[2, 2, *[0, 1] * 11], group=np.repeat(range(12), 2)),
        "split=group",
    ],
    "folds that part copies": lambda root: [*beats(root, copies=2, fold=np.arange(24) % 2), "split=predefined"],
    "folds that part copies, in groups": lambda root: [
        *beats(root, copies=3, fold=np.arange(24) // 2 % 2, group=np.repeat(range(12), 2)),
        "split=predefined",
    ],
    "no times": lambda root: [*beats(root), "split=time"],
    "a number of days": lambda root: [*beats(root, time=DAYS), "split=time", "split.n_splits=2", "split.gap=2"],
    "days for numbers": lambda root: [*beats(root, time=range(24)), "split=time", "split.n_splits=2", "split.gap=2D"],
    "no duration": lambda root: [*beats(root, time=DAYS), "split=time", "split.n_splits=2", "split.gap=often"],
    "few times": lambda root: [*beats(root, time=np.arange(24) // 7), "split=time"],
    "a window longer than a beat": lambda root: [
        *beats(root), "model=cnn2d", "model.filters=[4,4,4,4]", "model.kernel_size=[2,2]",
        "features=heartbeat_spectrogram", "features.window=200", "features.n_fft=800", "features.hop=1",
    ],
    "features of the other kind": lambda root: [*beats(root), "features=heartbeat_scalogram"],
    "no device": lambda root: [*beats(root), "device=cuda"],
    "patience for nothing": lambda root: [*beats(root), "train.patience=3"],
}  # fmt: skip


def loud(root: Path) -> list[str]:
    (root / "audio_train").mkdir()
    names = [f"{i}.wav" for i in range(8)]
    for i, name in enumerate(names):
        x = np.random.default_rng(i).standard_normal(4000) * 8000
        soundfile.write(root / "audio_train" / name, x, 16_000, "FLOAT")
    (root / "train.csv").write_text("fname,label\n" + "".join(f"{n},{'ab'[i % 2]}\n" for i, n in enumerate(names)))
    return ["dataset=freesound", "model=mlp", "split.n_splits=2", "features.seconds=0.1", "features=freesound_waveform"]


def plan(root: Path, folder: Path, *command: str) -> None:
    make_plan(*compose(*command, f"dataset.root={root}", f"outputs={folder}", f"store={folder / 'store'}"))


def refused(root: Path, folder: Path, command: list[str]) -> list[list[str]]:
    """What the refusal of a command advises: settings that are taken together, as it words them."""
    with pytest.raises(UserError) as error:
        plan(root, folder, *command)
    sentence = str(error.value)
    _, _, after = sentence.partition(";" if ";" in sentence else ":")
    advice = [text.split(" ") for text in ADVICE.findall(after) if not set(text.split(" ")) & set(command)]
    assert advice, str(error.value)
    return advice


def with_advice(command: list[str], advice: list[str]) -> list[str]:
    """The command with settings in the place of what they speak of: another option leaves the old one's keys behind."""
    keys = {setting.partition("=")[0] for setting in advice}
    left = [word for word in command if not any(f"{word}.".startswith((f"{key}=", f"{key}.")) for key in keys)]
    return [*left, *advice]


def try_all(root: Path, folder: Path, command: list[str]) -> None:
    for number, advice in enumerate(refused(root, folder, command)):
        plan(root, folder / str(number), *with_advice(command, advice))


@pytest.mark.parametrize("name", BEATS)
def test_advice_on_beats_leads_on(name: str, tmp_path: Path) -> None:
    import torch

    if name == "no device" and torch.cuda.is_available():
        pytest.skip("there is one")
    (tmp_path / "raw").mkdir()
    try_all(tmp_path / "raw", tmp_path / "outputs", BEATS[name](tmp_path / "raw"))


@pytest.mark.parametrize("name", RECORDINGS)
def test_advice_on_recordings_leads_on(name: str, recordings: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(recordings, tmp_path / "raw"))
    try_all(root, tmp_path / "outputs", RECORDINGS[name](root))


def test_advice_on_sounds_leads_on(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    try_all(tmp_path / "raw", tmp_path / "outputs", loud(tmp_path / "raw"))


def sentences() -> Iterator[tuple[str, str]]:
    """Where, and the text of every string in the package, with its blanks left out."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield str(path), "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield str(path), node.value


def test_options_that_any_sentence_names_are_there() -> None:
    groups = {folder.name for folder in conf().iterdir() if any(folder.glob("*.yaml"))}
    named = {
        (group, option, where)
        for where, text in sentences()
        for group, option in re.findall(r"(?<![\w.])([a-z_]+)=([a-z]\w+)(?![\w.{<…])", text)
        if group in groups - {"experiments", "recipe"}
    }
    assert len(named) > 20
    missing = {(group, option) for group, option, _ in named if not (conf() / group / f"{option}.yaml").exists()}
    assert missing <= {("model", "ensemble")}  # what a query calls a blend
