"""Folders that were unpacked a level too deep, or are not what they should be, are told before anything is computed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.datasets.base import Dataset
from bench.datasets.freesound import Freesound
from bench.datasets.heartbeat import Heartbeat
from bench.datasets.hms import HMS
from bench.datasets.seti import Seti
from bench.simulators import freesound, heartbeat, hms, seti
from bench.spec import Part, UserError

KINDS: dict[str, tuple[type[Dataset], Callable[[Path], None]]] = {
    "freesound": (Freesound, lambda root: freesound.simulate(root, n_train=4, n_test=2, n_classes=2, longest=0.5)),
    "heartbeat": (Heartbeat, lambda root: heartbeat.simulate(root, n_train=20, n_test=2, length=8)),
    "hms": (HMS, lambda root: hms.simulate(root, n_eegs=2, n_patients=2, n_test=1)),
    "seti": (Seti, lambda root: seti.simulate(root, n_train=4, n_test=2, n_old=0, height=2, width=2)),
}
DEEP = [
    ("freesound", "audio_train", "train"),
    ("freesound", "audio_test", "test"),
    ("hms", "train_eegs", "train"),
    ("hms", "test_eegs", "test"),
    ("hms", "train_spectrograms", "train"),
    ("hms", "test_spectrograms", "test"),
    ("seti", "train", "train"),
    ("seti", "test", "test"),
]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    roots = tmp_path_factory.mktemp("roots")
    for name, (_, simulate) in KINDS.items():
        (roots / name).mkdir()
        simulate(roots / name)
    return roots


@pytest.fixture
def roots(simulated: Path, tmp_path: Path) -> Path:
    """Copies that a test may break."""
    return Path(shutil.copytree(simulated, tmp_path / "roots"))


def looked_at(dataset: Dataset, part: Part) -> None:
    """What a training command asks of a part before it computes anything."""
    dataset.table(part)
    dataset.also_read(part, **({"spectrogram": True} if dataset.name == "hms" else {}))


def a_level_deeper(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.mkdir()
    folder.with_name("moved").rename(folder / folder.name)


def moved_up(folder: Path) -> None:
    """What the advice says."""
    inner = folder / folder.name
    for path in inner.iterdir():
        path.rename(folder / path.name)
    inner.rmdir()


@pytest.mark.parametrize("sample", [True, False], ids=["with a sample", "without"])
@pytest.mark.parametrize(("name", "folder", "part"), DEEP)
def test_files_a_level_too_deep_are_told_with_where_to_move_them(
    name: str, folder: str, part: Part, sample: bool, roots: Path
) -> None:
    root = roots / name
    if not sample and name != "seti":
        (root / "sample_submission.csv").unlink(missing_ok=True)
    a_level_deeper(root / folder)
    says = rf"{root / folder} holds the folder {folder}.*move what is in {root / folder / folder} one level up"
    with pytest.raises(UserError, match=says):
        looked_at(KINDS[name][0](root), part)
    moved_up(root / folder)
    looked_at(KINDS[name][0](root), part)


def test_another_folder_among_the_files_is_named(roots: Path) -> None:
    (roots / "freesound/audio_train/more").mkdir()
    with pytest.raises(UserError, match="holds the folder more where files are expected"):
        Freesound(roots / "freesound").table("train")


def test_what_systems_leave_in_folders_is_no_sound(roots: Path) -> None:
    folder = roots / "freesound/audio_train"
    (folder / "__MACOSX").mkdir()
    for name in (".DS_Store", "._0001.wav", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"x")
    assert len(Freesound(roots / "freesound").table("train")) == 4


@pytest.mark.parametrize("name", KINDS)
def test_a_root_that_lies_in_the_folder_given_is_named(name: str, roots: Path) -> None:
    with pytest.raises(UserError, match=rf"dataset\.root={roots} lacks .*; they are in dataset\.root={roots / name}$"):
        KINDS[name][0](roots)


def test_a_table_that_is_a_folder_and_a_folder_that_is_a_file_are_told(roots: Path) -> None:
    path = roots / "heartbeat/train.csv"
    path.rename(path.with_name("moved"))
    path.mkdir()
    path.with_name("moved").rename(path / "train.csv")
    with pytest.raises(
        UserError, match=rf"{path} is a folder, expected a file; move {path / 'train.csv'} one level up"
    ):
        Heartbeat(roots / "heartbeat")
    shutil.rmtree(roots / "hms/train_eegs")
    (roots / "hms/train_eegs").write_bytes(b"")
    with pytest.raises(UserError, match="train_eegs is a file, expected a folder; unpack it"):
        HMS(roots / "hms")


def test_names_with_a_folder_in_them_have_their_files_there(roots: Path) -> None:
    root = roots / "freesound"
    table = (root / "train.csv").read_text(encoding="utf-8").splitlines()
    first = table[1].partition(",")[0]
    (root / "audio_train/chirp").mkdir()
    (root / "audio_train" / first).rename(root / "audio_train/chirp" / first)
    with pytest.raises(UserError, match="holds the folder chirp"):
        Freesound(root).table("train")
    (root / "train.csv").write_text("\n".join([table[0], f"chirp/{table[1]}", *table[2:]]) + "\n", encoding="utf-8")
    data = Freesound(root)
    assert f"chirp/{first}" in set(data.table("train")["id"])
    position = list(data.table("train")["id"]).index(f"chirp/{first}")
    assert len(data.read("train", position)) > 0
    (root / "audio_train/chirp/other.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"chirp/other\.wav has no row"):
        Freesound(root).table("train")
