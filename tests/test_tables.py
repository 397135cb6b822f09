"""One strict reader of CSVs for every data set: what it reads, and what it says of a file that is not one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.datasets import tables
from bench.datasets.base import Dataset, targets
from bench.datasets.freesound import Freesound
from bench.datasets.heartbeat import Heartbeat
from bench.datasets.hms import HMS
from bench.datasets.seti import Seti
from bench.spec import UserError

NO_BREAK = "\u00a0"


def written(root: Path, text: str | bytes) -> Path:
    path = root / "a.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    "text",
    [
        "id,label\n1,a\n2,b\n",
        "id,label\r\n1,a\r\n2,b",
        b"\xef\xbb\xbfid,label\n1,a\n2,b\n",
        "\n\nid,label\n\n1,a\n\n\n2,b\n\n",
        "id,label\n1,a\n   \n2,b\n",
        'id,"label"\n"1","a"\n2,b\n',
        " id , label \n 1 ,a\n2, b \n",
        f"id,label\n1{NO_BREAK},a\n2,{NO_BREAK}b\u200b\n",
        "label,other,id\na,x,1\nb,y,2\n",
    ],
    ids=["plain", "crlf", "bom", "blank lines", "line of spaces", "quotes", "spaces", "no-break", "order"],
)
def test_the_same_rows_are_read_of_every_spelling(text: str | bytes, tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, text), ["id", "label"])
    assert (table.text("id").tolist(), table.text("label").tolist()) == (["1", "2"], ["a", "b"])


def test_cells_keep_commas_quotes_and_line_breaks_that_stand_in_quotes(tmp_path: Path) -> None:
    path = written(tmp_path, 'id,label\n1,"a, ""b"""\n2,"c\nd"\n3,e\n')
    table = tables.read(path, ["id", "label"])
    assert table.text("label").tolist() == ['a, "b"', "c\nd", "e"]
    assert [table.line(row) for row in range(3)] == [2, 3, 5]


def test_words_that_stand_for_nothing_elsewhere_stay_words(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "id,label\n1,NA\n2,null\n3,nan\n"), ["label"])
    assert table.text("label").tolist() == ["NA", "null", "nan"]


def test_a_row_of_more_than_a_megabyte_is_read(tmp_path: Path) -> None:
    signal = ",".join(["0.12500", "0.2500"] * 75_000)
    assert len(signal) > tables.BLOCK
    (tmp_path / "train.csv").write_text(f'id,heartbeat_signals,label\n1,"{signal}",0\n2,"{signal}",1\n')
    dataset = Heartbeat(tmp_path)
    assert dataset.length == 150_000
    np.testing.assert_array_equal(dataset.read("train", 1)[0, :4], [0.125, 0.25, 0.125, 0.25])
    assert dataset.table("train")["id"].tolist() == [1, 2]


def test_spaces_that_are_left_out_are_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "id,label\n1,a\n\n2,a \n3, a\n")
    for _ in range(2):
        tables.read(path, ["id", "label"])
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "spaces around 2 cells of label are left out (first: line 4)" in told


def test_numbers_are_the_texts_and_what_is_none_is_named(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "a,b,c\n0.1,7,1\n1e-3,8,-2\n,9,x\ninf,10,1_0\n"), ["a", "b", "c"])
    values, problems = table.numbers("a", least=0)
    np.testing.assert_array_equal(values, [0.1, 1e-3, np.nan, np.nan])
    assert problems == ["line 4, a is ''", "line 5, a is 'inf'"]
    assert table.integers("b")[0].tolist() == [7, 8, 9, 10]
    assert table.integers("c")[1] == ["line 4, c is 'x'", "line 5, c is '1_0'"]
    assert table.numbers("c", least=0)[1][0] == "line 3, c is '-2'"


# ---------------------------------------------------------------- what a person may get wrong


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"a\.csv is empty"),
        ("\n\n", r"a\.csv is empty"),
        ("id,label\n", r"has no rows below its header"),
        ("id,kind\n1,a\n", r"lacks the column label; it has id, kind$"),
        ("id;label\n1;a\n", r"lacks the column id, label; it has id;label; its columns must be parted by commas"),
        ("id,label,label\n1,a,b\n", r"has the column label twice; keep one of them"),
        (
            "id,label\n1,a,\n2,b,\n",
            r"2 rows with more or fewer fields than the 2 .*commas at their ends.*: line 2 has 3",
        ),
        ("id,label\n\n\n1,a\n\n2\n3,c,d\n", r": line 6 has 1; line 7 has 3$"),
        ('id,label\n1,"a\n2,b\n3,c\n', r"a\.csv, line 2: a quote opens and does not close"),
        ('id,label\n1,a\n2,b"c\n3,"d"e\n4\n', r"a\.csv, line 4: .* expected after"),
        (b"id,label\n1,a\n2,\xe9\n", r"a\.csv, line 3, is not UTF-8"),
        ("id,label\n1,a\n".encode("utf-16"), r"a\.csv, line 1, is not UTF-8"),
        (b"PK\x03\x04 and so on", r"is a spreadsheet or an archive by its content"),
    ],
)
def test_what_is_no_table_is_named(text: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says) as error:
        tables.read(written(tmp_path, text), ["id", "label"])
    assert str(tmp_path / "a.csv") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_second_column_of_a_name_that_nobody_reads_is_no_trouble(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "id,x,x,label\n1,2,3,a\n"), ["id", "label"], ["y"])
    assert table.text("label").tolist() == ["a"]
    assert "y" not in table


# ---------------------------------------------------------------- every data set


def heartbeats(root: Path, rows: list[str], header: str) -> Dataset:
    lines = [f'{i},"0.{i},0.5,0.25",{row}' for i, row in enumerate(rows)]
    (root / "train.csv").write_text("\n".join([f"id,heartbeat_signals,label{header}", *lines]) + "\n")
    return Heartbeat(root)


def cadences(root: Path, rows: list[str], header: str) -> Dataset:
    for i in range(len(rows)):
        (root / "train" / str(i)).mkdir(parents=True)
        np.save(root / f"train/{i}/{i}a.npy", np.full((6, 2, 2), i, np.float16))
    lines = [f"{i}a,{row}" for i, row in enumerate(rows)]
    (root / "train_labels.csv").write_text("\n".join([f"id,target{header}", *lines]) + "\n")
    return Seti(root)


def sounds(root: Path, rows: list[str], header: str) -> Dataset:
    (root / "audio_train").mkdir()
    for i in range(len(rows)):
        (root / f"audio_train/{i}.wav").write_bytes(b"")  # a table does not look into them
    lines = [f"{i}.wav,{row}" for i, row in enumerate(rows)]
    (root / "train.csv").write_text("\n".join([f"fname,label{header}", *lines]) + "\n")
    return Freesound(root)


def eegs(root: Path, rows: list[str], header: str) -> Dataset:
    (root / "train_eegs").mkdir()
    for i in range(len(rows)):
        pq.write_table(pa.table({"Fp1": pa.array(np.zeros(4, np.float32))}), root / f"train_eegs/{10 + i}.parquet")
    lines = [
        f"{10 + i},0,{i // 2},{row.replace('0', '3,0', 1) if row[0] == '0' else '0,' + row}"
        for i, row in enumerate(rows)
    ]
    (root / "train.csv").write_text("\n".join([f"eeg_id,eeg_sub_id,patient_id,a_vote,b_vote{header}", *lines]) + "\n")
    return HMS(root)


Make = Callable[[Path, list[str], str], Dataset]
EACH = pytest.mark.parametrize(
    "make", [heartbeats, cadences, sounds, eegs], ids=["heartbeat", "seti", "freesound", "hms"]
)


@EACH
def test_columns_of_ones_own_reach_every_table(make: Make, tmp_path: Path) -> None:
    rows = ["0,p ,0,0.5,2024-05-01", f"1,{NO_BREAK}p,0,1,2024-05-02", "0,q,1,2,2024-05-03", "1,q,1,0,2024-05-04"]
    table = make(tmp_path, rows, ",group,fold,weight,time").table("train")
    assert table["group"].tolist() == ["p", "p", "q", "q"]
    assert table["fold"].tolist() == [0, 0, 1, 1]
    assert table["weight"].tolist() == [0.5, 1, 2, 0]
    assert table["time"].tolist() == ["2024-05-01", "2024-05-02", "2024-05-03", "2024-05-04"]
    np.testing.assert_array_equal(targets(table), [[1, 0], [0, 1], [1, 0], [0, 1]])


@EACH
def test_a_group_that_is_blank_and_a_weight_that_is_none_are_refused_with_their_lines(
    make: Make, tmp_path: Path
) -> None:
    rows = ["0,p,1", "1, ,1", "0,q,-1", "1,q,much"]
    with pytest.raises(UserError, match=r"line 3 has no group.*line 4, weight is '-1'.*line 5, weight is 'much'"):
        make(tmp_path, rows, ",group,weight").table("train")


@EACH
def test_rows_with_more_fields_than_the_header_are_named_with_their_lines(make: Make, tmp_path: Path) -> None:
    rows = ["0", "1,", "0", "1,"]
    with pytest.raises(UserError, match=r"2 rows with more or fewer fields .*: line 3 has \d; line 5 has \d$"):
        make(tmp_path, rows, "").table("train")


@EACH
def test_a_blank_id_or_label_is_refused_with_its_line(make: Make, tmp_path: Path) -> None:
    make(tmp_path, ["0", "1", "0", "1"], "")
    path = next(tmp_path.glob("train*.csv"))
    lines = path.read_text().splitlines()
    lines[2] = "," + lines[2].partition(",")[2]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"line 3 has no (id|fname|eeg_id)"):
        type(make).__call__(reopened, make, tmp_path).table("train")


def reopened(make: Make, root: Path) -> Dataset:
    """The data set of a root that is there."""
    kinds: dict[Make, type[Dataset]] = {heartbeats: Heartbeat, cadences: Seti, sounds: Freesound, eegs: HMS}
    return kinds[make](root)


def test_labels_that_differ_by_a_space_are_one_class(tmp_path: Path) -> None:
    dataset = sounds(tmp_path, ["meow", "meow ", f"meow{NO_BREAK}", "bark"], "")
    assert dataset.classes == ("bark", "meow")
    assert targets(dataset.table("train")).sum(0).tolist() == [1, 3]


def test_labels_of_beats_may_be_words(tmp_path: Path) -> None:
    dataset = heartbeats(tmp_path, ["normal", "early ", "normal", "late"], "")
    assert dataset.classes == ("early", "late", "normal")
    dataset.write_submission(tmp_path / "s.csv", [7], np.array([[0.2, 0.3, 0.5]]))
    assert (tmp_path / "s.csv").read_text().splitlines() == ["id,label_early,label_late,label_normal", "7,0.2,0.3,0.5"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (
            ["0", "1", "0", "sick"],
            r"1 labels that are not whole numbers as the others.*line 5 \(id 3\) has label 'sick'",
        ),
        (["sick", "well", "sick", "1"], r"1 labels that are not words as the others.*line 5 \(id 3\) has label '1'"),
        (["0", "1", "0", "1.5"], r"line 5 \(id 3\) has label '1.5'"),
    ],
)
def test_labels_of_beats_are_all_words_or_all_numbers(labels: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        heartbeats(tmp_path, labels, "").table("train")


def test_a_beat_of_another_length_is_named_and_not_all_the_others(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "id,heartbeat_signals,label\n" + '0,"1,2",0\n' + "".join(f'{i},"1,2,3",{i % 2}\n' for i in range(1, 9))
    )
    with pytest.raises(UserError, match=r"1 rows that are not 3 numbers.*: line 2 \(id 0\) has 2 values, expected 3"):
        Heartbeat(tmp_path).table("train")


def test_a_class_that_only_unverified_rows_have_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sounds(tmp_path, ["meow,1", "bark,1", "meow,0", "moo,0"], ",manually_verified")
    dataset = Freesound(tmp_path, verified_only=True)
    assert dataset.classes == ("bark", "meow")
    assert "no row of moo is verified" in capsys.readouterr().err


def test_a_weight_of_ones_own_and_an_unverified_weight_multiply(tmp_path: Path) -> None:
    sounds(tmp_path, ["meow,1,2", "bark,0,2", "meow,0,1", "bark,1,0"], ",manually_verified,weight")
    assert Freesound(tmp_path, unverified_weight=0.25).table("train")["weight"].tolist() == [2, 0.5, 0.25, 0]


def test_a_patient_stays_in_one_group_of_ones_own(tmp_path: Path) -> None:
    dataset = eegs(tmp_path, ["0,a", "1,b", "0,b", "1,b"], ",group")
    with pytest.raises(UserError, match=r"gives a patient more than one group; .*: patient_id 0$"):
        dataset.table("train")
