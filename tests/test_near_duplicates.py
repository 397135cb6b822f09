"""Near-duplicates: found by content alone, and kept on one side of every fold."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.crossval.plan import make_plan
from bench.data import assignment, fingerprints, near_duplicates, splits, store
from bench.data.joined import InMemory
from bench.data.near_duplicates import pairs_of
from bench.data.ragged import Ragged
from bench.datasets.base import Dataset
from bench.datasets.freesound import Freesound
from bench.datasets.heartbeat import Heartbeat
from bench.datasets.hms import HMS
from bench.datasets.seti import Seti
from bench.runs.recipe import deciding
from bench.simulators import freesound, heartbeat, hms, planted, seti
from bench.spec import UserError
from bench.training import parts
from conftest import Composed, compose

KINDS: dict[str, tuple[type[Dataset], Callable[..., None], dict[str, Any]]] = {
    "freesound": (Freesound, freesound.simulate, {"n_train": 82, "n_test": 1, "longest": 3.0, "near_duplicates": 20}),
    "heartbeat": (Heartbeat, heartbeat.simulate, {"n_train": 600, "n_test": 1, "near_duplicates": 40}),
    "hms": (HMS, hms.simulate, {"n_eegs": 16, "n_patients": 4, "n_test": 0, "near_duplicates": 6}),
    "seti": (Seti, seti.simulate, {"n_train": 50, "n_test": 0, "n_old": 0, "height": 32, "near_duplicates": 20}),
}


def opened(dataset: Dataset, folder: Path) -> store.Store:
    return store.open_or_build(dataset, parts.comparable_features(dataset), "train", folder, 1)


def planted_pairs(dataset: Dataset) -> set[tuple[int, ...]]:
    """Positions in the training table, the earlier first."""
    position = {str(name): i for i, name in enumerate(dataset.table("train")["id"])}
    with (dataset.root / planted.FILE).open(encoding="ascii") as file:
        return {tuple(sorted((position[r["id"]], position[r["copy_of"]]))) for r in csv.DictReader(file)}


@pytest.mark.parametrize("name", KINDS)
def test_of_the_planted_ones_95_in_100_are_found_and_none_elsewhere(name: str, tmp_path: Path) -> None:
    kind, simulate, settings = KINDS[name]
    simulate(tmp_path / "raw", seed=0, **settings)
    dataset = kind(tmp_path / "raw")
    known = planted_pairs(dataset)
    found = near_duplicates.near_duplicates(opened(dataset, tmp_path / "store"), workers=2)
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    assert len(known) == settings["near_duplicates"]
    assert len(pairs & known) >= 0.95 * len(known)
    assert not pairs - known
    assert (found.groups[found.pairs[:, 0]] == found.groups[found.pairs[:, 1]]).all()
    assert (found.groups >= 0).sum() == len({row for pair in pairs for row in pair})


@pytest.mark.parametrize("name", KINDS)
def test_a_simulator_plants_nothing_unless_asked(name: str, tmp_path: Path) -> None:
    _, simulate, settings = KINDS[name]
    few = {"n_eegs": 2} if name == "hms" else {"n_train": 8}
    simulate(tmp_path, **{**settings, **few, "near_duplicates": 0})
    assert not (tmp_path / planted.FILE).exists()
    with pytest.raises(UserError, match=r"near_duplicates=9 must lie between 0 and"):
        simulate(tmp_path / "more", **{**settings, **few, "near_duplicates": 9})


@pytest.fixture(scope="module")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beats of which some are copies, more than folds could keep together by chance."""
    root = tmp_path_factory.mktemp("beats")
    heartbeat.simulate(root, n_train=160, n_test=4, seed=1, near_duplicates=16)
    return root


def test_what_was_found_is_read_again_and_what_is_damaged_made_again(
    beats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_store = opened(Heartbeat(beats), tmp_path)
    first = near_duplicates.near_duplicates(opened_store)
    with monkeypatch.context() as patched:
        patched.setattr(fingerprints.Describer, "__call__", lambda *_: pytest.fail("described again"))
        again = near_duplicates.near_duplicates(opened_store)
        np.testing.assert_array_equal(again.pairs, first.pairs)
        np.testing.assert_array_equal(again.similarity, first.similarity)
        # other ties ask for other pairs, of the fingerprints that are there
        tied = np.arange(len(opened_store))
        tied[first.pairs[:, 1]] = tied[first.pairs[:, 0]]
        assert len(near_duplicates.near_duplicates(opened_store, tied).pairs) == 0
    for path in opened_store.folder.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:-40])
    np.testing.assert_array_equal(near_duplicates.near_duplicates(opened_store).pairs, first.pairs)


def test_windows_that_overlap_by_half_are_one_chain() -> None:
    rng = np.random.default_rng(0)
    long_ct = np.cumsum(rng.standard_normal((6, 64 * 9)), axis=1)
    windows = [long_ct[:, start : start + 128] for start in range(0, 64 * 8, 64)]
    strangers = list(np.cumsum(rng.standard_normal((8, 6, 128)), axis=2))
    x = np.array(windows + strangers, np.float32)
    pairs, _, shift = pairs_of(InMemory(x), np.arange(len(x)), 1)
    assert {tuple(pair) for pair in pairs.tolist()} == {(k, k + 1) for k in range(len(windows) - 1)}
    assert set(shift.tolist()) == {64}


def test_cuts_of_one_sound_are_found_at_their_offset() -> None:
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal(n) * 2000 for n in (9000, 20_000, 31_000, 4000)]
    sounds.append(sounds[2][7000:27_000] * 0.3)
    rows = [np.rint(sound)[None].astype(np.int16) for sound in sounds]
    pairs, similarity, shift = pairs_of(Ragged(rows), np.arange(len(rows)), 1)
    assert pairs.tolist() == [[2, 4]]
    assert shift.tolist() == [7000]
    assert similarity[0] > 0.999


def test_rows_that_are_one_number_or_padding_are_nobodys_copy() -> None:
    x = np.random.default_rng(0).standard_normal((12, 1, 80)).astype(np.float32)
    x[:3] = 0
    x[3:6, :, :] = [[[2.0]]]
    x[6:9, :, 40:] = 0
    pairs, _, _ = pairs_of(InMemory(x), np.arange(len(x)), 1)
    assert len(pairs) == 0


def test_no_rows_have_no_near_duplicates() -> None:
    assert len(pairs_of(InMemory(np.zeros((0, 1, 80), np.float32)), np.arange(0), 1)[0]) == 0


# ---------------------------------------------------------------- the split


def table(n: int, **columns: object) -> pd.DataFrame:
    one_hot = np.eye(2, dtype=np.float32)[np.arange(n) % 2]
    frame = pd.DataFrame(one_hot, columns=["target_0", "target_1"])
    return frame.assign(id=[f"r{i}" for i in range(n)], **columns)


def near(n: int, *sets: tuple[int, ...]) -> np.ndarray:
    numbers = np.full(n, -1)
    for number, rows in enumerate(sets):
        numbers[list(rows)] = number
    return numbers


NOTHING = np.zeros((40, 16), np.uint8)


@pytest.mark.parametrize("way", [splits.stratified, partial(splits.group, n_splits=3), splits.time])
def test_no_split_parts_near_duplicates(way: assignment.Splitter) -> None:
    rows = table(40, group=np.arange(40), time=np.arange(40), near=near(40, (20, 27, 29), (22, 39)))
    if way is splits.stratified:
        rows = rows.drop(columns="group")
    assigned = assignment.assign(rows, NOTHING, way)
    assert len(set(assigned.fold[[20, 27, 29]])) == len(set(assigned.fold[[22, 39]])) == 1
    assert any(
        "5 rows are near-duplicates of another id, in 2 sets (first: r20, r27, r29)" in n for n in assigned.notes
    )


def test_a_predefined_fold_that_parts_near_duplicates_is_refused() -> None:
    rows = table(40, fold=np.arange(40) // 2 % 2, near=near(40, (0, 2)))
    with pytest.raises(UserError, match=r"a near-duplicate stands in folds \[0, 1\] at once \(ids r0, r2\)"):
        assignment.assign(rows, NOTHING, splits.predefined)
    assert any("a near-duplicate" in n for n in assignment.assign(rows, NOTHING, splits.predefined, False).notes)


def test_near_duplicates_are_one_block_with_their_groups_and_copies() -> None:
    digests = NOTHING.copy()
    digests[[1, 30]] = 7
    rows = table(40, group=[*range(20), *range(20)], near=near(40, (0, 1)))
    tied = assignment.blocks(rows, digests)
    assert len(set(tied[[0, 20, 1, 21, 30, 10]])) == 1
    assert len(set(tied)) == 20 - 2


@pytest.fixture
def command(beats: Path, tmp_path: Path) -> Callable[..., Composed]:
    here = [f"dataset.root={beats}", f"outputs={tmp_path}/outputs", f"store={tmp_path}/store", "device=cpu"]
    return lambda *words: compose("dataset=heartbeat", "model=mlp", *here, "tracking.enabled=false", *words)


def test_a_run_keeps_them_on_one_side_where_it_is_asked_to(
    command: Callable[..., Composed], beats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apart = make_plan(*command())
    plan = make_plan(*command("split.duplicates=near"))
    pairs = np.array(sorted(planted_pairs(plan.dataset)))
    fold, exact = plan.rows["fold"].to_numpy(), apart.rows["fold"].to_numpy()
    assert (fold[pairs[:, 0]] == fold[pairs[:, 1]]).all()
    assert (exact[pairs[:, 0]] != exact[pairs[:, 1]]).any()
    assert plan.run.folder != apart.run.folder
    assert "near" not in apart.rows
    assert f"{2 * len(pairs)} rows are near-duplicates" in "".join(plan.inputs.notes)
    assert "pairs of 160 training examples are near-duplicates" in capsys.readouterr().err


def test_folds_do_not_depend_on_the_features_or_the_labels(command: Callable[..., Composed]) -> None:
    plans = [make_plan(*command("split.duplicates=near", *words)) for words in ([], ["features=hydra"])]
    assert plans[0].inputs.stores != plans[1].inputs.stores
    pd.testing.assert_frame_equal(plans[0].rows, plans[1].rows)


def test_runs_of_before_keep_their_names_and_wrong_words_are_refused(command: Callable[..., Composed]) -> None:
    usual, other = command()[0], command("split.duplicates=near")[0]
    assert "duplicates" not in deciding(usual)["split"]
    assert deciding(other)["split"]["duplicates"] == "near"
    with pytest.raises(UserError, match=r"split.duplicates=all is not one of exact, near"):
        make_plan(*command("split.duplicates=all"))
