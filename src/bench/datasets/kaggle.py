"""A competition's files from Kaggle, by Kaggle's own client: downloaded, checked, unpacked, whole or not at all."""

from __future__ import annotations

import io
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from bench.spec import UserError
from bench.tell import say

ARCHIVE = "files.zip"
PAGE_SIZE = 200
LONGEST_LISTING = 500_000
"""Files of a competition that are listed to learn what the download needs."""
ROOM = 2.05
"""Times the files' bytes that are needed: the archive, and what comes out of it."""


def download(competition: str, root: Path) -> None:
    """Puts the competition's files into ``root``, which is not there yet.

    A download that was cut short goes on where it ended. Raises UserError where the client or credentials are missing,
    the rules were not accepted, the disk is too small, or the archive is damaged or unsafe; no half-made ``root``
    is ever left.
    """
    api = _client(competition)
    waiting = root.with_name(f"{root.name}.download")
    waiting.mkdir(parents=True, exist_ok=True)
    archive = waiting / ARCHIVE
    if not archive.exists():  # else it is whole: it was about to be unpacked
        with _told(competition):
            size = _listed(api, competition)
            _refuse_full(waiting, size)
            say(f"download  {competition}: {size / 1e9:.2f} GB to {archive}")
            _fetch(api, competition, archive)
    unpacked = waiting / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpack(archive, unpacked)
    for inner in sorted(unpacked.glob("*.zip")):  # some competitions have archives in the archive
        unpack(inner, _inner_folder(inner))
        inner.unlink()
    os.replace(unpacked, root)
    shutil.rmtree(waiting)
    say(f"download  {root} is whole")


def unpack(archive: Path, into: Path) -> None:
    """Unpacks a zip file whose every checksum holds; UserError for one that is damaged or reaches out of ``into``."""
    try:
        with zipfile.ZipFile(archive) as content:
            for member in content.infolist():
                target = (into / member.filename).resolve()
                if not target.is_relative_to(into.resolve()) or _is_link(member):
                    raise UserError(
                        f"{archive} holds {member.filename!r}, which would be written outside {into}; nothing was "
                        "unpacked, delete the archive and get it from the competition's page"
                    )
            content.extractall(into)  # reads, and so checks, every checksum
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        shutil.rmtree(into, ignore_errors=True)
        archive.unlink(missing_ok=True)
        raise UserError(f"{archive} was damaged ({error}), and is deleted; the same command gets it anew") from error
    except OSError:
        shutil.rmtree(into, ignore_errors=True)
        raise


def _is_link(member: zipfile.ZipInfo) -> bool:
    return (member.external_attr >> 16) & 0o170000 == 0o120000


def _inner_folder(archive: Path) -> Path:
    """Where an inner archive's files belong: in a folder of its name, unless it holds that folder itself."""
    with zipfile.ZipFile(archive) as content:
        tops = {name.partition("/")[0] for name in content.namelist()}
    return archive.parent if tops == {archive.stem} else archive.with_suffix("")


def _client(competition: str) -> Any:
    """Kaggle's client with the person's credentials; UserError where one of the two is missing."""
    beside = io.StringIO()  # what it prints of itself where there are no credentials
    try:
        with redirect_stdout(beside), redirect_stderr(beside):
            from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as error:
        raise UserError("source=kaggle needs Kaggle's client; pip install 'bench[kaggle]'") from error
    api = KaggleApi()
    try:
        with redirect_stdout(beside), redirect_stderr(beside), _told(competition):
            api.authenticate()  # asks Kaggle whose a token is
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # it prints what it looked for, and leaves
        raise UserError(
            f"Kaggle's client has no credentials: create a token on https://www.kaggle.com/settings and save it as "
            f"~/.kaggle/kaggle.json, or set KAGGLE_API_TOKEN; then accept the rules on {rules(competition)}"
        ) from error
    return api


def rules(competition: str) -> str:
    return f"https://www.kaggle.com/competitions/{competition}/rules"


def _listed(api: Any, competition: str) -> int:
    """Bytes of all files of the competition, as its listing says."""
    total, token, seen = 0, None, 0
    while seen < LONGEST_LISTING:
        answer = api.competition_list_files(competition, page_token=token, page_size=PAGE_SIZE)
        total += sum(file.total_bytes or 0 for file in answer.files)
        seen += len(answer.files)
        token = answer.next_page_token
        if not token or not answer.files:
            break
    return total


def _fetch(api: Any, competition: str, archive: Path) -> None:
    """The client's own download, with its retries and its going on; whole under the name of ``archive`` alone."""
    quiet = not sys.stderr.isatty()
    api.competition_download_files(competition, path=str(archive.parent), force=False, quiet=quiet)
    (delivered,) = archive.parent.glob(f"{competition}.*[!l]")  # besides the client's mark of one that is partial
    os.replace(delivered, archive)


def _refuse_full(folder: Path, size: int) -> None:
    partial = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    needed, free = ROOM * size - partial, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"the files and their archive need {needed / 1e9:.1f} GB more and {folder} has {free / 1e9:.1f} GB left; "
            "free some space, or set data= to a folder elsewhere"
        )


@contextmanager
def _told(competition: str) -> Iterator[None]:
    """What Kaggle refuses, as a sentence on what to do."""
    import requests

    try:
        yield
    except UserError:
        raise
    except requests.exceptions.HTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        sentences: dict[int, Callable[[], str]] = {
            401: lambda: "Kaggle refuses the credentials; create a new token on https://www.kaggle.com/settings",
            403: lambda: (
                f"Kaggle gives {competition} to those who accepted its rules alone; accept them on "
                f"{rules(competition)}, then run the same command again"
            ),
            404: lambda: f"Kaggle has no competition {competition}, or it is closed; look on {rules(competition)}",
            429: lambda: "Kaggle's quota is used up; wait an hour, the same command goes on where this one ended",
        }
        other = f"Kaggle answered {code or error}; the same command goes on where this one ended"
        raise UserError(sentences[code]() if code in sentences else other) from error
    except (requests.exceptions.RequestException, ConnectionError, ValueError) as error:
        raise UserError(
            f"Kaggle can't be reached ({type(error).__name__}); the same command goes on where this one ended"
        ) from error
