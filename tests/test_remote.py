"""Raw files at an address: the same store as from a folder; fetched when opened, bounded; secrets stay unsaid."""

from __future__ import annotations

import pickle
import re
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from bench import build, prepare, train
from bench.cli.door import run
from bench.data import filling
from bench.data.store import open_or_build
from bench.datasets import remote
from bench.datasets.base import Dataset
from bench.spec import UserError
from bench.training import parts
from conftest import small_overrides
from tiny import RAW, node, raw_files


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    """fsspec's files in memory; what earlier tests left there is gone."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    remote._kinds.clear()
    yield system
    system.store.clear()
    remote._kinds.clear()


def upload(raw: Path, to: str, system: Any) -> None:
    for path in raw.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{to}/{path.relative_to(raw)}", path.read_bytes())


def opened(name: str, root: str | Path, folder: Path) -> Dataset:
    where = parts.files({**node("dataset", name), "root": str(root)}, folder, folder / "store").find()
    return parts.dataset({**node("dataset", name), "root": str(root)}, where)


@pytest.mark.parametrize("name", ["heartbeat", "seti", "hms", "freesound"])
def test_a_store_from_an_address_is_the_one_from_a_folder(name: str, tmp_path: Path, memory: Any) -> None:
    raw = raw_files(name, tmp_path / "raw")
    upload(raw, "/bucket/raw", memory)
    here, there = opened(name, raw, tmp_path), opened(name, "memory://bucket/raw", tmp_path)
    features = parts.features(node("features", here.features["sequence"]))
    one, other = (open_or_build(d, features, "train", tmp_path / str(i), 1) for i, d in enumerate((here, there)))
    assert one.digest == other.digest
    assert len(one) > 0
    assert one.folder.name != other.folder.name, "a store says by its name which files it is from"


@pytest.mark.slow
def test_processes_fetch_what_they_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.build(
        node("dataset", "seti")["simulator"] | RAW["seti"] | {"n_train": 100}, "dataset.simulator", tmp_path / "raw"
    )
    here, there = opened("seti", tmp_path / "raw", tmp_path), opened("seti", f"file://{tmp_path / 'raw'}", tmp_path)
    features = parts.features(node("features", "seti_stacked"))
    one = open_or_build(here, features, "train", tmp_path / "one", 1)
    monkeypatch.setattr(filling, "START_S", 0)  # two always save time
    assert open_or_build(there, features, "train", tmp_path / "two", 2).digest == one.digest
    assert len(list((tmp_path / "store" / "raw").glob("*/content/train/*/*.npy"))) == 100


def test_only_what_is_opened_is_fetched_and_no_more_than_the_limit_is_kept(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        memory.pipe_file(f"/many/{i}.bin", bytes([i]) * 1000)
    root = remote.mirror("memory://many", tmp_path)
    content = root.parent / "content"
    assert (root / "3.bin").stat().st_size == 1000
    assert sorted(path.name for path in root.iterdir()) == sorted(f"{i}.bin" for i in range(20))
    assert not content.exists()
    with open(root / "3.bin", "rb") as file:
        assert file.read() == b"\3" * 1000
    assert [path.name for path in content.iterdir()] == ["3.bin"]
    monkeypatch.setattr(remote, "LIMIT", 8000)
    monkeypatch.setattr(remote, "GRACE_S", 0.0)
    for i in range(20):
        assert (root / f"{i}.bin").read_bytes() == bytes([i]) * 1000
    assert sum(path.stat().st_size for path in content.iterdir()) <= 8000


def test_files_that_lately_came_are_kept_beyond_the_limit(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "LIMIT", 10)
    for i in range(5):
        memory.pipe_file(f"/few/{i}.bin", b"x" * 10)
    root = remote.mirror("memory://few", tmp_path)
    assert [(root / f"{i}.bin").read_bytes() for i in range(5)] == [b"x" * 10] * 5
    assert len(list((root.parent / "content").iterdir())) == 5


def test_a_changed_file_is_fetched_again_and_one_that_is_gone_is_gone(tmp_path: Path, memory: Any) -> None:
    for name in ("a", "b"):
        memory.pipe_file(f"/two/{name}.txt", b"before")
    root = remote.mirror("memory://two", tmp_path)
    assert (root / "a.txt").read_bytes() == (root / "b.txt").read_bytes() == b"before"
    memory.pipe_file("/two/a.txt", b"afterwards")
    memory.rm("/two/b.txt")
    remote._kinds.clear()  # the next command
    again = remote.mirror("memory://two", tmp_path)
    assert again == root
    assert (again / "a.txt").read_bytes() == b"afterwards"
    assert [path.name for path in again.iterdir()] == ["a.txt"]


def test_a_path_reaches_another_process_whole_and_is_printed_as_its_address(tmp_path: Path, memory: Any) -> None:
    memory.pipe_file("/one/train/a.txt", b"1")
    path = remote.mirror("memory://one", tmp_path) / "train" / "a.txt"
    assert f"{path}" == "memory://one/train/a.txt"
    sent = pickle.dumps(path)
    remote._kinds.clear()
    received = pickle.loads(sent)
    assert received == path
    assert f"{received}" == f"{path}"
    assert received.read_bytes() == b"1"


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, memory: Any) -> None:
    memory.store["/bad/../../../evil.txt"] = memory.store["/bad/x.txt"] = MemoryFile(memory, "/bad/x.txt", b"1")
    with pytest.raises(UserError, match="is no name of a file here"):
        remote.mirror("memory://bad", tmp_path)
    assert not list(tmp_path.rglob("*.txt"))


def test_an_address_that_does_not_answer_is_one_sentence_after_a_bounded_wait(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 0.1)
    monkeypatch.setattr(type(memory), "ls", lambda *a, **k: time.sleep(2))
    began = time.perf_counter()
    with pytest.raises(UserError, match=r"memory://slow has not answered within .* check address and network"):
        remote.mirror("memory://slow", tmp_path)
    assert time.perf_counter() - began < 1.5


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("ftp://me:hunter2@127.0.0.1:1/raw", "ftp://127.0.0.1:1/raw can't be read (ConnectionRefusedError"),
        ("nonsense://bucket/raw", "nonsense://bucket/raw can't be read (ValueError: Protocol not known"),
        ("memory://nowhere", "memory://nowhere"),
    ],
    ids=["refused", "unknown", "empty"],
)
def test_a_bad_address_is_one_sentence_without_secrets(
    root: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dataset=seti", f'dataset.root="{root}"', f"store={tmp_path / 'store'}", "check=true"]
    assert run(prepare.COMMAND, words) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "hunter2" not in printed
    assert len([line for line in printed.splitlines() if line.startswith("bench: ")]) == 1


def test_a_package_that_is_not_here_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(address: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(UserError, match=re.escape('s3:// needs a package that is not here: pip install "bench[s3]"')):
        remote.mirror("s3://bucket/raw", tmp_path)


def test_a_broken_file_is_named_by_its_address(tmp_path: Path, memory: Any, capsys: pytest.CaptureFixture[str]) -> None:
    raw = raw_files("seti", tmp_path / "raw")
    broken = next((raw / "train").rglob("*.npy"))
    broken.write_bytes(broken.read_bytes()[:-4])
    upload(raw, "/seti", memory)
    words = ["dataset=seti", "dataset.root=memory://seti", f"store={tmp_path / 'store'}", "workers=1"]
    assert run(prepare.COMMAND, words) == 2
    assert f"memory://seti/{broken.relative_to(raw)} can't be read" in capsys.readouterr().err


class Vault(MemoryFileSystem):
    """Files in memory, at addresses with a user and a password."""

    protocol = "vault"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("vault://").rpartition("@")[2].strip("/")


@pytest.mark.slow
def test_a_run_on_an_address_keeps_no_secret(
    beats: Path, tmp_path: Path, memory: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    fsspec.register_implementation("vault", Vault, clobber=True)
    upload(beats, "/beats", memory)
    words = [word for word in small_overrides(beats, tmp_path) if not word.startswith(("dataset.root", "train."))]
    root = 'dataset.root="vault://me:hunter2@beats"'
    assert run(train.COMMAND, [*words, "train.epochs=1", "folds.only=[0]", "workers=1", root]) == 0
    (config,) = (tmp_path / "outputs").rglob("config.yaml")
    assert "root: vault://beats" in config.read_text()
    assert "hunter2" not in "".join(capfd.readouterr())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.skipif(not (find_spec("s3fs") and find_spec("moto") and find_spec("flask")), reason="bench[s3] and moto")
def test_a_store_from_an_s3_server_is_the_one_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.server import ThreadedMotoServer

    for key, value in (("KEY_ID", "testing"), ("SECRET_ACCESS_KEY", "testing")):
        monkeypatch.setenv(f"AWS_{'ACCESS_' if key == 'KEY_ID' else ''}{key}", value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        raw = raw_files("seti", tmp_path / "raw")
        system = fsspec.filesystem("s3")
        system.mkdir("cadences")
        system.put(str(raw) + "/", "cadences/raw/", recursive=True)
        here, there = opened("seti", raw, tmp_path), opened("seti", "s3://cadences/raw", tmp_path)
        features = parts.features(node("features", "seti_stacked"))
        one, other = (open_or_build(d, features, "train", tmp_path / str(i), 1) for i, d in enumerate((here, there)))
        np.testing.assert_array_equal(one.digests(), other.digests())
        with pytest.raises(UserError, match=r"s3://absent/raw can't be read"):
            remote.mirror("s3://absent/raw", tmp_path)
    finally:
        server.stop()
