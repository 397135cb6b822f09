from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.data.store import open_or_build
from bench.datasets.base import targets
from bench.datasets.seti import Seti
from bench.features.device.panels import without_background
from bench.features.seti_cadence import SetiCadence
from bench.features.seti_channels import SetiChannels
from bench.features.seti_sequence import SetiSequence
from bench.features.seti_stacked import SetiStacked
from bench.metrics import AUC
from bench.simulators import seti
from bench.spec import UserError
from conftest import compose

SHAPE = (6, 9, 8)
IDS = ["12345678901e234", "000000000000012", "fedcba987654321", "f00000000000000"]


def write(root: Path, ids: list[str], labels: list[str], part: str = "train", csv: str = "train_labels.csv") -> None:
    rng = np.random.default_rng(0)
    for i in ids:
        folder = root / part / i[0]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{i}.npy", rng.standard_normal(SHAPE).astype(np.float16))
    rows = [f"{i},{label}\n" for i, label in zip(ids, labels, strict=True)]
    (root / csv).write_text("id,target\n" + "".join(rows))


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Four training cadences whose names could be taken for numbers, no test part."""
    write(tmp_path, IDS, ["0", "1", "0", "1"])
    return tmp_path


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seti")
    seti.simulate(root, n_train=60, n_test=12, n_old=20, height=9, width=8)
    return root


# ---------------------------------------------------------------- what is read


def test_ids_stay_text_and_labels_and_numbers_are_the_files(four: Path) -> None:
    dataset = Seti(four)
    table = dataset.table("train")
    assert list(table["id"]) == IDS
    assert dataset.classes == ("0", "1")
    np.testing.assert_array_equal(targets(table), [[1, 0], [0, 1], [1, 0], [0, 1]])
    assert dataset.shape == SHAPE
    assert dataset.files("train")[1] == four / "train/0/000000000000012.npy"
    raw = dataset.read("train", 2)
    assert raw.dtype == np.float16
    np.testing.assert_array_equal(raw, np.load(four / "train/f/fedcba987654321.npy"))


def test_the_test_part_has_the_order_of_the_sample_and_needs_list_and_folder(simulated: Path, four: Path) -> None:
    dataset = Seti(simulated)
    assert list(dataset.table("test")["id"]) == list(pd.read_csv(simulated / "sample_submission.csv", dtype=str)["id"])
    assert list(dataset.table("test").columns) == ["id"]
    assert dataset.read("test", 11).shape == SHAPE
    (four / "sample_submission.csv").write_text("id,target\nabc,0.5\n")  # downloaded without its cadences
    assert len(Seti(four).table("test")) == 0
    assert Seti(four).files("test") == []


def test_the_withdrawn_edition_is_a_root_of_its_own(simulated: Path, tmp_path: Path) -> None:
    old, new = Seti(simulated, edition="withdrawn"), Seti(simulated)
    assert len(old.table("train")) == 20
    assert not set(old.table("train")["id"]) & set(new.table("train")["id"])
    assert old.files("train")[0].is_relative_to(simulated / "old_leaky_data/train_old")
    assert len(old.table("test")) == 0
    stores = [open_or_build(d, SetiStacked(), "train", tmp_path, 1) for d in (old, new)]
    assert stores[0].folder != stores[1].folder
    with pytest.raises(UserError, match=r"edition=new is not one of current, withdrawn"):
        Seti(simulated, edition="new")  # type: ignore[arg-type]


def test_a_cadence_in_the_other_order_of_memory_is_the_same(four: Path, tmp_path: Path) -> None:
    path = Seti(four).files("train")[0]
    cadence = np.load(path)
    np.save(path, np.asfortranarray(cadence))
    store = open_or_build(Seti(four), SetiStacked(), "train", tmp_path / "store", 1)
    np.testing.assert_array_equal(store.gather(np.array([0]))[0], cadence)


def test_a_pickle_keeps_the_table(four: Path) -> None:
    dataset = Seti(four)
    dataset.table("train")
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.read("train", 3), dataset.read("train", 3))


# ---------------------------------------------------------------- what a person may get wrong


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("id,target\n", "has no rows"),
        ("id,label\na,0\n", "lacks the column target; it has id, label"),
        ("id,target\na,0\nb,1\na,1\n", r"line 4 has an id again \(a\)"),
        (
            "id,target\na,0\nb,2\nc,\n",
            r"in 2 places \(targets.*: line 3 \(id b\) has the target '2'; line 4 \(id c\) has the target ''$",
        ),
        ("id,target\na,0\nb,0\n", "the target 0 alone"),
        ("id,target\na,0\n,1\n", r"line 3 has no id$"),
    ],
    ids=["nothing", "no rows", "column", "twice", "label", "one class", "no id"],
)
def test_a_broken_table_is_named_with_its_lines(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, ["a", "b", "c"], ["0", "1", "0"])
    if text.count("\n") < 4:  # the files that have rows
        for name in {"a", "b", "c"} - {line.split(",")[0] for line in text.splitlines()}:
            (tmp_path / f"train/{name}/{name}.npy").unlink()
    (tmp_path / "train_labels.csv").write_text(text)
    with pytest.raises(UserError, match=says) as error:
        Seti(tmp_path).table("train")
    assert "train_labels.csv" in str(error.value)


def test_ids_without_files_and_files_without_ids_are_named_ten_and_then_a_count(tmp_path: Path) -> None:
    ids = [f"a{i:014x}" for i in range(30)]
    write(tmp_path, ids, ["0", "1"] * 15)
    for i in ids[:8]:
        (tmp_path / f"train/a/{i}.npy").unlink()
    for number in range(5):
        (tmp_path / f"train/a/ab{number}.npy").touch()
    with pytest.raises(UserError, match=r"train_labels.csv and .*train don't fit in 13 places") as error:
        Seti(tmp_path).table("train")
    assert str(error.value).count("is not there") == 8
    assert "a/ab1.npy has no row" in str(error.value)
    assert str(error.value).endswith("and 3 more")


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (lambda p: p.write_bytes(b""), "is empty"),
    (lambda p: p.write_bytes(p.read_bytes()[:500]), "is cut short"),
    (lambda p: p.write_bytes(p.read_bytes()[:50]), "can't be read as npy"),
    (lambda p: p.write_bytes(b"not a cadence"), "can't be read as npy"),
    (lambda p: np.save(p, np.zeros((5, 9, 8), np.float16)), r"has the shape \(5, 9, 8\), expected \(6, rows, bins\)"),
    (lambda p: np.save(p, np.zeros((6, 9, 7), np.float16)), r"has the shape \(6, 9, 7\), expected \(6, 9, 8\)"),
    (lambda p: np.save(p, np.zeros(SHAPE, np.float32)), "holds float32, expected float16"),
    (lambda p: np.save(p, np.array([{}], object), allow_pickle=True), "holds object, expected float16"),
    (lambda p: np.save(p, spoilt(np.nan)), "holds 1 values that are NaN or infinite, the first in panel 2, row 3"),
    (lambda p: np.save(p, spoilt(-np.inf)), "holds 1 values that are NaN or infinite"),
]


def spoilt(value: float) -> np.ndarray:
    cadence = np.zeros(SHAPE, np.float16)
    cadence[2, 3, 4] = value
    return cadence


@pytest.mark.parametrize("row", [0, 3])
@pytest.mark.parametrize(
    ("spoil", "says"), BROKEN, ids=["empty", "cut", "header", "text", "panels", "bins", "type", "pickle", "nan", "inf"]
)
def test_a_broken_cadence_is_named(
    four: Path, tmp_path: Path, row: int, spoil: Callable[[Path], object], says: str
) -> None:
    path = Seti(four).files("train")[row]
    spoil(path)
    with pytest.raises(UserError, match=says) as error:
        open_or_build(Seti(four), SetiStacked(), "train", tmp_path / "store", 1)
    assert str(path) in str(error.value)
    assert not list((tmp_path / "store").rglob("manifest.json"))


def test_all_broken_cadences_are_named_at_once(tmp_path: Path) -> None:
    ids = [f"a{i:02}" for i in range(20)]
    write(tmp_path, ids, ["0", "1"] * 10)
    dataset = Seti(tmp_path)
    for path, (spoil, _) in zip(dataset.files("train"), [*BROKEN, *BROKEN[:3]], strict=False):
        spoil(path)
    with pytest.raises(UserError, match="13 of 20 train examples") as error:
        open_or_build(dataset, SetiStacked(), "train", tmp_path / "store", 1)
    assert str(error.value).endswith("and 3 more")


def test_all_a_table_and_its_folder_get_wrong_is_said_at_once(tmp_path: Path) -> None:
    write(tmp_path, ["a1", "b1", "c1", "d1"], ["0", "2", "1", "1"])
    (tmp_path / "train/c/c1.npy").unlink()
    (tmp_path / "train_labels.csv").write_text("id,target\na1,0\nb1,2\nc1,1\n,1\na1,0\n")
    with pytest.raises(UserError) as error:
        Seti(tmp_path).table("train")
    assert str(error.value).endswith(
        ": line 5 has no id; line 6 has an id again (a1); c/c1.npy is not there; d/d1.npy has no row; "
        "line 3 (id b1) has the target '2'"
    )


def test_where_no_cadence_can_be_used_all_are_named(four: Path) -> None:
    for path in Seti(four).files("train"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the first 4 training cadences can be used.*: .*0012\.npy is empty"):
        _ = Seti(four).shape


def test_a_root_without_the_files_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks train_labels.csv, train; the seti layout needs"):
        Seti(tmp_path)
    with pytest.raises(UserError, match=r"lacks old_leaky_data/train_labels_old.csv"):
        Seti(tmp_path, edition="withdrawn")


# ---------------------------------------------------------------- features


def as_written_up(cadence: np.ndarray) -> np.ndarray:
    return np.vstack(list(cadence.astype(np.float32)))


@pytest.mark.parametrize("panels", ["all", "on"])
def test_arrangements_hold_the_panels_numbers(simulated: Path, panels: str) -> None:
    dataset = Seti(simulated)
    raw = np.stack([dataset.read("train", i) for i in (0, 1)])
    kept = raw if panels == "all" else raw[:, [0, 2, 4]]
    n = kept.shape[1]
    tall = np.stack([as_written_up(c) for c in kept])
    for features, kind, shape, expected in (
        (SetiStacked(panels), "image", (1, n * 9, 8), tall[:, None]),  # type: ignore[arg-type]
        (SetiChannels(panels), "image", (n, 9, 8), kept.astype(np.float32)),  # type: ignore[arg-type]
        (SetiSequence(panels), "sequence", (8, n * 9), tall.transpose(0, 2, 1)),  # type: ignore[arg-type]
    ):
        spec = features.spec(dataset)
        assert (features.kind, spec.kind, spec.shape) == (kind, kind, shape)
        x = features.device_half()(torch.from_numpy(raw))
        assert x.dtype == torch.float32
        assert x.is_contiguous()
        np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize("level", ["mean", "median"])
def test_the_background_is_each_columns_own(level: str) -> None:
    cadence = np.random.default_rng(0).gamma(3, 2, (2, 6, 9, 8)).astype(np.float16)
    cadence[:, :, :, 5] = 0.1  # a dead column
    expected = np.empty(cadence.shape)
    for b, p, column in np.ndindex(2, 6, 8):
        x = cadence[b, p, :, column].astype(np.float64)
        expected[b, p, :, column] = (x - getattr(np, level)(x)) / max(x.std(), 1e-3)
    ours = SetiChannels("on", level).device_half()(torch.from_numpy(cadence))  # type: ignore[arg-type]
    np.testing.assert_allclose(ours, expected[:, ::2], atol=2e-4)
    np.testing.assert_allclose(ours[..., 5], 0, atol=2e-4)


def test_the_background_leaves_what_it_is_given_alone() -> None:
    x = torch.randn(1, *SHAPE)
    before = x.clone()
    without_background(x, "mean")
    assert torch.equal(x, before)


def test_every_arrangement_shares_one_store(simulated: Path, tmp_path: Path) -> None:
    dataset = Seti(simulated)
    made: list[SetiCadence] = [SetiStacked(), SetiChannels("on"), SetiSequence(background="median")]
    folders = {open_or_build(dataset, features, "train", tmp_path, 1).folder for features in made}
    assert len(folders) == 1
    assert folders.pop().name.startswith("seti_cadence-train-")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(UserError, match=r"features.panels=off is not one of all, on"):
        SetiStacked("off")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"features.background=mode"):
        SetiStacked(background="mode")  # type: ignore[arg-type]


# ---------------------------------------------------------------- metric and submission


def test_auc_is_the_share_of_pairs_in_order_ties_counting_half() -> None:
    rng = np.random.default_rng(0)
    label = rng.random(200) < 0.1
    score = np.round(rng.random(200), 1)  # many ties
    pairs = score[label][:, None] - score[~label][None]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    probability = np.stack([1 - score, score], axis=1)
    assert AUC.score(np.eye(2)[label.astype(int)], probability) == pytest.approx(expected, abs=1e-12)
    assert AUC.direction == "max"


def test_auc_of_one_class_is_no_number_and_of_three_is_refused() -> None:
    half = np.full((3, 2), 0.5)
    assert np.isnan(AUC.score(np.eye(2)[[0, 0, 0]], half))
    assert AUC.score(np.eye(2)[[0, 1, 0]], half) == 0.5
    with pytest.raises(ValueError, match="two classes, and there are 3"):
        AUC.score(np.eye(3), np.eye(3))


def test_the_submission_has_the_samples_ids_in_its_order(simulated: Path, tmp_path: Path) -> None:
    dataset = Seti(simulated)
    ids = list(dataset.table("test")["id"])
    signal = np.random.default_rng(0).random(12)
    dataset.write_submission(tmp_path / "s.csv", ids[::-1], np.stack([1 - signal, signal], axis=1)[::-1])
    written = pd.read_csv(tmp_path / "s.csv", dtype={"id": str})
    assert list(written.columns) == ["id", "target"]
    assert list(written["id"]) == list(pd.read_csv(simulated / "sample_submission.csv", dtype=str)["id"])
    np.testing.assert_allclose(written["target"], signal)


def test_a_submission_of_other_ids_or_values_is_refused(simulated: Path, tmp_path: Path) -> None:
    dataset = Seti(simulated)
    ids = list(dataset.table("test")["id"])
    half = np.full((12, 2), 0.5)
    with pytest.raises(ValueError, match="11 ids, expected the 12"):
        dataset.write_submission(tmp_path / "s.csv", ids[1:], half[1:])
    with pytest.raises(ValueError, match="expected the 12"):
        dataset.write_submission(tmp_path / "s.csv", [*ids[1:], ids[1]], half)
    with pytest.raises(ValueError, match=r"\(12, 3\), expected \(12, 2\)"):
        dataset.write_submission(tmp_path / "s.csv", ids, np.full((12, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
        dataset.write_submission(tmp_path / "s.csv", ids, np.full((12, 2), np.nan))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- simulator


def content(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_simulators_bytes_depend_on_its_arguments_alone(simulated: Path, tmp_path: Path) -> None:
    seti.simulate(tmp_path / "again", n_train=60, n_test=12, n_old=20, height=9, width=8)
    assert content(tmp_path / "again") == content(simulated)
    seti.simulate(tmp_path / "other", n_train=60, n_test=12, n_old=20, height=9, width=8, seed=1)
    assert not set(content(tmp_path / "other").values()) & set(content(simulated).values())


def test_simulated_files_have_the_competitions_layout(tmp_path: Path) -> None:
    seti.simulate(tmp_path, n_train=16, n_test=2, n_old=2)
    labels = pd.read_csv(tmp_path / "train_labels.csv", dtype=str)
    assert set(labels["target"]) == {"0", "1"}
    assert (labels["target"] == "1").sum() == 8
    assert labels["id"].str.fullmatch("[0-9a-f]{15}").all()
    assert pd.read_csv(tmp_path / "old_leaky_data/train_labels_old.csv", dtype=str)["id"].str.len().eq(12).all()
    for path in Seti(tmp_path).files("train"):
        assert path.stat().st_size == 838_784
        cadence = np.load(path)
        assert cadence.shape == (6, 273, 256)
        assert cadence.dtype == np.float16
        assert cadence.flags.c_contiguous
        np.testing.assert_allclose(cadence.astype(np.float32).mean((1, 2)), 0, atol=2e-3)
        np.testing.assert_allclose(cadence.astype(np.float32).std((1, 2)), 1, atol=2e-3)


def test_a_tenth_of_the_cadences_has_a_signal(tmp_path: Path) -> None:
    seti.simulate(tmp_path, n_train=200, n_test=0, n_old=0, height=2, width=4)
    assert targets(Seti(tmp_path).table("train"))[:, 1].sum() == 20
    assert not (tmp_path / "test").exists()
    assert not (tmp_path / "old_leaky_data").exists()


def test_a_signal_stands_in_the_on_panels_and_drifts_on_while_the_telescope_looks_away() -> None:
    x = np.zeros((6, 50, 256), np.float32)
    seti._add_line(x, seti.ON, drift=0.3, level=1.0, rng=np.random.default_rng(3))
    assert (x[[1, 3, 5]] == 0).all()
    centre = (x[::2] * np.arange(256)).sum(2) / x[::2].sum(2)  # (3, 50)
    per_row = 0.3 * 256 / 300
    np.testing.assert_allclose(np.diff(centre, axis=1).mean(), per_row, rtol=0.2)
    np.testing.assert_allclose(centre[1, 0] - centre[0, -1], 51 * per_row, rtol=0.2)


def test_the_noise_is_chi_squared() -> None:
    from scipy.stats import kstest

    noise = seti._noise((40_000,), np.random.default_rng(0))
    assert kstest(noise * np.sqrt(2 * seti.LOOKS), "chi2", (seti.LOOKS,)).pvalue > 0.01


# ---------------------------------------------------------------- the whole plan


def test_a_plan_of_four_stratified_folds_and_the_wrong_kind_of_features(simulated: Path, tmp_path: Path) -> None:
    from bench.crossval.plan import make_plan

    where = [f"dataset.root={simulated}", f"outputs={tmp_path}", f"store={tmp_path / 'store'}", "device=cpu"]
    plan = make_plan(*compose("dataset=seti", "model=mlp", *where))
    assert plan.folds == [0, 1, 2, 3]
    assert plan.inputs.metric == "auc"
    assert plan.inputs.names["features"] == "seti_sequence"
    assert plan.rows.groupby("fold")["target_1"].sum().tolist() == [2, 2, 2, 2]
    with pytest.raises(UserError, match="choose features=seti_sequence or another model"):
        make_plan(*compose("dataset=seti", "model=mlp", "features=seti_stacked", *where))
    withdrawn = make_plan(*compose("dataset=seti", "model=mlp", "dataset.edition=withdrawn", *where))
    assert withdrawn.run.identity != plan.run.identity
