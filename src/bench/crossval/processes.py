"""Trains each fold of a run in its own process and returns those that failed.

A crash, an out-of-memory kill or a leak in one fold harms no other. A fold's process talks JSON lines on its
standard output, writes everything else to its log, and ends when its standard input closes: a killed parent leaves
no orphan that trains on beside its successor.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from bench import targets
from bench.crossval import forking
from bench.crossval.progress import Display
from bench.runs.run import Fold, Run
from bench.tell import say

LAST_LINES = 12


def missing(run: Run, numbers: Sequence[int], test_digest: str) -> list[int]:
    """The folds still to run: unfinished, predicted on other test files, or with a file missing."""
    return [k for k in numbers if not _whole(run.fold(k), test_digest)]


def _whole(fold: Fold, test_digest: str) -> bool:
    """Whether nothing is left to do; says what is damaged."""
    if not fold.done.exists():
        return False
    if trouble := fold.trouble():
        say(f"fold {fold.number}    {trouble}; it is computed again")
        return False
    return fold.outcome().test == test_digest


def side_by_side(parallel: int | None, n_splits: int, devices: Sequence[str]) -> tuple[int, int]:
    """Folds at once and threads of each.

    Small models gain more from folds side by side than from threads, which wait for each other at every layer. The
    numbers depend on the command and the machine alone, not on what is left to train: another number of threads
    sums in another order, and a resumed run would end in other bits.
    """
    from bench.training.device import choose

    cores = os.cpu_count() or 1
    on_gpu = choose(devices[0]).type == "cuda"
    parallel = parallel or (len(devices) if on_gpu else min(cores, n_splits))
    return parallel, max(1, cores // parallel)


def train(
    run: Run,
    numbers: Sequence[int],
    parallel: int | None,
    devices: Sequence[str],
    compiled: bool | str,
    display: Display,
) -> list[int]:
    """Trains the folds, ``parallel`` side by side (see above); returns those that failed, in order.

    Each fold gets the device on which the fewest others are.

    KeyboardInterrupt ends the running folds first; each goes on from its last epoch when the run is started again.
    """
    from bench.training.device import least_busy

    parallel, threads = side_by_side(parallel, run.inputs.n_splits, devices)
    options = ["--threads", str(threads)] + (["--compile", str(compiled).lower()] if compiled else [])
    placed: dict[int, str] = {}
    events: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    waiting, running, failed, started = list(numbers), dict[int, forking.Process](), [], set[int]()
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                number = waiting.pop(0)
                placed[number] = least_busy(devices, [placed[k] for k in running])
                told = [*options, "--device", placed[number]]
                running[number] = _start(run, run.fold(number), told, threads, events)
                if number not in started:
                    display.start(number)
                started.add(number)
            number, event = events.get()
            if event is not None:
                display.event(number, event)
                continue
            code = _ended(running.pop(number))
            if code is None and missing(run, [number], run.inputs.test):  # it died with the fork server, or unseen
                forking.give_up()
                waiting.insert(0, number)
            elif not code:
                display.finish(number)
            else:
                failed.append(number)
                display.fail(number, _why(code), _tail(run.fold(number)), run.fold(number).log)
    finally:
        _stop(list(running.values()))
    return sorted(failed)


def _start(
    run: Run, fold: Fold, options: list[str], threads: int, events: queue.Queue[tuple[int, dict[str, Any] | None]]
) -> forking.Process:
    fold.folder.mkdir(parents=True, exist_ok=True)
    with open(fold.log, "ab") as log:
        process = forking.start(
            [str(run.folder), str(fold.number), *options], targets.modules(run.config), threads, log
        )

    def listen() -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                events.put((fold.number, json.loads(line)))
        events.put((fold.number, None))

    threading.Thread(target=listen, daemon=True).start()
    return process


def _stop(processes: list[forking.Process]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
        _ended(process)


def _ended(process: forking.Process) -> int | None:
    code = process.wait()
    assert process.stdin is not None
    process.stdin.close()
    return code


def _why(code: int) -> str:
    if code == -9:
        return "was killed (signal 9), as the system does when memory runs out: try a smaller train.batch_size"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _tail(fold: Fold) -> list[str]:
    return fold.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
