from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from bench.data import assignment, splits
from bench.data.batches import Batches
from bench.data.store import open_or_build
from bench.datasets.base import targets
from bench.datasets.freesound import Freesound
from bench.datasets.sounds import header
from bench.features.audio import Audio
from bench.features.device.scaling import Standardised
from bench.features.freesound_logmel import FreesoundLogMel
from bench.features.freesound_mfcc import FreesoundMFCC
from bench.features.freesound_waveform import FreesoundWaveform
from bench.metrics import MAP3
from bench.simulators import freesound
from bench.spec import Part, UserError
from conftest import compose

ESC10 = Path(__file__).parents[1] / "data/esc10"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("freesound")
    freesound.simulate(root, n_train=12, n_test=5, n_classes=4, longest=4.0, seed=1)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four tiny clips of two classes, two of them verified."""
    (tmp_path / "audio_train").mkdir()
    for i in range(4):
        sound(tmp_path / f"audio_train/{i}.wav", 2000 + i)
    csv(tmp_path, "0.wav,Meow,1", "1.wav,Bark,0", "2.wav,Bark,1", "3.wav,Meow,0")
    return tmp_path


def csv(root: Path, *rows: str, header: str = "fname,label,manually_verified", prune: bool = True) -> None:
    """Writes train.csv, and by default removes the sounds that it doesn't name."""
    (root / "train.csv").write_text("\n".join([header, *rows]) + "\n")
    for path in (root / "audio_train").iterdir():
        if prune and path.name not in {row.split(",")[0] for row in rows}:
            path.unlink()


def sound(path: Path, n: int, rate: int = 44_100, channels: int = 1, subtype: str | None = None) -> np.ndarray:
    shape = n if channels == 1 else (n, channels)
    x = (np.random.default_rng(n).standard_normal(shape) * 3000).astype(np.int16)
    soundfile.write(path, x, rate, subtype)
    return x


# ---------------------------------------------------------------- what is read


def test_names_labels_and_order_are_the_files(root: Path) -> None:
    dataset = Freesound(root)
    table = dataset.table("train")
    assert list(table["id"]) == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert dataset.classes == ("Bark", "Meow")
    np.testing.assert_array_equal(targets(table), [[0, 1], [1, 0], [1, 0], [0, 1]])
    assert "weight" not in table
    assert len(dataset.table("test")) == 0


def test_verified_only_leaves_out_what_nobody_checked(root: Path) -> None:
    assert list(Freesound(root, verified_only=True).table("train")["id"]) == ["0.wav", "2.wav"]


def test_unverified_clips_can_count_less(root: Path) -> None:
    table = Freesound(root, unverified_weight=0.25).table("train")
    assert list(table["weight"]) == [1, 0.25, 1, 0.25]
    with pytest.raises(UserError, match="unverified_weight=2"):
        Freesound(root, unverified_weight=2.0)


def test_labels_that_look_like_something_else_stay_text_and_folds_pass_through(root: Path) -> None:
    csv(root, "0.wav,NA,1", "1.wav,007,0", "2.wav,NA,2", header="fname,label,fold")
    dataset = Freesound(root)
    assert dataset.classes == ("007", "NA")
    assert list(dataset.table("train")["fold"]) == [1, 0, 2]


def test_a_clip_is_what_the_file_holds_at_its_own_rate(root: Path) -> None:
    x = sound(root / "audio_train/2.wav", 999, rate=22_050)
    sound(root / "audio_train/1.flac", 500, subtype="PCM_24")
    csv(root, "2.wav,a,1", "1.flac,b,1")
    dataset = Freesound(root)
    np.testing.assert_array_equal(dataset.read("train", 0), x.astype(np.float32) / 32768)
    raw = dataset.read("train", 1)
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw, soundfile.read(root / "audio_train/1.flac", dtype="float32")[0])


@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050, 16_000, 8_000])
def test_other_rates_are_resampled_to_the_length_that_was_announced(root: Path, rate: int) -> None:
    import librosa

    lengths = [1, 17, 100, 442, 4410, 9001]
    for n in lengths:
        sound(root / f"audio_train/{n}.wav", n, rate)
    csv(root, *(f"{n}.wav,{'ab'[n % 2]},1" for n in lengths))
    dataset = Freesound(root)
    announced = dataset.lengths("train", 16_000)
    clips = [dataset.read("train", i, sample_rate=16_000) for i in range(len(lengths))]
    assert [len(c) for c in clips] == list(announced)
    own = soundfile.read(root / "audio_train/9001.wav", dtype="float32")[0]
    expected = librosa.resample(own, orig_sr=rate, target_sr=16_000, res_type="soxr_hq")
    np.testing.assert_allclose(clips[-1], expected, atol=1e-6)


def test_stored_sixteen_bit_numbers_are_the_files_and_features_of_one_rate_share_a_store(
    simulated: Path, tmp_path: Path
) -> None:
    dataset = Freesound(simulated)
    stores = [
        open_or_build(dataset, features, "train", tmp_path, 1)
        for features in (FreesoundMFCC(), FreesoundLogMel(sample_rate=44_100))
    ]
    path = dataset.files("train")[3]
    x = soundfile.read(path, dtype="int16")[0]
    np.testing.assert_array_equal(stores[0].windows(np.array([3]), np.array([0]), len(x))[0, 0], x)
    assert stores[0].folder == stores[1].folder


# ---------------------------------------------------------------- features


@pytest.mark.parametrize(
    ("features", "shape"),
    [
        (FreesoundWaveform(), (1, 32_000)),
        (FreesoundMFCC(), (1, 40, 173)),
        (FreesoundLogMel(), (1, 64, 126)),
        (FreesoundLogMel(44_100, 1.5, n_mels=128, n_fft=4096, hop=441), (1, 128, 151)),
    ],
    ids=["waveform", "mfcc", "logmel", "logmel 44.1 kHz"],
)
def test_a_model_gets_the_announced_shape_of_every_clip(
    simulated: Path, tmp_path: Path, features: Audio, shape: tuple[int, ...]
) -> None:
    dataset = Freesound(simulated)
    assert features.spec(dataset).shape == shape
    half = features.device_half()
    parts: tuple[Part, ...] = ("train", "test")
    for part in parts:
        opened = open_or_build(dataset, features, part, tmp_path, 1)
        rows = np.arange(len(opened))
        side = Batches(
            opened, rows, np.zeros((len(rows), 4), np.float32), None, torch.device("cpu"), features.window(dataset)
        )
        if part == "train" and isinstance(half, Standardised):
            half.fit(batch.x for batch in side.in_order(8))
        for batches in (side.in_order(8), side.shuffled(8, (0,))):
            x = torch.cat([half(batch.x) for batch in batches])
            assert x.shape == (len(rows), *shape)
            assert x.isfinite().all()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: FreesoundWaveform(sample_rate=0), "features.sample_rate=0"),
        (lambda: FreesoundWaveform(seconds=0.0), "features.seconds=0"),
        (lambda: FreesoundMFCC(n_mfcc=200), "features.n_mfcc=200"),
        (lambda: FreesoundLogMel(hop=0), "features.hop=0"),
        (lambda: FreesoundLogMel(n_mels=128, n_fft=512), "features.n_mels=128 bands are too many for n_fft=512"),
    ],
)
def test_options_out_of_range_are_refused(make: Callable[[], Audio], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()


# ---------------------------------------------------------------- what a person may get wrong


@pytest.mark.parametrize(
    ("header", "rows", "says"),
    [
        ("fname,kind", ["0.wav,Meow"], "lacks the column label; it has fname, kind"),
        ("fname,label", [], "has no rows"),
        ("fname,label", ["0.wav,Meow", "1.wav,"], r"line 3 has no label$"),
        ("fname,label", ["0.wav,Meow", "1.wav"], r"fewer fields than the 2 of its header.*: line 3 has 1$"),
        ("fname,label", ["0.wav,Meow", ",Bark"], r"line 3 has no fname$"),
        ("fname,label", ["0.wav,Meow", "1.wav,Bark", "0.wav,Bark"], r"0\.wav \(lines 2, 4\) is Bark and Meow"),
        ("fname,label", ["0.wav,Meow", "1.wav,Bark", "0.wav,Meow"], r"0\.wav \(lines 2, 4\) is there 2 times"),
        (
            "fname,label",
            ["0.wav,Meow", "9.wav,Bark", "8.wav,Bark"],
            r"train\.csv and .*audio_train don't fit in 2 places.*: 9\.wav has no file; 8\.wav has no file$",
        ),
        ("fname,label", ["0.wav,Meow", "1.wav,Meow"], "has 1 labels; expected at least two"),
        ("fname,label", ["0.wav,Meow,1", "1.wav,Bark,1,0"], "line 2 has 3; line 3 has 4$"),
    ],
    ids=["column", "rows", "label", "short", "fname", "two labels", "twice", "no file", "one class", "columns"],
)
def test_a_broken_table_is_named_with_line_and_text(root: Path, header: str, rows: list[str], says: str) -> None:
    csv(root, *rows, header=header)
    with pytest.raises(UserError, match=says):
        Freesound(root).table("train")


def test_verified_only_needs_its_column_and_only_ones_and_zeros(root: Path) -> None:
    csv(root, "0.wav,Meow,1", "1.wav,Bark,maybe")
    with pytest.raises(UserError, match=r"line 3 has a manually_verified that is neither 0 nor 1$"):
        Freesound(root, verified_only=True).table("train")
    csv(root, "0.wav,Meow", "1.wav,Bark", header="fname,label")
    with pytest.raises(UserError, match="lacks the column manually_verified"):
        Freesound(root, verified_only=True).table("train")


def test_all_a_table_and_its_folder_get_wrong_is_said_at_once_ten_and_then_a_count(root: Path) -> None:
    for i in range(7):
        sound(root / f"audio_train/more{i}.wav", 50)
    csv(root, "0.wav,Meow,1", "1.wav,,0", "9.wav,Bark,maybe", "0.wav,Bark,1", "3.wav,Meow,0", prune=False)
    with pytest.raises(UserError) as error:
        Freesound(root, unverified_weight=0.5).table("train")
    said = str(error.value)
    assert "don't fit in 12 places" in said
    assert "line 3 has no label; 0.wav (lines 2, 5) is Bark and Meow; line 4 has a manually_verified" in said
    assert "9.wav has no file; 2.wav has no row; more0.wav has no row" in said
    assert said.endswith("more4.wav has no row; and 2 more")
    assert "\n" not in said


def test_verified_only_knows_the_other_rows_files(root: Path) -> None:
    (root / "audio_train/1.wav").unlink()  # nobody reads it: its row is left out
    sound(root / "audio_train/more.wav", 50)
    with pytest.raises(UserError, match=r"in 1 places.*: more\.wav has no row$"):
        Freesound(root, verified_only=True).table("train")


def test_clips_of_different_rates_share_a_store_at_one_rate(root: Path, tmp_path: Path) -> None:
    rates = {"0.wav": 8_000, "1.wav": 44_100, "2.wav": 48_000, "3.wav": 16_000}
    for name, rate in rates.items():
        sound(root / f"audio_train/{name}", rate // 2, rate)
    opened = open_or_build(Freesound(root), FreesoundWaveform(), "train", tmp_path / "store", 1)
    assert opened.lengths.tolist() == [8_000] * 4


def test_all_broken_files_are_named_at_once_before_anything_is_decoded(root: Path, tmp_path: Path) -> None:
    audio = root / "audio_train"
    sound(audio / "stereo.wav", 100, channels=2)
    (audio / "zero.wav").write_bytes(b"")
    soundfile.write(audio / "empty.wav", np.zeros(0, np.int16), 44_100)
    (audio / "text.wav").write_text("not a sound")
    sound(audio / "whole.wav", 1000)
    (audio / "cut.wav").write_bytes((audio / "whole.wav").read_bytes()[:1000])
    sound(audio / "whole.ogg", 90_000)
    (audio / "cut.ogg").write_bytes((audio / "whole.ogg").read_bytes()[:20_000])
    soundfile.write(audio / "nan.wav", np.array([0.1, np.nan], np.float32), 44_100, "FLOAT")
    names = ["stereo.wav", "zero.wav", "empty.wav", "text.wav", "whole.wav", "cut.wav", "whole.ogg", "cut.ogg"]
    names.append("nan.wav")
    csv(root, *(f"{n},{'ab'[i % 2]},1" for i, n in enumerate(names)))
    with pytest.raises(UserError) as error:
        open_or_build(Freesound(root), FreesoundWaveform(), "train", tmp_path / "store", 1)
    sentence = str(error.value)
    assert f"7 of 9 sounds in {audio} can't be used" in sentence
    assert "stereo.wav has 2 channels (stereo), expected mono" in sentence
    assert "zero.wav holds no sound; empty.wav holds no sound" in sentence
    assert "text.wav can't be read as sound" in sentence
    assert "; cut.wav is cut short" in sentence
    assert "; cut.ogg is cut short" in sentence
    assert "; nan.wav holds NaN" in sentence
    assert "whole." not in sentence
    assert sentence.count("whole copies") == 1
    assert "\n" not in sentence


def test_a_cut_test_file_is_an_error_and_a_test_file_of_no_bytes_is_not(root: Path, tmp_path: Path) -> None:
    (root / "audio_test").mkdir()
    sound(root / "audio_test/a.wav", 900)
    (root / "audio_test/b.wav").write_bytes(b"")
    opened = open_or_build(Freesound(root), FreesoundMFCC(), "test", tmp_path / "store", 1)
    assert opened.lengths.tolist() == [900, 0]
    (root / "audio_test/a.wav").write_bytes((root / "audio_test/a.wav").read_bytes()[:700])
    with pytest.raises(UserError, match=r"1 of 2 sounds .*audio_test.*: a\.wav is cut short"):
        open_or_build(Freesound(root), FreesoundMFCC(), "test", tmp_path / "store", 1)


def test_a_clip_of_nan_is_named(root: Path) -> None:
    soundfile.write(root / "audio_train/1.wav", np.array([0.1, np.nan, 0.2], np.float32), 44_100, "FLOAT")
    with pytest.raises(UserError, match=r"audio_train/1\.wav holds NaN"):
        Freesound(root).read("train", 1)


def test_a_file_whose_header_does_not_know_its_length_is_read(root: Path) -> None:
    path = root / "audio_train/0.wav"
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = b"\xff" * 4
    path.write_bytes(data)
    assert header(path) == (2000, 44_100)


# ---------------------------------------------------------------- test files and the submission


def test_empty_and_near_empty_test_files_are_predicted(simulated: Path) -> None:
    dataset = Freesound(simulated)
    assert sorted(dataset.lengths("test", 44_100))[:2] == [0, freesound.NEAR_EMPTY]
    assert len(dataset.table("test")) == 5
    empty = int(np.argmin(dataset.lengths("test", 44_100)))
    assert dataset.read("test", empty, sample_rate=16_000).shape == (0,)


def test_the_submission_has_three_labels_a_row_in_the_samples_order(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.datasets.freesound.PADDED", (6, 1))
    shutil.copytree(simulated, tmp_path / "root")
    sample = pd.read_csv(tmp_path / "root/sample_submission.csv")
    padded = pd.concat([sample.iloc[::-1], pd.DataFrame({"fname": ["padding.wav"], "label": [""]})])
    padded.to_csv(tmp_path / "root/sample_submission.csv", index=False)
    dataset = Freesound(tmp_path / "root")
    ids = list(dataset.table("test")["id"])
    assert ids == list(sample["fname"])[::-1]
    probability = np.random.default_rng(0).dirichlet(np.ones(4), len(ids))
    dataset.write_submission(tmp_path / "submission.csv", ids[::-1], probability[::-1])
    written = pd.read_csv(tmp_path / "submission.csv")
    assert list(written.columns) == ["fname", "label"]
    assert list(written["fname"]) == list(padded["fname"])
    for label, p in zip(written["label"], probability, strict=False):
        best = sorted(range(4), key=lambda k: -p[k])[:3]
        assert label.split(" ") == [dataset.classes[k] for k in best]
    assert len(written["label"].iloc[-1].split(" ")) == 3


def test_without_a_sample_the_test_folder_says_what_to_predict(simulated: Path, tmp_path: Path) -> None:
    shutil.copytree(simulated, tmp_path / "root")
    (tmp_path / "root/sample_submission.csv").unlink()
    dataset = Freesound(tmp_path / "root")
    ids = list(dataset.table("test")["id"])
    assert ids == sorted(p.name for p in (simulated / "audio_test").iterdir())
    dataset.write_submission(tmp_path / "s.csv", ids, np.full((5, 4), 0.25))
    written = pd.read_csv(tmp_path / "s.csv")
    assert list(written["fname"]) == ids
    assert set(written["label"]) == {" ".join(dataset.classes[:3])}


def test_a_sample_of_another_competition_and_labels_with_spaces_are_refused(root: Path) -> None:
    (root / "audio_test").mkdir()
    sound(root / "audio_test/t.wav", 100)
    (root / "sample_submission.csv").write_text("fname,label\nother.wav,Bark\n")
    with pytest.raises(UserError, match=r"1 of the 1 names .* and 1 files.*other\.wav has no file; t\.wav has no row"):
        Freesound(root).table("test")
    csv(root, "0.wav,Meow,1", "1.wav,Dog bark,0")
    with pytest.raises(UserError, match=r"the label 'Dog bark' has a space"):
        Freesound(root).table("train")


# ---------------------------------------------------------------- metric, simulator, config, real sounds


def test_map3_is_the_mean_of_one_over_the_rank() -> None:
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(5), 300).round(1)  # rounded: with ties
    target = np.eye(5)[rng.integers(0, 5, 300)]
    total = 0.0
    for p, y in zip(probability, target, strict=True):
        guesses = sorted(range(5), key=lambda k: (-p[k], k))[:3]
        for i, guess in enumerate(guesses):
            total += y[guess] / (i + 1)
    assert MAP3.score(target, probability) == pytest.approx(total / 300)
    assert MAP3.better(0.9, 0.8)
    assert MAP3.score(np.eye(2), np.array([[0.3, 0.7], [0.2, 0.8]])) == 0.75


def test_the_simulator_writes_the_competitions_files_and_the_same_ones_again(simulated: Path, tmp_path: Path) -> None:
    freesound.simulate(tmp_path, n_train=12, n_test=5, n_classes=4, longest=4.0, seed=1)
    files = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert all((tmp_path / f).read_bytes() == (simulated / f).read_bytes() for f in files)
    rows = pd.read_csv(simulated / "train.csv")
    assert list(rows.columns) == ["fname", "label", "manually_verified"]
    info = soundfile.info(simulated / "audio_train" / rows["fname"][0])
    assert (info.channels, info.samplerate, info.subtype) == (1, 44_100, "PCM_16")
    assert 0.29 < info.duration <= 4
    assert rows["label"].nunique() == 4
    assert list(pd.read_csv(simulated / "sample_submission.csv").columns) == ["fname", "label"]


def test_only_unverified_labels_are_wrong_and_few_of_them() -> None:
    rows = freesound.labels(2000, 41, seed=0)
    wrong = rows["label"] != rows["true"]
    unverified = rows["manually_verified"] == 0
    assert not wrong[~unverified].any()
    assert wrong[unverified].mean() == pytest.approx(freesound.WRONG, abs=0.001)
    assert rows["true"].nunique() == 41


def test_all_timbres_sound_and_differ() -> None:
    clips = [freesound.clip(name, np.random.default_rng(0)) for name in freesound.timbres()]
    assert len({c.tobytes() for c in clips}) == 41
    assert all(np.abs(c).max() > 1000 for c in clips)
    with pytest.raises(UserError, match="n_classes=42"):
        freesound.timbres(42)


def test_ten_folds_are_the_default_and_the_command_line_wins() -> None:
    def split(*overrides: str) -> object:
        return compose("dataset=freesound", *overrides)[0].split["n_splits"]

    assert split() == 10
    assert split("model=cnn1d", "split.n_splits=3") == 3
    assert split("split=predefined") is None
    assert compose("dataset=heartbeat")[0].split["n_splits"] == 5


@pytest.mark.slow
@pytest.mark.skipif(not ESC10.is_dir(), reason="the real ESC-10 is not here")
def test_real_esc10_reads_whole_with_its_own_classes_and_folds(tmp_path: Path) -> None:
    dataset, features = Freesound(ESC10), FreesoundWaveform()
    table = dataset.table("train")
    assert len(dataset.classes) == 10
    assert list(targets(table).sum(axis=0)) == [40] * 10
    opened = open_or_build(dataset, features, "train", tmp_path, 1)
    assert len(opened) == 400
    assert 3.6 * 16_000 < opened.lengths.min() < opened.lengths.max() < 7.3 * 16_000
    fold = assignment.assign(table, opened.digests(), splits.predefined).fold
    np.testing.assert_array_equal(np.bincount(fold), [80] * 5)
