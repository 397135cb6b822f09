from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.signal import butter, lfilter

from bench.datasets.base import targets
from bench.datasets.hms import HMS
from bench.features.hms_waveform import PAIRS, HMSWaveform
from bench.simulators.hms import simulate
from bench.spec import UserError

ELECTRODES = ["Fp1", "T3", "C3", "O1", "Fp2", "C4", "T4", "O2"]
VOTES = [f"{c}_vote" for c in ("seizure", "lpd", "gpd", "lrda", "grda", "other")]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hms") / "raw"
    simulate(root, n_eegs=14, n_patients=5, n_test=3, seed=1)
    return root


@pytest.fixture
def root(simulated: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(simulated, tmp_path / "raw"))


def write_eeg(path: Path, columns: dict[str, np.ndarray]) -> None:
    pq.write_table(pa.table({k: pa.array(v, from_pandas=True) for k, v in columns.items()}), path)


def noise(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: (200 * rng.standard_normal(rows)).astype(np.float32) for name in ELECTRODES}


def as_written_up(columns: dict[str, np.ndarray]) -> np.ndarray:
    """The first write-up's path, a column and a sample at a time, in float64: (8, 2000)."""
    start = (len(columns["Fp1"]) - 10_000) // 2
    filled = {}
    for name, x in columns.items():
        x = x[start : start + 10_000].astype(np.float64)
        filled[name] = np.where(np.isnan(x), np.nanmean(x) if not np.isnan(x).all() else 0.0, x)
    differences = np.stack([filled[a] - filled[b] for a, b in PAIRS])
    return lfilter(*butter(4, 0.2), np.clip(differences, -1024, 1024) / 32)[:, ::5]


# ---------------------------------------------------------------- table


def test_a_row_is_an_eeg_and_votes_are_summed_over_sub_records(root: Path) -> None:
    rows = pd.read_csv(root / "train.csv")
    table = HMS(root).table("train")
    assert list(table.columns) == ["id", "group", "votes", *(f"target_{v.removesuffix('_vote')}" for v in VOTES)]
    assert list(table["id"]) == sorted(set(rows["eeg_id"]))
    assert len(rows) > len(table)
    for i, eeg_id in enumerate(table["id"]):
        mine = rows[rows["eeg_id"] == eeg_id]
        summed = mine[VOTES].sum().to_numpy()
        np.testing.assert_allclose(table.filter(like="target_").iloc[i], summed / summed.sum())
        assert table["group"].iloc[i] == mine["patient_id"].iloc[0]
        assert table["votes"].iloc[i] == mine[VOTES].sum(axis=1).max()


def test_targets_are_distributions_and_classes_come_in_file_order(root: Path) -> None:
    rows = pd.read_csv(root / "train.csv")
    rows[[*rows.columns[:9], *VOTES[::-1]]].to_csv(root / "train.csv", index=False)
    dataset = HMS(root)
    assert dataset.classes == ("other", "grda", "lrda", "gpd", "lpd", "seizure")
    np.testing.assert_allclose(targets(dataset.table("train")).sum(axis=1), 1, rtol=1e-6)


def test_test_rows_keep_the_files_order_and_no_test_file_is_an_empty_table(root: Path) -> None:
    ids = pd.read_csv(root / "test.csv")["eeg_id"][::-1]
    pd.read_csv(root / "test.csv")[::-1].to_csv(root / "test.csv", index=False)
    assert list(HMS(root).table("test")["id"]) == list(ids)
    (root / "test.csv").unlink()
    dataset = HMS(root)
    assert len(dataset.table("test")) == 0
    assert dataset.files("test") == []


# ---------------------------------------------------------------- reading and the stored half


def test_reads_only_the_columns_asked_for_in_that_order_from_the_middle(root: Path) -> None:
    dataset = HMS(root)
    whole = pd.read_parquet(dataset.files("train")[3])
    start = (len(whole) - 10_000) // 2
    assert start > 0
    raw = dataset.read("train", 3, columns=["T3", "Fp1"])
    assert isinstance(raw, np.ndarray)
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw, whole[["T3", "Fp1"]].to_numpy()[start : start + 10_000])
    assert dataset.read("train", 3).shape == (10_000, 20)


@pytest.mark.parametrize("rows", [10_000, 10_001, 12_345])
def test_the_stored_waveform_is_the_write_ups(rows: int, tmp_path: Path, root: Path) -> None:
    columns = noise(rows)
    columns["T3"][rows // 2 - 100 : rows // 2 + 300] = np.nan
    columns["O2"][:] = np.nan
    columns["C4"][rows // 2 :] *= 20  # beyond the clip
    dataset, features = HMS(root), HMSWaveform()
    write_eeg(dataset.files("train")[0], columns)
    stored = features.store(dataset.read("train", 0, **features.reads))
    expected = as_written_up(columns)
    assert stored.dtype == np.float16
    assert stored.shape == (8, 2000) == features.stored_shape(dataset)
    assert np.abs(stored.astype(np.float64) - expected).max() <= 2.0**-11 * np.abs(expected).max()


def test_the_spec_says_what_is_stored(root: Path) -> None:
    spec = HMSWaveform().spec(HMS(root))
    assert (spec.channels, spec.size, spec.sample_rate, spec.n_classes) == (8, (2000,), 40.0, 6)
    assert HMSWaveform(decimate=3).spec(HMS(root)).size == (3334,)


@pytest.mark.parametrize("change", [{"cutoff": 100.0}, {"order": 0}, {"decimate": 0}, {"clip": 0.0}, {"scale": -1.0}])
def test_settings_that_make_no_sense_are_refused_by_their_key(change: dict[str, float]) -> None:
    with pytest.raises(UserError, match=rf"features\.{next(iter(change))}"):
        HMSWaveform(**change)  # type: ignore[arg-type]


def test_equal_settings_share_a_store_and_other_ones_do_not() -> None:
    assert HMSWaveform(cutoff=20).settings() == HMSWaveform().settings()
    for change in ({"cutoff": 30.0}, {"order": 5}, {"decimate": 4}, {"clip": 512.0}, {"scale": 16.0}):
        assert HMSWaveform(**change).settings() != HMSWaveform().settings()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (np.full((10_000, 8), np.nan, np.float32), "NaN everywhere"),
        (np.full((10_000, 8), np.inf, np.float32), "10000 infinite values"),
    ],
)
def test_an_eeg_that_holds_nothing_is_refused(raw: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        HMSWaveform().store(raw)


# ---------------------------------------------------------------- what a person may get wrong


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:5_000]), "can't be read as parquet"),
        (lambda p: p.write_bytes(b""), "can't be read as parquet"),
        (lambda p: p.unlink(), "can't be read as parquet"),
        (lambda p: write_eeg(p, {k: v for k, v in noise(10_000).items() if k[0] != "T"}), "lacks the column T3, T4"),
        (lambda p: write_eeg(p, noise(9_999)), "has 9999 rows, expected at least 10000"),
        (lambda p: write_eeg(p, noise(10_000) | {"C3": np.array(["x"] * 10_000)}), "column C3, holds .*string"),
        (lambda p: write_eeg(p, noise(10_000) | {"C3": np.zeros(10_000, np.int64)}), "column C3, holds int64"),
    ],
    ids=["truncated", "empty", "gone", "column", "short", "text", "integers"],
)  # fmt: skip
def test_a_broken_eeg_is_named_with_its_path(root: Path, spoil: Callable[[Path], None], says: str) -> None:
    dataset = HMS(root)
    path = dataset.files("train")[2]
    spoil(path)
    with pytest.raises(UserError, match=says) as error:
        dataset.read("train", 2, **HMSWaveform().reads)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def set_cell(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        rows[column] = rows[column].astype(object)
        rows.loc[2, column] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows.drop(columns="patient_id"), "lacks the column patient_id"),
        (lambda rows: rows.drop(columns=VOTES), "expected one a class"),
        (lambda rows: pd.concat([rows, rows[:1]]), r"sub-record twice.*eeg_sub_id 0"),
        (lambda rows: rows.assign(**dict.fromkeys(VOTES, 0)), "votes sum to zero.*and 4 more"),
        (set_cell("lpd_vote", -1), "line 4, lpd_vote is '-1'"),
        (set_cell("lpd_vote", "many"), "line 4, lpd_vote is 'many'"),
        (set_cell("lpd_vote", None), "line 4, lpd_vote is ''"),
        (lambda rows: rows.assign(patient_id=np.arange(len(rows))), "more than one patient_id"),
        (set_cell("patient_id", None), "line 4 has no patient_id"),
        (set_cell("eeg_id", "abc"), "whole numbers in the column eeg_id.*line 4, eeg_id is 'abc'"),
        (lambda rows: rows[:0], "has no rows"),
    ],
    ids=["column", "votes", "twice", "zero", "negative", "text", "missing", "patients", "no patient", "id", "empty"],
)  # fmt: skip
def test_a_broken_train_csv_is_named_with_line_and_column(
    root: Path, change: Callable[[pd.DataFrame], pd.DataFrame], says: str
) -> None:
    change(pd.read_csv(root / "train.csv")).to_csv(root / "train.csv", index=False)
    with pytest.raises(UserError, match=says) as error:
        HMS(root).table("train")
    assert str(root / "train.csv") in str(error.value)


def test_all_eegs_without_a_file_are_named_ten_and_then_counted(root: Path) -> None:
    ids = [int(p.stem) for p in HMS(root).files("train")]
    for eeg_id in ids[:12]:
        (root / "train_eegs" / f"{eeg_id}.parquet").unlink()
    with pytest.raises(UserError, match=r"12 of 14 EEGs of train\.csv have no file") as error:
        HMS(root).table("train")
    assert all(f"{i}.parquet" in str(error.value) for i in ids[:10])
    assert f"{ids[10]}.parquet" not in str(error.value)
    assert "and 2 more" in str(error.value)


def test_a_test_row_without_its_file_is_refused(root: Path) -> None:
    shutil.rmtree(root / "test_eegs")
    with pytest.raises(UserError, match=r"3 of 3 EEGs of test\.csv"):
        HMS(root).table("test")


def test_a_folder_without_the_competitions_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks train\.csv, train_eegs"):
        HMS(tmp_path)
    with pytest.raises(UserError, match="not a folder"):
        HMS(tmp_path / "nowhere")


# ---------------------------------------------------------------- submission


def test_the_submission_is_the_competitions_own(root: Path, tmp_path: Path) -> None:
    dataset = HMS(root)
    ids = list(dataset.table("test")["id"])[::-1]
    probability = np.random.default_rng(0).dirichlet(np.ones(6), 3).astype(np.float32) * 0.999
    path = tmp_path / "submission.csv"
    dataset.write_submission(path, ids, probability)
    written = pd.read_csv(path)
    assert list(written.columns) == ["eeg_id", *VOTES]
    assert list(written["eeg_id"]) == ids
    np.testing.assert_allclose(written[VOTES].sum(axis=1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(written[VOTES], probability / 0.999, atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw", "submission.csv"]


@pytest.mark.parametrize("bad", [np.nan, -0.1])
def test_a_submission_of_no_probabilities_leaves_the_old_file(root: Path, tmp_path: Path, bad: float) -> None:
    dataset = HMS(root)
    path = tmp_path / "submission.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="NaN, negative"):
        dataset.write_submission(path, [1], np.array([[bad, 0.2, 0.2, 0.2, 0.2, 0.2]]))
    assert path.read_text() == "old"


def test_a_fold_column_of_ones_own_reaches_the_table(root: Path) -> None:
    rows = pd.read_csv(root / "train.csv")
    rows["fold"] = rows["patient_id"].factorize()[0] % 2
    rows.to_csv(root / "train.csv", index=False)
    table = HMS(root).table("train")
    assert set(table["fold"]) == {0, 1}
    rows.loc[rows["eeg_id"].duplicated(), "fold"] += 1
    rows.to_csv(root / "train.csv", index=False)
    with pytest.raises(UserError, match="more than one fold"):
        _ = HMS(root).table("train")
