"""Starts a fold's process: forked from one that has imported everything already, or afresh where that is not possible.

The fork server is kept for all folds of a command and all jobs of a sweep. multiprocessing has one, which does not
serve here: it is one for the whole program, so that its environment may be another's, its children import the
program's main module again, and when it dies nobody learns how its children end.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from bench.allocator import ALLOCATOR
from bench.tell import say

AT_START = ("GLIBC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_", "PYTHON", "LD_", "TORCH")
"""Beginnings of the variables that a process reads when it starts or imports: they have to be the server's, too."""

UNTOUCHED = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Of the server alone: a library that asks for GPUs while it is imported starts no CUDA, which no fork survives."""


class Process(Protocol):
    """A fold's process: the part of ``subprocess.Popen`` that is used, with an exit code that may stay unknown."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def wait(self, timeout: float | None = None) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Forked:
    """A fold's process that the fork server has been asked for. Its parent is the server, so a pipe tells its end."""

    def __init__(self, server: subprocess.Popen[bytes], stdin: int, stdout: int, status: int) -> None:
        self._server = server
        self.stdin: IO[bytes] | None = os.fdopen(stdin, "wb", 0)
        self.stdout: IO[bytes] | None = os.fdopen(stdout, "rb")
        self._status = os.fdopen(status, "rb", 0)
        self._numbers: list[int] = []  # the pid, then the exit code
        self._reading = threading.Lock()
        self._over = False

    @property
    def pid(self) -> int:
        """Its number, or 0 while it is not forked."""
        self._read(2, 0)
        return self._numbers[0] if self._numbers else 0

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit code, negative for a signal; None where the server's death has left it unknown."""
        if not self._read(2, timeout):
            raise subprocess.TimeoutExpired("fold", timeout or 0)
        return self._numbers[1] if len(self._numbers) > 1 else None

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        pid = self.pid
        if not pid:  # the server still imports, and nobody waits for that
            self._server.kill()
        elif not self._over:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _read(self, numbers: int, timeout: float | None) -> bool:
        """Whether so many numbers have come, or the pipe's end."""
        with self._reading:
            while not self._over and len(self._numbers) < numbers:
                if not select.select([self._status], [], [], timeout)[0]:
                    return False
                content = self._status.read(4)
                if content:
                    self._numbers.append(int.from_bytes(content, "little", signed=True))
                self._over = not content or len(self._numbers) == 2
            if self._over:
                self._status.close()
        return True


@dataclass
class Server:
    """A fork server. ``settings`` are those of its environment that a process reads when it starts."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    settings: dict[str, str]
    asked: bool = False

    def ask(
        self, arguments: Sequence[str], modules: Sequence[str], environment: dict[str, str], log: IO[bytes]
    ) -> Forked:
        """A new fold's process; OSError where the server is gone."""
        self.asked = True
        (child_in, stdin), (stdout, child_out), (status, child_status) = os.pipe(), os.pipe(), os.pipe()
        theirs, mine = (child_in, child_out, log.fileno(), child_status), (stdin, stdout, status)
        request = {
            "arguments": list(arguments),
            "modules": list(modules),
            "environment": environment,
            "directory": str(Path.cwd()),
        }
        try:
            socket.send_fds(self.channel, [json.dumps(request).encode()], theirs)
        except BaseException:
            for descriptor in mine:
                os.close(descriptor)
            raise
        finally:
            for descriptor in (child_in, child_out, child_status):
                os.close(descriptor)
        return Forked(self.process, *mine)

    def close(self) -> None:
        """Ends the server, and waits for it; one that nobody needs is not left to import first."""
        self.channel.close()
        if not self.asked:
            self.process.kill()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_server: Server | None = None
_gone = False


def start(arguments: Sequence[str], modules: Sequence[str], threads: int, log: IO[bytes]) -> Process:
    """A process that runs ``bench.crossval.fold`` with these arguments; its standard error is ``log``.

    ``modules`` are what its recipe's parts lie in. ``threads`` is how many its libraries may start.
    """
    environment = _environment(threads)
    server = _serving(environment)
    if server is not None:
        try:
            return server.ask(arguments, modules, environment, log)
        except OSError:
            give_up()
    return subprocess.Popen(
        [sys.executable, "-m", "bench.crossval.fold", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        start_new_session=True,  # Ctrl-C reaches the parent alone, which ends the folds in order
    )


def why(code: int | None) -> str:
    """How a fold's process has ended, in words; None: nobody knows."""
    if code is None:
        return "ended with the process that it was forked from"
    if code == -9:
        return "was killed (signal 9), as the system does when memory runs out: try a smaller train.batch_size"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def expect(threads: int) -> None:
    """Starts the fork server for folds of so many threads, so that it imports while the run is planned."""
    _serving(_environment(threads))


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}


def give_up() -> None:
    """Says that the fork server has died; from here on each fold's process is started afresh."""
    global _server, _gone
    if _server is None:
        return
    server, _server, _gone = _server, None, True
    server.close()
    say(
        f"folds     the process that they are forked from has ended (exit code {server.process.returncode}); "
        "they are started afresh from here on, which takes some seconds each"
    )


def end() -> None:
    """Ends the fork server, where there is one; the next fold starts another."""
    global _server, _gone
    server, _server, _gone = _server, None, False
    if server is not None:
        server.close()


def _serving(environment: dict[str, str]) -> Server | None:
    """The fork server for these settings; None where there is none to be had."""
    global _server
    if _gone or sys.platform != "linux":
        return None
    settings = {name: value for name, value in environment.items() if name.startswith(AT_START)}
    if _server is not None and (_server.settings != settings or _server.process.poll() is not None):
        end()
    if _server is None:
        try:
            _server = _started(environment, settings)
        except OSError:
            return None
    return _server


def _started(environment: dict[str, str], settings: dict[str, str]) -> Server:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.crossval.fork_server"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**environment, **UNTOUCHED},
            start_new_session=True,
        )
    atexit.register(end)
    return Server(process, ours, settings)
