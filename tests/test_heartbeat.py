from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.datasets.base import targets
from bench.datasets.heartbeat import Heartbeat
from bench.features.heartbeat_waveform import HeartbeatWaveform
from bench.simulators.heartbeat import simulate
from bench.spec import UserError

ECG5000 = Path(__file__).parents[1].parent / "shared/real/ecg5000"


def text(rows: list[tuple[str, str, str]], header: str = "id,heartbeat_signals,label", end: str = "\n") -> bytes:
    lines = [header, *(",".join([i, f'"{signal}"', label]) for i, signal, label in rows)]
    return (end.join(lines) + end).encode()


GOOD = [("7", "0.25,1.0,0.0", "0.0"), ("3", "0.5,0.125,1e-3", "2.0"), ("5", "1,0,0.0", "2.0"), ("9", "0,0,1", "0.0")]


def folder(root: Path, train: bytes, test: bytes | None = None) -> Path:
    (root / "train.csv").write_bytes(train)
    if test is not None:
        (root / "testA.csv").write_bytes(test)
    return root


@pytest.fixture
def simulated(tmp_path: Path) -> Path:
    simulate(tmp_path, n_train=60, n_test=20, length=50)
    return tmp_path


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_numbers_labels_and_ids_are_the_files(tmp_path: Path, end: str) -> None:
    dataset = Heartbeat(folder(tmp_path, text(GOOD, end=end)))
    table = dataset.table("train")
    assert list(table["id"]) == [7, 3, 5, 9]
    assert dataset.classes == ("0", "2")
    assert dataset.length == 3
    np.testing.assert_array_equal(targets(table), [[1, 0], [0, 1], [0, 1], [1, 0]])
    raw = dataset.read("train", 1)
    assert raw.shape == (1, 3)
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw, np.array([[0.5, 0.125, 1e-3]], np.float32))


def test_every_number_is_the_float32_nearest_to_its_text(simulated: Path) -> None:
    dataset = Heartbeat(simulated)
    rows = pd.read_csv(simulated / "train.csv")
    for i, signal in enumerate(rows["heartbeat_signals"]):
        expected = np.array([float(v) for v in signal.split(",")], np.float32)
        np.testing.assert_array_equal(dataset.read("train", i)[0], expected)


def test_other_orders_of_columns_and_spaces_are_fine(tmp_path: Path) -> None:
    train = b'label,heartbeat_signals,id\n1,"0.5, 0.25",a\n0," 1.0,2.0",b\n'
    dataset = Heartbeat(folder(tmp_path, train))
    assert list(dataset.table("train")["id"]) == ["a", "b"]
    np.testing.assert_array_equal(np.concatenate([dataset.read("train", i) for i in (0, 1)]), [[0.5, 0.25], [1, 2]])


def test_the_test_table_has_ids_alone_and_is_empty_without_a_file(simulated: Path) -> None:
    dataset = Heartbeat(simulated)
    assert list(dataset.table("test").columns) == ["id"]
    assert list(dataset.table("test")["id"]) == list(range(100_000, 100_020))
    assert dataset.read("test", 19).shape == (1, 50)
    (simulated / "testA.csv").unlink()
    dataset = Heartbeat(simulated)
    assert len(dataset.table("test")) == 0
    assert dataset.files("test") == []


def test_a_pickle_carries_the_table_and_not_the_beats(simulated: Path) -> None:
    dataset = Heartbeat(simulated)
    dataset.table("train")
    beat = dataset.read("train", 5)
    copy = pickle.loads(pickle.dumps(dataset))
    assert "_in_memory" not in copy.__dict__
    assert "_train" in copy.__dict__
    np.testing.assert_array_equal(copy.read("train", 5), beat)


def test_the_feature_stores_the_beat_as_it_stands(simulated: Path) -> None:
    dataset, features = Heartbeat(simulated), HeartbeatWaveform()
    stored = features.store(dataset.read("train", 0, **features.reads))
    assert stored.dtype == np.float32
    assert stored.shape == features.stored_shape(dataset) == (1, 50)
    assert features.spec(dataset).shape == (1, 50)
    with pytest.raises(ValueError, match="expected \\(1, length\\)"):
        features.store(np.zeros(50, np.float32))


@pytest.mark.skipif(not ECG5000.is_dir(), reason="the real ECG5000 is not here")
def test_real_ecg5000_reads_with_its_own_length_and_classes() -> None:
    dataset = Heartbeat(ECG5000)
    table = dataset.table("train")
    assert dataset.length == 140
    assert dataset.classes == ("0", "1", "2", "3", "4")
    assert list(targets(table).sum(axis=0)) == [292, 177, 10, 19, 2]
    assert len(dataset.table("test")) == 4499
    beats = np.concatenate([dataset.read("train", i) for i in range(len(table))])
    np.testing.assert_allclose(beats.mean(axis=1), 0, atol=1e-3)  # z-normalised by its authors
    assert beats[0, 0] == np.float32(-0.112522)


# ---------------------------------------------------------------- what a person may get wrong


def replaced(row: int, field: int, value: str) -> Callable[[], bytes]:
    def make() -> bytes:
        rows = [list(r) for r in GOOD]
        rows[row][field] = value
        return text([(r[0], r[1], r[2]) for r in rows])

    return make


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: text(GOOD, "id,signals,label"), "heartbeat_signals"),
        (lambda: text(GOOD, "id,heartbeat_signals,kind"), "lacks the column label; it has id, heartbeat_signals, kind"),
        (lambda: text(GOOD, "name,heartbeat_signals,label"), "lacks the column id"),
        (lambda: b"", "is empty"),
        (lambda: text([]), "has no rows"),
        (replaced(2, 0, "7"), r"line 4 has an id again \(7\)"),
        (replaced(2, 1, "1,0"), r"line 4 \(id 5\) has 2 values, expected 3"),
        (replaced(2, 1, ""), r"line 4 \(id 5\) has 1 values, expected 3"),
        (replaced(2, 1, "1,zero,0"), r"line 4 \(id 5\) holds 'zero' as value 2"),
        (replaced(2, 1, "1,,0"), r"line 4 \(id 5\) holds '' as value 2"),
        (replaced(2, 1, "1,0,nan"), r"line 4 \(id 5\) holds 'nan' as value 3"),
        (replaced(2, 1, "-inf,0,0"), r"line 4 \(id 5\) holds '-inf' as value 1"),
        (replaced(2, 1, "1e99,0,0"), r"line 4 \(id 5\) holds '1e99' as value 1"),
        (replaced(2, 2, "1.5"), r"line 4 \(id 5\) has label '1.5'"),
        (replaced(2, 2, ""), r"line 4 has no label"),
        (replaced(2, 2, "sick"), r"line 4 \(id 5\) has label 'sick'"),
        (replaced(2, 2, "1,2"), "line 4 has 4$"),
        (lambda: text(GOOD[:1]), "label 0 alone"),
    ],
    ids=[
        "signals", "label", "id", "nothing", "no rows", "twice", "short", "no signal", "word", "gap", "nan", "inf",
        "too large", "half", "no label", "label word", "columns", "one class",
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_line_and_text(tmp_path: Path, make: Callable[[], bytes], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        Heartbeat(folder(tmp_path, make())).table("train")
    assert str(tmp_path / "train.csv") in str(error.value)


def test_all_broken_rows_are_reported_at_once_ten_and_then_a_count(tmp_path: Path) -> None:
    rows = [(str(i), "1,2,3" if i % 2 == 0 else "1,2", "0") for i in range(40)]
    with pytest.raises(UserError, match=r"20 rows that are not 3 numbers") as error:
        Heartbeat(folder(tmp_path, text(rows))).table("train")
    assert str(error.value).count("has 2 values") == 10
    assert str(error.value).endswith("and 10 more")


def test_a_test_beat_of_another_length_than_train_is_refused(tmp_path: Path) -> None:
    test = b'id,heartbeat_signals\n1,"0,0"\n'
    with pytest.raises(UserError, match=r"testA\.csv.*has 2 values, expected 3"):
        Heartbeat(folder(tmp_path, text(GOOD), test)).table("test")


def test_rows_beyond_the_first_block_keep_their_line_numbers(tmp_path: Path) -> None:
    good = "0.1234567890123456," * 204 + "0.5"
    rows = [(str(i), good, str(i % 2)) for i in range(700)]  # some 2.6 MB: several blocks
    rows[650] = ("650", good.replace("0.5", "oops"), "0")
    with pytest.raises(UserError, match=r"line 652 \(id 650\) holds 'oops' as value 205"):
        Heartbeat(folder(tmp_path, text(rows))).table("train")


# ---------------------------------------------------------------- submission


def test_the_submission_is_the_competitions_own(simulated: Path) -> None:
    dataset = Heartbeat(simulated)
    ids = list(dataset.table("test")["id"])[::-1]
    probability = np.random.default_rng(0).dirichlet(np.ones(4), 20)
    path = simulated / "out" / "submission.csv"
    dataset.write_submission(path, ids, probability)
    written = pd.read_csv(path)
    assert list(written.columns) == ["id", "label_0", "label_1", "label_2", "label_3"]
    assert list(written["id"]) == ids
    np.testing.assert_allclose(written.iloc[:, 1:], probability)
    assert [p.name for p in path.parent.iterdir()] == ["submission.csv"]


def test_a_submission_with_nan_or_missing_classes_is_refused(simulated: Path) -> None:
    dataset = Heartbeat(simulated)
    with pytest.raises(ValueError, match="NaN"):
        dataset.write_submission(simulated / "s.csv", [1], np.full((1, 4), np.nan))
    with pytest.raises(ValueError, match=r"\(1, 3\), expected \(1, 4\)"):
        dataset.write_submission(simulated / "s.csv", [1], np.full((1, 3), 1 / 3))
    assert not (simulated / "s.csv").exists()


def test_group_and_fold_columns_of_ones_own_reach_the_table(tmp_path: Path) -> None:
    lines = [f'{i},"0.1,0.{i},0.3",{i % 2},p{i // 2},{i % 3}' for i in range(6)]
    (tmp_path / "train.csv").write_text("\n".join(["id,heartbeat_signals,label,group,fold", *lines]) + "\n")
    table = Heartbeat(tmp_path).table("train")
    assert table["group"].tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert table["fold"].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("ids", [["00", "01"], ["5", "0005"], ["123456789012345678901", "2"], ["a", "b"]])
def test_ids_that_are_no_plain_numbers_stay_as_they_are(ids: list[str], tmp_path: Path) -> None:
    rows = [f'{name},"0.1,0.{i},0.3",{i}' for i, name in enumerate(ids)]
    (tmp_path / "train.csv").write_text("\n".join(["id,heartbeat_signals,label", *rows]) + "\n")
    assert Heartbeat(tmp_path).table("train")["id"].tolist() == ids
