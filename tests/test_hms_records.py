"""HMS: sub-records, votes, and which part of a file a row is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.data.store import open_or_build
from bench.datasets.base import targets
from bench.datasets.hms import HMS
from bench.features.hms_waveform import HMSWaveform
from bench.simulators.hms import simulate
from bench.spec import UserError

VOTES = [f"{c}_vote" for c in ("seizure", "lpd", "gpd", "lrda", "grda", "other")]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hms") / "raw"
    simulate(root, n_eegs=16, n_patients=6, n_test=2, seed=3)
    return root


@pytest.fixture
def root(simulated: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(simulated, tmp_path / "raw"))


def csv(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "train.csv")


def test_each_sub_record_is_a_row_with_its_own_votes_and_the_central_one_is_validated(simulated: Path) -> None:
    rows = csv(simulated)
    assert (rows["eeg_id"].value_counts() > 2).any()
    table = HMS(simulated, records="each").table("train")
    assert len(table) == len(rows)
    assert table["id"].is_unique
    assert "trained" not in table
    for eeg_id, mine in table.groupby("example"):
        own = rows[rows["eeg_id"] == eeg_id].sort_values("eeg_label_offset_seconds").reset_index()
        votes = own[VOTES].to_numpy()
        np.testing.assert_allclose(targets(mine), votes / votes.sum(axis=1, keepdims=True), rtol=1e-6)
        assert list(mine["votes"]) == list(votes.sum(axis=1))
        offset = own.eeg_label_offset_seconds
        centre = (offset.min() + offset.max()) / 2
        assert mine["validated"].sum() == 1
        distance = (offset - centre).abs().to_numpy()
        assert distance[mine["validated"].to_numpy()][0] == distance.min()


def test_a_row_reads_its_own_fifty_seconds(simulated: Path) -> None:
    rows, dataset = csv(simulated), HMS(simulated, records="each")
    table = dataset.table("train")
    row = rows[rows["eeg_sub_id"] == 2].iloc[0]
    late = int(np.flatnonzero(table["id"] == f"{row['eeg_id']}_2")[0])
    whole = pd.read_parquet(dataset.files("train")[late])
    start = int(row["eeg_label_offset_seconds"]) * 200
    assert start > 0
    np.testing.assert_array_equal(
        dataset.read("train", late, columns=["Fp1", "EKG"]), whole[["Fp1", "EKG"]].to_numpy()[start : start + 10_000]
    )
    both = dataset.read("train", late, columns=["Cz"], spectrogram=True)
    assert isinstance(both, dict)
    drawn = pd.read_parquet(simulated / f"train_spectrograms/{row['spectrogram_id']}.parquet")
    first = int(row["spectrogram_label_offset_seconds"]) // 2
    np.testing.assert_array_equal(both["spectrogram"], drawn.drop(columns="time").to_numpy()[first : first + 300])
    assert both["eeg"].shape == (10_000, 1)


def test_what_a_feature_writes_into_one_row_does_not_reach_the_next(simulated: Path) -> None:
    dataset = HMS(simulated, records="each")
    first = dataset.read("train", 0, columns=["Fp1"])
    assert isinstance(first, np.ndarray)
    kept = first.copy()
    first[:] = 7
    np.testing.assert_array_equal(dataset.read("train", 0, columns=["Fp1"]), kept)


def test_an_eeg_that_is_one_row_has_the_spectrogram_around_its_middle(simulated: Path) -> None:
    rows, dataset = csv(simulated), HMS(simulated)
    for i, eeg_id in enumerate(dataset.table("train")["id"]):
        mine = rows[rows["eeg_id"] == eeg_id]
        offset = mine["spectrogram_label_offset_seconds"]
        first = int((offset.min() + offset.max()) / 2 // 2)
        whole = pd.read_parquet(simulated / f"train_spectrograms/{mine['spectrogram_id'].iloc[0]}.parquet")
        found = dataset.read("train", i, spectrogram=True)
        np.testing.assert_array_equal(found, whole.drop(columns="time").to_numpy()[first : first + 300])
    assert dataset.read("test", 0, spectrogram=True).shape == (300, 400)


def test_too_few_votes_are_left_out_of_the_side_that_asks_for_more(simulated: Path) -> None:
    rows = csv(simulated).assign(n=lambda r: r[VOTES].sum(axis=1))
    table = HMS(simulated, records="each", min_votes=3, min_votes_valid=10).table("train")
    assert len(table) == (rows["n"] >= 3).sum()
    assert (table["votes"][table["validated"]] >= 10).all()
    assert table["validated"].sum() == rows["eeg_id"][rows["n"] >= 10].nunique()
    table = HMS(simulated, min_votes=10, min_votes_valid=1).table("train")
    assert "validated" not in table
    assert list(table["trained"]) == list(table["votes"] >= 10)
    table = HMS(simulated, min_votes=10).table("train")
    assert (table["votes"] >= 10).all()
    assert "trained" not in table


def test_a_threshold_above_all_votes_is_refused_with_the_most_there_are(simulated: Path) -> None:
    most = csv(simulated)[VOTES].sum(axis=1).max()
    with pytest.raises(UserError, match=rf"min_votes=99 .* the most votes in .*train.csv are {most}"):
        HMS(simulated, min_votes=99).table("train")


def test_a_window_that_moved_is_computed_again(root: Path, tmp_path: Path) -> None:
    features = HMSWaveform()
    before = open_or_build(HMS(root, records="each"), features, "train", tmp_path / "store", 1)
    rows = csv(root)
    rows.loc[rows["eeg_sub_id"] == 1, "eeg_label_offset_seconds"] -= 1
    rows.to_csv(root / "train.csv", index=False)
    after = open_or_build(HMS(root, records="each"), features, "train", tmp_path / "store", 1)
    assert before.folder != after.folder
    changed = (before.digests() != after.digests()).any(axis=1)
    ids = HMS(root, records="each").table("train")["id"]
    assert set(ids[changed]) == {f"{r.eeg_id}_1" for r in rows[rows["eeg_sub_id"] == 1].itertuples()}


def test_a_window_beyond_the_files_end_names_the_file(root: Path) -> None:
    rows = csv(root)
    rows.loc[0, "eeg_label_offset_seconds"] = 500
    rows.to_csv(root / "train.csv", index=False)
    dataset = HMS(root, records="each")
    row = int(np.flatnonzero(dataset.table("train")["id"] == f"{rows['eeg_id'][0]}_{rows['eeg_sub_id'][0]}")[0])
    with pytest.raises(UserError, match=rf"{rows['eeg_id'][0]}.parquet has \d+ rows, too few for .* second 500"):
        dataset.read("train", row)


@pytest.mark.parametrize("what", ["eegs", "spectrograms"])
def test_files_without_a_row_and_rows_without_a_file_are_named_together(root: Path, what: str) -> None:
    folder = root / f"train_{what}"
    gone, *_ = sorted(folder.iterdir())
    gone.rename(folder / "777.parquet")
    with pytest.raises(UserError, match=rf"{gone.name} is not there; 777.parquet has no row") as caught:
        HMS(root).also_read("train", spectrogram=True)
    assert "1 files there have no row" in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.write_bytes(b""), "can't be read as parquet"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "can't be read as parquet"),
        (lambda path: pd.read_parquet(path).iloc[:100].to_parquet(path), "has 100 rows from second .*expected 300"),
        (lambda path: pd.read_parquet(path).iloc[:, :200].to_parquet(path), "has 99 columns of region RL from 0.59 to"),
    ],
)
def test_a_broken_spectrogram_is_named(root: Path, damage: object, sentence: str) -> None:
    path = root / f"train_spectrograms/{csv(root)['spectrogram_id'][0]}.parquet"
    damage(path)  # type: ignore[operator]
    dataset = HMS(root)
    row = int(np.flatnonzero(dataset.table("train")["id"] == csv(root)["eeg_id"][0])[0])
    with pytest.raises(UserError, match=rf"{path.name} {sentence}"):
        dataset.read("train", row, spectrogram=True)


def test_records_is_one_of_two_words(simulated: Path) -> None:
    with pytest.raises(UserError, match="records=all is not one of summed, each"):
        HMS(simulated, records="all")  # type: ignore[arg-type]
