"""A sweep's job in a process that a launcher started: it works as it would in the command's own.

Launchers set variables that decide how many threads a library starts, hide GPUs, and leave others out. A job gets
those of its command back, since they decide its bits. It writes to a log of its own: several would fight over one
terminal.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

TRACEBACK = "BENCH_FULL_ERROR"
"""What HYDRA_FULL_ERROR was before a command took it over."""
THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "GOTO_NUM_THREADS",
)  # fmt: skip
DEVICES = "CUDA_VISIBLE_DEVICES"
WATCH_S = 0.5


@dataclass(frozen=True)
class Origin:
    """The command that a job belongs to: its process, and the variables that its jobs share with it."""

    host: str
    pid: int
    variables: dict[str, str | None]

    @classmethod
    def here(cls, names: Sequence[str]) -> Origin:
        shared = (*names, *THREADS, DEVICES)
        return cls(os.uname().nodename, os.getpid(), {name: os.environ.get(name) for name in shared})

    @property
    def is_here(self) -> bool:
        """Whether this is the command's own process."""
        return (self.host, self.pid) == (os.uname().nodename, os.getpid())

    def settle(self, own_devices: bool) -> None:
        """Gives this process the command's variables; not its GPUs where the job has been given GPUs of its own.

        A process that the command itself has started ends with it; a local job of submitit's ends at SIGTERM, which
        submitit ignores.
        """
        if self.is_here:
            return
        for name, value in self.variables.items():
            if name == DEVICES and (own_devices or os.uname().nodename != self.host):
                continue
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":  # on SLURM that would be at each preemption
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        if os.getppid() == self.pid:
            threading.Thread(target=_end_after, args=(self.pid,), daemon=True).start()


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started in the block ignore the terminal's Ctrl-C: the command says what becomes of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_after(parent: int) -> None:
    """Ends this process once its parent has ended, which a killed one can't tell; its folds end with it."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Everything that this process and those it starts print goes to the end of ``path``, while the block runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        log = stack.enter_context(open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1))
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            stream.flush()
            before = os.dup(number)
            stack.callback(os.close, before)
            stack.callback(os.dup2, before, number)
            os.dup2(log.fileno(), number)
        stack.enter_context(redirect_stdout(log))
        stack.enter_context(redirect_stderr(log))
        yield
