"""EEGs of one's own in HMS's layout: other units, rates, lengths and names of electrodes; columns by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.data.store import open_or_build
from bench.datasets.hms import HMS
from bench.features.base import Features
from bench.features.hms_eeg_spectrogram import HMSEEGSpectrogram
from bench.features.hms_image import HMSImage
from bench.features.hms_spectrogram import HMSSpectrogram
from bench.features.hms_waveform import HMSWaveform
from bench.simulators import hms
from bench.spec import UserError

ELECTRODES = HMSWaveform.reads["columns"]
Columns = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hms") / "raw"
    hms.simulate(root, n_eegs=4, n_patients=4, n_test=1, seed=2)
    return root


@pytest.fixture
def root(simulated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(simulated, tmp_path / "raw"))


def rewritten(folder: Path, change: Callable[[Columns], Columns]) -> None:
    """All parquet files of a folder with other columns."""
    for path in folder.glob("*.parquet"):
        columns = {name: column.to_numpy() for name, column in zip(*of(path), strict=True)}
        pq.write_table(pa.table({k: pa.array(v, from_pandas=True) for k, v in change(columns).items()}), path)


def of(path: Path) -> tuple[list[str], list[pa.ChunkedArray]]:
    table = pq.read_table(path)
    return table.column_names, table.columns


def stored(dataset: HMS, features: Features, folder: Path) -> np.ndarray:
    dataset.also_read("train", **features.reads)
    opened = open_or_build(dataset, features, "train", folder, 1)
    return opened.gather(np.arange(len(opened)))


# ---------------------------------------------------------------- units


@pytest.mark.parametrize(("unit", "factor"), [("V", 1e-6), ("mV", 1e-3), ("nV", 1e3)])
def test_values_in_another_unit_are_named_and_the_setting_makes_them_microvolts(
    unit: str, factor: float, root: Path, simulated: Path, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        rewritten(
            root / f"{part}_eegs", lambda columns: {k: (v * factor).astype(np.float32) for k, v in columns.items()}
        )
    with pytest.raises(
        UserError, match=rf"train_eegs spread by .*: their values are in {unit}; set dataset\.unit={unit}$"
    ):
        HMS(root).also_read("train", **HMSWaveform.reads)
    with pytest.raises(UserError, match=r"test_eegs .* set dataset\.unit="):
        HMS(root).also_read("test", **HMSWaveform.reads)
    ours = stored(HMS(root, unit=unit), HMSWaveform(), tmp_path / "store")
    np.testing.assert_allclose(ours, stored(HMS(simulated), HMSWaveform(), tmp_path / "store"), atol=0.02, rtol=2e-3)


def test_a_unit_that_is_not_the_files_is_named_too(simulated: Path) -> None:
    with pytest.raises(UserError, match=r"with dataset\.unit=V, .*: their values are in uV; set dataset\.unit=uV"):
        HMS(simulated, unit="V").also_read("train", **HMSWaveform.reads)
    with pytest.raises(UserError, match=r"dataset\.unit=volts is not one of V, mV, uV, nV"):
        HMS(simulated, unit="volts")


def test_a_trained_run_asks_for_files_in_its_own_unit(root: Path) -> None:
    rewritten(root / "test_eegs", lambda columns: {k: (v * 1e-6).astype(np.float32) for k, v in columns.items()})
    dataset = HMS.remembered(HMS(root).facts(), root)
    with pytest.raises(UserError, match="values are in V; write them in uV, as the run was trained on"):
        dataset.also_read("test", **HMSWaveform.reads)


def test_a_broken_file_among_the_first_is_left_to_those_who_name_it(root: Path, tmp_path: Path) -> None:
    broken = sorted((root / "train_eegs").iterdir())[0]
    broken.write_bytes(b"")
    dataset = HMS(root)
    dataset.also_read("train", **HMSWaveform.reads)
    with pytest.raises(UserError, match=rf"1 of 4 train examples can't be used.*: {broken} can't be read as parquet"):
        open_or_build(dataset, HMSWaveform(), "train", tmp_path / "store", 1)


# ---------------------------------------------------------------- rates and lengths


def at_rate(rate: float, seconds: float = 52.0) -> Columns:
    """Waves slow enough for 100 Hz, one a channel, at a rate."""
    time = np.arange(round(seconds * rate)) / rate
    return {name: (60 * np.sin(2 * np.pi * (3 + i) * time + i)).astype(np.float32) for i, name in enumerate(ELECTRODES)}


@pytest.mark.parametrize("rate", [100, 250, 256, 500.0, 1024])
def test_other_rates_are_resampled_to_the_same_waves(rate: float, root: Path, tmp_path: Path) -> None:
    rewritten(root / "train_eegs", lambda _: at_rate(200))
    expected = HMS(root).read("train", 0, columns=ELECTRODES)
    rewritten(root / "train_eegs", lambda _: at_rate(rate))
    ours = HMS(root, sample_rate=rate).read("train", 0, columns=ELECTRODES)
    assert ours.shape == expected.shape == (10_000, 8)
    np.testing.assert_allclose(ours[500:-500], expected[500:-500], atol=0.5)


def test_missing_values_stay_missing_and_do_not_spread(root: Path) -> None:
    def holed(columns: Columns) -> Columns:
        columns["C3"][6000:6250] = np.nan
        columns["O1"][:] = np.nan
        return columns

    rewritten(root / "train_eegs", lambda _: holed(at_rate(250)))
    x_tc = HMS(root, sample_rate=250, seconds=52).read("train", 0, columns=ELECTRODES)
    nan_tc = np.isnan(x_tc)
    assert nan_tc[:, ELECTRODES.index("O1")].all()
    assert np.flatnonzero(nan_tc[:, ELECTRODES.index("C3")]).tolist() == list(range(4800, 5000))
    assert nan_tc.sum() == len(x_tc) + 200


def test_a_column_of_times_that_tells_of_another_rate_is_believed(root: Path) -> None:
    def timed(_: Columns, unit: float) -> Columns:
        columns = at_rate(256)
        return {"time": np.arange(len(columns["C3"])) / 256 * unit, **columns}

    for unit in (1.0, 1000.0):
        rewritten(root / "train_eegs", partial(timed, unit=unit))
        with pytest.raises(UserError, match=r"which is 256 Hz, and not 200 Hz; set dataset\.sample_rate=256"):
            HMS(root).also_read("train", **HMSWaveform.reads)
        HMS(root, sample_rate=256).also_read("train", **HMSWaveform.reads)


@pytest.mark.parametrize(
    ("features", "shape"),
    [
        (HMSWaveform(), (8, 1200)),
        (HMSEEGSpectrogram(), (4, 128, 126)),
        (HMSImage(80, 96), (80 * 16 + 26 * 2 * 10,)),
        (HMSSpectrogram(), (4, 100, 300)),
    ],
    ids=["waveform", "eeg spectrogram", "image", "spectrogram"],
)
def test_shorter_windows_serve_every_feature(
    features: Features, shape: tuple[int, ...], simulated: Path, tmp_path: Path
) -> None:
    dataset = HMS(simulated, seconds=30)
    assert dataset.facts()["window"] == dataset.window == 6000
    assert features.stored_shape(dataset)[:-1] == shape[:-1]
    x = stored(dataset, features, tmp_path / "store")
    assert x.shape[1:] == features.stored_shape(dataset)
    if not isinstance(features, HMSImage):
        assert x.shape[1:] == shape
    assert features.spec(dataset).n_classes == 6


def test_a_shorter_window_is_the_middle_of_the_longer(simulated: Path) -> None:
    whole = HMS(simulated).read("train", 1, columns=["Fp1", "O2"])
    short = HMS(simulated, seconds=30).read("train", 1, columns=["Fp1", "O2"])
    np.testing.assert_array_equal(short, whole[2000:8000])


def test_files_that_are_too_short_say_what_to_set(root: Path) -> None:
    rewritten(root / "train_eegs", lambda _: at_rate(200, 31.25))
    says = r"has 6250 rows, expected at least 10000 \(50 s at 200 Hz\); set dataset\.seconds=31\.2 for shorter"
    with pytest.raises(UserError, match=says):
        HMS(root).read("train", 0, columns=ELECTRODES)
    assert HMS(root, seconds=31.2).read("train", 0, columns=ELECTRODES).shape == (6240, 8)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"seconds": 0.5}, r"dataset\.seconds=0\.5 must lie between 1 and 600"),
        ({"sample_rate": 0}, r"dataset\.sample_rate=0 must lie between"),
    ],
)
def test_impossible_recordings_are_refused(option: dict[str, float], says: str, simulated: Path) -> None:
    with pytest.raises(UserError, match=says):
        HMS(simulated, **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("features", "seconds", "says"),
    [
        (HMSEEGSpectrogram(), 4, r"dataset\.seconds=4: .* 5 s at a time; set dataset\.seconds=5 or more"),
        (HMSImage(), 10, r"features=hms_image draws 20 s; set dataset\.seconds=20 or more"),
    ],
)
def test_windows_too_short_for_a_picture_are_refused(
    features: Features, seconds: float, says: str, simulated: Path
) -> None:
    with pytest.raises(UserError, match=says):
        features.spec(HMS(simulated, seconds=seconds)) if seconds < 5 else features.stored_shape(
            HMS(simulated, seconds=seconds)
        )


def test_other_recordings_have_stores_of_their_own(simulated: Path, tmp_path: Path) -> None:
    folders = set()
    for options in ({}, {"seconds": 49}, {"sample_rate": 199}):
        dataset = HMS(simulated, **options)  # type: ignore[arg-type]
        folders.add(open_or_build(dataset, HMSWaveform(decimate=5), "train", tmp_path, 1).folder)
    assert len(folders) == 3


# ---------------------------------------------------------------- names of columns


def test_electrodes_go_by_their_old_and_new_names_in_any_case(root: Path, simulated: Path) -> None:
    new = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8", "Fp1": "FP1", "Fz": "FZ", "EKG": "ECG"}
    rewritten(root / "train_eegs", lambda columns: {new.get(k, k): v for k, v in columns.items()})
    wanted = HMSImage.reads["columns"]
    np.testing.assert_array_equal(
        HMS(root).read("train", 0, columns=wanted), HMS(simulated).read("train", 0, columns=wanted)
    )


def test_only_the_electrodes_that_the_features_read_are_needed(root: Path, tmp_path: Path) -> None:
    rewritten(root / "train_eegs", lambda columns: {k: columns[k] for k in ELECTRODES})
    assert stored(HMS(root), HMSWaveform(), tmp_path / "store").shape == (4, 8, 2000)
    with pytest.raises(UserError, match=r"lacks the column F7, T5, F8, .*which the features read"):
        HMS(root).read("train", 0, **HMSEEGSpectrogram.reads)


def test_an_electrode_that_is_there_twice_is_named_with_its_file(root: Path) -> None:
    path = HMS(root).files("train")[2]
    table = pq.read_table(path)
    pq.write_table(table.append_column("T3", table.column("T3")), path)
    with pytest.raises(UserError, match=rf"{path} has the column T3 twice; keep one"):
        HMS(root).read("train", 2, **HMSWaveform.reads)
    pq.write_table(
        table.drop_columns(["T3"]).append_column("t3", table.column("T3")).append_column("T7", table.column("T3")), path
    )
    with pytest.raises(UserError, match=rf"{path} has t3 and T7 for T3; keep one"):
        HMS(root).read("train", 2, **HMSWaveform.reads)


def test_spectrograms_are_read_by_the_names_of_their_columns(root: Path, simulated: Path) -> None:
    rewritten(root / "train_spectrograms", lambda columns: {k: columns[k] for k in sorted(columns)})
    np.testing.assert_array_equal(
        HMS(root).read("train", 1, spectrogram=True), HMS(simulated).read("train", 1, spectrogram=True)
    )


def renamed(name: str, new: str) -> Callable[[Columns], Columns]:
    return lambda columns: {new if k == name else k: v for k, v in columns.items()}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            renamed("LP_0.59", "LP_60"),
            r"100 columns of region LP from 0\.78 to 60 Hz, expected 100 from LP_0\.59 to LP_19\.92",
        ),
        (renamed("LL_0.59", "first"), r"99 columns of region LL from 0\.78 to 19\.92 Hz, expected 100"),
        (lambda columns: {k: v for k, v in columns.items() if k[:2] != "RP"}, "0 columns of region RP, expected 100"),
        (lambda columns: columns | {"RL_0.59": columns["RL_0.59"] * np.float32(np.inf)}, "holds infinite values from"),
    ],
    ids=["frequency", "name", "region", "infinite"],
)
def test_a_spectrogram_of_other_frequencies_is_named(
    change: Callable[[Columns], Columns], says: str, root: Path
) -> None:
    rewritten(root / "train_spectrograms", change)
    with pytest.raises(UserError, match=says) as error:
        HMS(root).read("train", 0, **HMSImage.reads)
    assert "train_spectrograms" in str(error.value)


def test_a_spectrogram_with_a_column_twice_is_named(root: Path) -> None:
    path = sorted((root / "train_spectrograms").iterdir())[0]
    table = pq.read_table(path)
    pq.write_table(table.append_column("LL_0.59", table.column("LL_0.59")), path)
    dataset = HMS(root)
    row = next(i for i, f in enumerate(dataset.also_read("train", spectrogram=True)[2:]) if f == path)
    with pytest.raises(UserError, match=rf"{path} has the column LL_0\.59 twice"):
        dataset.read("train", row, spectrogram=True)


def test_groups_may_stand_where_there_are_no_patients(root: Path) -> None:
    rows = pd.read_csv(root / "train.csv")
    rows.rename(columns={"patient_id": "group"}).to_csv(root / "train.csv", index=False)
    assert sorted(HMS(root).table("train")["group"]) == sorted(rows.groupby("eeg_id")["patient_id"].first())
