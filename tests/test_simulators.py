from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.datasets.base import targets
from bench.datasets.heartbeat import Heartbeat
from bench.datasets.hms import HMS
from bench.features.hms_waveform import HMSWaveform
from bench.simulators import heartbeat, hms

TRAIN_COLUMNS = [
    "eeg_id",
    "eeg_sub_id",
    "eeg_label_offset_seconds",
    "spectrogram_id",
    "spectrogram_sub_id",
    "spectrogram_label_offset_seconds",
    "label_id",
    "patient_id",
    "expert_consensus",
    "seizure_vote",
    "lpd_vote",
    "gpd_vote",
    "lrda_vote",
    "grda_vote",
    "other_vote",
]
EEG_COLUMNS = [
    "Fp1",
    "F3",
    "C3",
    "P3",
    "F7",
    "T3",
    "T5",
    "O1",
    "Fz",
    "Cz",
    "Pz",
    "Fp2",
    "F4",
    "C4",
    "P4",
    "F8",
    "T4",
    "T6",
    "O2",
    "EKG",
]


def content(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def eegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hms")
    hms.simulate(root, n_eegs=30, n_patients=8, n_test=4, seed=0)
    return root


# ---------------------------------------------------------------- HMS


def test_hms_files_are_the_competitions(eegs: Path) -> None:
    train, test = pd.read_csv(eegs / "train.csv"), pd.read_csv(eegs / "test.csv")
    assert list(train.columns) == TRAIN_COLUMNS
    assert list(test.columns) == ["spectrogram_id", "eeg_id", "patient_id"]
    assert len(test) == 4
    for part, rows in (("train", train), ("test", test)):
        for kind in ("eeg", "spectrogram"):
            names = {int(p.stem) for p in (eegs / f"{part}_{kind}s").iterdir()}
            assert names == set(rows[f"{kind}_id"])
    assert not set(train["patient_id"]) & set(test["patient_id"])
    assert not set(train["eeg_id"]) & set(test["eeg_id"])
    assert train["label_id"].is_unique
    assert train["patient_id"].nunique() == 8


def test_an_eeg_has_20_float32_columns_and_covers_every_sub_record(eegs: Path) -> None:
    train = pd.read_csv(eegs / "train.csv")
    for eeg_id, rows in train.groupby("eeg_id"):
        file = pq.ParquetFile(eegs / "train_eegs" / f"{eeg_id}.parquet")
        assert file.schema_arrow.names == EEG_COLUMNS
        assert set(map(str, file.schema_arrow.types)) == {"float"}
        assert file.metadata.row_group(0).column(0).compression == "SNAPPY"
        assert file.metadata.num_rows == 200 * (50 + rows["eeg_label_offset_seconds"].max())


def test_a_spectrogram_has_time_and_400_named_columns(eegs: Path) -> None:
    train = pd.read_csv(eegs / "train.csv")
    longest = train.loc[train["spectrogram_label_offset_seconds"].idxmax()]
    frame = pd.read_parquet(eegs / "train_spectrograms" / f"{longest['spectrogram_id']}.parquet")
    assert frame.shape == (300 + longest["spectrogram_label_offset_seconds"] / 2, 401)
    assert list(frame["time"][:3]) == [1, 3, 5]
    assert frame["time"].dtype == np.int64
    assert [frame.columns[i] for i in (1, 100, 101, 201, 301, 400)] == [
        "LL_0.59", "LL_19.92", "RL_0.59", "LP_0.59", "RP_0.59", "RP_19.92"
    ]  # fmt: skip
    assert (frame.drop(columns="time").dtypes == np.float32).all()
    assert (frame.drop(columns="time").min() >= 0).all()


def test_votes_are_3_to_20_experts_who_differ_a_little_between_sub_records(eegs: Path) -> None:
    votes = pd.read_csv(eegs / "train.csv").set_index("eeg_id").filter(like="_vote")
    assert votes.sum(axis=1).between(3, 20).all()
    spread = votes.groupby("eeg_id").agg(np.ptp).to_numpy()
    assert spread.max() == 1


def test_recordings_have_gaps_as_real_ones_do(eegs: Path) -> None:
    holes = [pd.read_parquet(p).isna().to_numpy().any() for p in (eegs / "train_eegs").iterdir()]
    assert 0 < np.mean(holes) < 0.6


def test_an_eeg_does_not_depend_on_the_ones_before_it(eegs: Path, tmp_path: Path) -> None:
    hms.simulate(tmp_path, n_eegs=10, n_patients=8, n_test=0, seed=0)
    whole, part = content(eegs), content(tmp_path)
    assert not (tmp_path / "test.csv").exists()
    del part["train.csv"]
    assert len(part) == 20
    assert part.items() <= whole.items()


def test_hms_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        hms.simulate(tmp_path / name, n_eegs=3, n_patients=2, n_test=1, seed=seed)
    a, b, c = (content(tmp_path / name) for name in "abc")
    assert a == b
    assert not set(a.values()) & set(c.values())


def test_every_simulated_eeg_can_be_read_and_stored(eegs: Path) -> None:
    dataset, features = HMS(eegs), HMSWaveform()
    for part in ("train", "test"):
        for i in range(len(dataset.table(part))):
            stored = features.store(dataset.read(part, i, **features.reads))
            assert np.isfinite(stored).all()
            assert stored.astype(np.float32).std() > 0.1


def patient(**changes: float) -> hms.Patient:
    usual = {"id": 1, "amplitude": 1.0, "alpha": 9.0, "slope": 1.2, "pulse": 1.2, "mains": 50.0, "pattern": 0}
    return hms.Patient(**(usual | changes))  # type: ignore[arg-type]


def band_power(x_ct: np.ndarray, low: float, high: float) -> np.ndarray:
    power = np.abs(np.fft.rfft(x_ct, axis=-1)) ** 2
    frequency = np.fft.rfftfreq(x_ct.shape[-1], 1 / 200)
    return power[..., (frequency >= low) & (frequency < high)].sum(axis=-1)


def clear(name: str, n: int = 8) -> np.ndarray:
    """(n, 8, 10000): differences of electrodes of ``n`` clear recordings of a pattern; the left four come first."""
    left = [("Fp1", "T3"), ("T3", "O1"), ("Fp1", "C3"), ("C3", "O1")]
    right = [("Fp2", "T4"), ("T4", "O2"), ("Fp2", "C4"), ("C4", "O2")]
    pairs = [(hms.NAMES.index(a), hms.NAMES.index(b)) for a, b in left + right]
    x = [hms.record(hms.CLASSES.index(name), 1.0, 50, patient(), np.random.default_rng([9, i])) for i in range(n)]
    return np.stack([[eeg[a] - eeg[b] for a, b in pairs] for eeg in x])


def asymmetry(x: np.ndarray) -> float:
    left, right = (band_power(x[:, side], 0.5, 4).sum(axis=1) for side in (slice(0, 4), slice(4, 8)))
    return float(np.median(np.abs(np.log(left / right))))


@pytest.mark.parametrize(("lateral", "general"), [("lpd", "gpd"), ("lrda", "grda")])
def test_lateralised_patterns_are_on_one_side_and_generalised_on_both(lateral: str, general: str) -> None:
    assert asymmetry(clear(lateral)) > 2 * asymmetry(clear(general))


def test_rhythmic_delta_is_narrower_in_frequency_than_background() -> None:
    def peak_share(name: str) -> float:
        x = clear(name)
        power = np.stack([band_power(x, f, f + 0.5) for f in np.arange(1, 8, 0.5)], axis=-1).sum(axis=1)
        return float(np.median(power.max(axis=-1) / power.sum(axis=-1)))

    assert peak_share("grda") > 1.5 * peak_share("other")


def test_a_seizure_slows_down_as_it_goes() -> None:
    x = clear("seizure")
    early, late = x[..., 3_200:4_800], x[..., 5_600:7_200]  # it may not start before 13 s or end after 49 s

    def centre(part: np.ndarray) -> float:
        bands = np.arange(1.5, 8, 0.5)
        power = np.stack([band_power(part, f, f + 0.5) for f in bands], axis=-1).sum(axis=(0, 1))
        return float((power * bands).sum() / power.sum())

    assert centre(early) > centre(late) + 0.5


def test_a_clear_pattern_stands_out_and_its_experts_agree() -> None:
    rng = np.random.default_rng(0)
    sure = np.concatenate([hms._votes(2, 1.0, 1, rng) for _ in range(200)]).sum(axis=0)
    unsure = np.concatenate([hms._votes(2, 0.1, 1, rng) for _ in range(200)]).sum(axis=0)
    assert sure[2] / sure.sum() > 0.85 > 0.6 > unsure[2] / unsure.sum()
    assert unsure.argsort()[-2] == 1  # LPD is what GPD is mistaken for


def test_other_is_the_commonest_class(tmp_path: Path) -> None:
    shares = np.bincount([hms._patient(0, i).pattern for i in range(2_000)]) / 2_000
    assert shares.argmax() == hms.CLASSES.index("other")
    np.testing.assert_allclose(shares, hms.SHARES, atol=0.03)


# ---------------------------------------------------------------- heartbeat


def test_heartbeat_files_are_the_competitions(tmp_path: Path) -> None:
    heartbeat.simulate(tmp_path, n_train=300, n_test=20)
    train, test = pd.read_csv(tmp_path / "train.csv"), pd.read_csv(tmp_path / "testA.csv")
    assert list(train.columns) == ["id", "heartbeat_signals", "label"]
    assert list(test.columns) == ["id", "heartbeat_signals"]
    assert test["id"][0] == 100_000
    assert list(train["id"]) == list(range(300))
    assert set(train["label"]) == {0.0, 1.0, 2.0, 3.0}
    assert (train["heartbeat_signals"].str.count(",") == 204).all()
    dataset = Heartbeat(tmp_path)
    beats = np.concatenate([dataset.read("train", i) for i in range(300)])
    assert beats.min() == 0
    assert beats.max() == 1
    tails = np.argmax(beats[:, ::-1] > 0, axis=1)
    assert tails.min() == 0
    assert tails.max() > 60
    assert len(np.unique(tails)) > 30
    assert targets(dataset.table("train")).sum() == 300


def test_heartbeat_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        heartbeat.simulate(tmp_path / name, n_train=10, n_test=5, length=60, seed=seed)
    a, b, c = (content(tmp_path / name) for name in "abc")
    assert a == b
    assert not set(a.values()) & set(c.values())


def test_heartbeat_classes_are_as_rare_as_in_the_competition() -> None:
    labels, _ = heartbeat.beats(5_000, 60, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(labels) / 5_000, heartbeat.SHARES, atol=0.02)


def test_most_beats_are_told_by_their_nearest_neighbours_but_not_all() -> None:
    labels, x = heartbeat.beats(3_000, 205, np.random.default_rng(1))
    train, test = x[:2_500], x[2_500:]
    distance = (test**2).sum(axis=1)[:, None] - 2 * test @ train.T + (train**2).sum(axis=1)[None]
    guess = labels[:2_500][distance.argmin(axis=1)]
    assert 0.8 < (guess == labels[2_500:]).mean() < 0.98


def test_a_ventricular_beat_has_a_wide_qrs() -> None:
    labels, x = heartbeat.beats(4_000, 205, np.random.default_rng(2))
    width = (x[:, 25:75] > 0.6).sum(axis=1)  # samples around R above 60 % of the range
    assert np.median(width[labels == 1]) > 1.8 * np.median(width[labels == 0])
