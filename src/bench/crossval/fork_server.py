"""The process that folds are forked from, started by ``forking.py``; nobody types it.

It imports what every fold needs, once, and starts neither threads nor CUDA, which no fork survives. Standard input is
a socket: each message asks for one fold, and carries the descriptors that the fold talks through. It ends when the
socket closes, as it does when the command ends or dies.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any

LONGEST = 1 << 18
"""Bytes of a message: a command's environment is the most of it."""
PRELOADED = ("bench.crossval.fold_training", "torch._dynamo")
"""What a fold needs besides the parts of its recipe; every optimizer of torch imports its compiler."""
UNFIT = 3
"""Exit code where forking is not safe any more."""
Request = dict[str, Any]


def main() -> int:
    """Serves until the socket closes; returns the exit code."""
    channel = socket.socket(fileno=0)
    gc.disable()  # collecting among so many new objects takes a fifth of the imports' time, and finds none to free
    for module in PRELOADED:
        import_module(module)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # its number in the pipe is what ends the wait below
    statuses: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                _drain(woken)
                _tell_ended(statuses)
            if channel not in ready:
                continue
            message, descriptors, _, _ = socket.recv_fds(channel, LONGEST, 4)
            if not message:
                return 0
            request: Request = json.loads(message)
            _import(request["modules"])
            if unfit():
                return UNFIT
            *streams, status = descriptors
            gc.freeze()  # a collection in a fold would else write to every page that it shares with this process
            if (pid := os.fork()) == 0:
                selector.close()
                for descriptor in (woken, wakes, *statuses.values()):
                    os.close(descriptor)
                channel.close()
                _fold(request, streams, status)
            for descriptor in streams:
                os.close(descriptor)
            statuses[pid] = status
            _write(status, pid)


def unfit() -> bool:
    """Whether something imported has started a thread or CUDA here: a forked process could use neither.

    Threads of Arrow's allocator and of OpenBLAS are none of Python's: both prepare for a fork.
    """
    import torch

    return threading.active_count() > 1 or bool(torch.cuda.is_initialized())


def _import(modules: list[str]) -> None:
    """The parts of a recipe. A fold whose parts can't be imported says so itself, in its log."""
    for module in modules:
        with suppress(Exception):
            import_module(module)


def _drain(pipe: int) -> None:
    with suppress(BlockingIOError):
        while os.read(pipe, 4096):
            pass


def _tell_ended(statuses: dict[int, int]) -> None:
    """Writes the exit code of each fold that has ended to its pipe, negative for a signal, and closes that."""
    while statuses:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in statuses:
            _write(statuses[pid], os.waitstatus_to_exitcode(status))
            os.close(statuses.pop(pid))


def _write(status: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the command is gone; the socket says so, too
        os.write(status, number.to_bytes(4, "little", signed=True))


def _fold(request: Request, streams: list[int], status: int) -> None:
    """The forked process becomes what a fold's process started afresh is; never returns.

    It holds ``status`` open: whoever reads it sees its end only when both this process and the server have ended.
    """
    code = 1
    try:
        os.setsid()
        os.set_inheritable(status, False)
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        gc.enable()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["directory"])
        if not sys.flags.safe_path:  # as python -m has it
            sys.path[0] = request["directory"]
        from bench.crossval import fold

        code = fold.main(request["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        _leave(code)


def _leave(code: int) -> None:
    """Ends the process as an interpreter ends, but for tearing down modules that it shares with the server."""
    import atexit

    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    with suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
