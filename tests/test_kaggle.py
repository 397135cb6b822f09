"""bench.prepare source=kaggle: Kaggle's own client against a service on loopback; whole files or none."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from bench.cli.door import run
from bench.datasets.kaggle import download, unpack
from bench.prepare import COMMAND
from bench.spec import UserError
from kaggle_server import Service, serving
from tiny import raw_files

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore")]
Serve = Callable[[Service], Service]


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return content.getvalue()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a service that the client, with credentials, takes for Kaggle's."""
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_USERNAME", "anna")
    monkeypatch.setenv("KAGGLE_KEY", "a-key")
    from kagglesdk import kaggle_env

    with ExitStack() as stack:

        def start(service: Service) -> Service:
            address = stack.enter_context(serving(service))
            monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, address)
            return service

        yield start


@pytest.mark.slow
def test_from_nothing_to_a_built_store(serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = raw_files("seti", tmp_path / "raw")
    files = {str(path.relative_to(raw)): path.read_bytes() for path in raw.rglob("*") if path.is_file()}
    service = serve(Service(zipped(files)))
    words = ["dataset=seti", "features=seti_stacked", "source=kaggle", f"data={tmp_path}/data", "workers=1"]
    assert run(COMMAND, words) == 0
    told = "".join(capsys.readouterr())
    assert "8 × 6 × 16 × 32 float16" in told
    assert "SIMULATED" not in told
    assert len(list((tmp_path / "data/store/seti").glob("*/manifest.json"))) == 2
    assert not (tmp_path / "data/seti.download").exists()
    assert service.tokens == {f"Basic {base64.b64encode(b'anna:a-key').decode()}"}
    asked = len(service.calls)
    assert run(COMMAND, words) == 0
    assert "is there already" in "".join(capsys.readouterr())
    assert len(service.calls) == asked, "what stands is not downloaded again"


def test_a_download_that_was_cut_short_goes_on(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    body = np.random.default_rng(0).bytes(3 << 20)  # of which no archive is smaller
    service = serve(Service(zipped({"train.csv": body, "audio_train/a.wav": b"x"}), cut=5 << 19))
    download("freesound-audio-tagging", tmp_path / "freesound")
    assert (tmp_path / "freesound/train.csv").read_bytes() == body
    assert service.ranges[-1] == f"bytes={2 << 20}-", "the client writes whole megabytes"


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "refuses the credentials; create a new token"),
        (403, "accept them on .*hms-harmful.*/rules"),
        (404, "has no competition hms-harmful"),
        (429, "quota is used up; wait an hour"),
        (500, "answered 500; the same command goes on"),
    ],
)
def test_what_kaggle_refuses_is_a_sentence(status: int, sentence: str, serve: Serve, tmp_path: Path) -> None:
    serve(Service(refuses=status))
    with pytest.raises(UserError, match=sentence):
        download("hms-harmful-brain-activity-classification", tmp_path / "hms")
    assert not (tmp_path / "hms").exists()


def test_a_disk_that_is_too_small_is_told_before_the_download(serve: Serve, tmp_path: Path) -> None:
    service = serve(Service(b"", total_bytes=10**18))
    with pytest.raises(UserError, match=r"need 2,?050,?000,?000\.0 GB more"):
        download("seti-breakthrough-listen", tmp_path / "seti")
    assert service.calls == ["ListDataFiles"]


def test_a_damaged_archive_is_deleted_and_nothing_half_made_stays(serve: Serve, tmp_path: Path) -> None:
    content = bytearray(zipped({"train.csv": bytes(range(256)) * 100}))
    content[60] ^= 255
    serve(Service(bytes(content)))
    with pytest.raises(UserError, match=r"was damaged .* the same command gets it anew"):
        download("seti-breakthrough-listen", tmp_path / "seti")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and "config" not in str(path)] == []


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../outside.txt"])
def test_an_archive_that_reaches_out_of_its_folder_is_refused_whole(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "files.zip"
    archive.write_bytes(zipped({"train.csv": b"x", name: b"x"}))
    with pytest.raises(UserError, match="would be written outside"):
        unpack(archive, tmp_path / "inside")
    assert not (tmp_path / "inside").exists()
    assert not (tmp_path / "outside.txt").exists()


def test_an_archive_inside_the_archive_is_unpacked_where_it_belongs(serve: Serve, tmp_path: Path) -> None:
    inner, folder = zipped({"a.wav": b"1"}), zipped({"audio_test/b.wav": b"2"})
    serve(Service(zipped({"train.csv": b"x", "audio_train.zip": inner, "audio_test.zip": folder})))
    download("freesound-audio-tagging", tmp_path / "freesound")
    names = sorted(str(p.relative_to(tmp_path / "freesound")) for p in (tmp_path / "freesound").rglob("*.*"))
    assert names == ["audio_test/b.wav", "audio_train/a.wav", "train.csv"]


def test_without_credentials_a_sentence_says_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="no credentials: create a token"):
        download("seti-breakthrough-listen", tmp_path / "seti")
    assert "".join(capsys.readouterr()) == ""


def test_files_that_are_not_on_kaggle_are_described_in_three_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(COMMAND, ["dataset=heartbeat", "source=kaggle", f"data={tmp_path}/data"]) == 2
    told = capsys.readouterr().err
    assert all(f"{step}. " in told for step in (1, 2, 3))
    assert "tianchi" in told
    assert not (tmp_path / "data").exists()
