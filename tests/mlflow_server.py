"""A real MLflow server on loopback, started and killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def serve(folder: Path, port: int, store: str | None = None, workers: int = 1) -> subprocess.Popen[bytes]:
    """``store``: the address of its database, None: one in the folder."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", str(workers), "--artifacts-destination", str(folder / "art")]
    command += ["--backend-store-uri", store or f"sqlite:///{folder}/mlflow.db"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)

    def up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(up, 90)
    return server


def kill(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)  # its own session: the server and its workers, nobody else
    server.wait()


def until(holds: Any, seconds: float) -> None:
    end = time.time() + seconds
    while not holds():
        assert time.time() < end, f"not within {seconds} s"
        time.sleep(0.2)
