"""Trains each fold of a run in its own process, or several together, and returns those that failed.

A crash, an out-of-memory kill or a leak in one process harms no other. A fold's process talks JSON lines on its
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
from pathlib import Path
from typing import Any, Literal

from bench import targets
from bench.crossval import forking, keys, leases, torchrun
from bench.crossval.progress import Display
from bench.runs.recipe import Recipe
from bench.runs.run import Fold, Run
from bench.tell import say

LAST_LINES = 12
LOOK_S = 1.0
"""Seconds between looks for a GPU."""


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


def side_by_side(
    parallel: int | None, n_splits: int, devices: Sequence[str], together: bool = False
) -> tuple[int, int]:
    """Processes at once and threads of each; ``together``: one process a device.

    Small models gain more from folds side by side than from threads, which wait for each other at every layer. The
    numbers depend on the command and the machine alone, not on what is left to train: another number of threads
    sums in another order, and a resumed run would end in other bits.
    """
    from bench.training.device import choose

    if ranks := torchrun.here():
        return 1, max(1, _cores() // ranks.local_world)
    on_gpu = choose(devices[0]).type == "cuda"
    parallel = parallel or (len(devices) if on_gpu or together else min(_cores(), n_splits))
    return parallel, _threads(parallel)


GPU = Path("/dev/nvidiactl")
"""Is there where a GPU may be: asking torch takes as long as what is to be started meanwhile."""


def expect(recipe: Recipe) -> None:
    """Starts what a recipe's folds are forked from, so that it imports while the run is planned.

    Not for a recipe that has been planned before: it may be finished. Nor where a GPU may be, which decides how many
    threads a fold has; a wrong guess would be started in vain, and so it is where the split makes fewer folds than
    there are cores and does not say so. Folds that are jobs start their own.
    """
    if keys.accepted(recipe) or recipe.folds.launcher != "local" or (recipe.device != "cpu" and GPU.exists()):
        return
    n_splits = 1 if str(recipe.split["_target_"]).endswith(".none") else recipe.split.get("n_splits") or USUAL
    if (ranks := torchrun.here()) is not None:
        forking.expect(max(1, _cores() // ranks.local_world))
        return
    forking.expect(_threads(recipe.folds.parallel or (1 if recipe.folds.fused is True else min(_cores(), n_splits))))


USUAL = 5
"""Folds where neither the command nor the split's options say how many."""


def _cores() -> int:
    return os.cpu_count() or 1


def _threads(parallel: int) -> int:
    return max(1, _cores() // parallel)


Fused = bool | Literal["auto"]


def start_together(fused: Fused, parallel: int | None, devices: Sequence[str], compiled: bool | str) -> bool:
    """Whether folds start in one process: where that is asked for, and with ``auto`` on a GPU.

    On a processor one batched model has been slower than folds side by side for every network that was measured.
    """
    from bench.training.device import choose

    if fused != "auto":
        return fused
    return choose(devices[0]).type == "cuda" and compiled in (False, "graph") and parallel is None


Group = tuple[int, ...]
"""Folds of one process."""
Events = queue.Queue[tuple[Group, dict[str, Any] | None]]


def train(
    run: Run,
    numbers: Sequence[int],
    parallel: int | None,
    devices: Sequence[str],
    compiled: bool | str,
    display: Display,
    fused: Fused = False,
) -> list[int]:
    """Trains the folds, ``parallel`` side by side (see above); returns those that failed, in order.

    Each process leases a GPU, the one with the fewest others of the run, and waits for one where other commands have
    them all; where torchrun has started several commands, all of them train one fold after another.

    KeyboardInterrupt ends the running folds first; each goes on from its last epoch when the run is started again.
    """
    from bench.training.device import least_busy

    ranks = torchrun.here()
    gpus = [] if ranks else leases.gpus(devices)
    devices = gpus or devices
    together = not ranks and start_together(fused, parallel, devices, compiled)
    parallel, threads = side_by_side(parallel, run.inputs.n_splits, devices, together)
    options = ["--threads", str(threads)] + (["--compile", str(compiled).lower()] if compiled else [])
    groups = _groups(numbers, len(devices) if together else len(numbers))
    fan = _Fan(run, groups, display)
    leased = leases.Leases(gpus, -(-parallel // len(gpus))) if gpus else None
    try:
        while fan.waiting or fan.running:
            while fan.waiting and len(fan.running) < parallel:
                lease = leased.take(least_busy(gpus, fan.on_gpus())) if leased else None
                if leased and lease is None:
                    break
                group, device = fan.waiting.pop(0), lease.device if lease else devices[0]
                told = ["--device", device] if ranks is None else ranks.begin(run, group[0], threads, devices)
                told += ["--fused", str(fused).lower()] if len(group) > 1 else []
                fan.start(group, [*options, *told], threads, lease)
            try:
                group, event = fan.events.get(timeout=LOOK_S if leased and fan.waiting else None)
            except queue.Empty:  # another command may have given a GPU back
                continue
            if ranks and event is None:
                ranks.ended()
            fan.take(group, event)
    finally:
        _stop(list(fan.running.values()))
        fan.release()
    return sorted(fan.failed)


class _Fan:
    """The processes of folds, and what has become of each fold."""

    def __init__(self, run: Run, waiting: list[Group], display: Display) -> None:
        self.run, self.waiting, self.display = run, waiting, display
        self.events: Events = queue.Queue()
        self.running, self._leases = dict[Group, forking.Process](), dict[Group, leases.Lease]()
        self.failed, self._started = list[int](), set[int]()
        self._settled = set[int]()  # folds that have ended while their process goes on, or that it has given back

    def on_gpus(self) -> list[str]:
        """The GPU of each process that has one."""
        return [lease.device for lease in self._leases.values()]

    def release(self) -> None:
        for group in list(self._leases):
            self._leases.pop(group).release()

    def start(self, group: Group, told: list[str], threads: int, lease: leases.Lease | None) -> None:
        if lease is not None:
            self._leases[group] = lease
        self.running[group] = _start(self.run, group, told, threads, self.events)
        self._settled -= set(group)
        for number in group:
            if number not in self._started:
                self.display.start(number)
            self._started.add(number)

    def take(self, group: Group, event: dict[str, Any] | None) -> None:
        """What a process tells; None: it has ended."""
        if event is None:
            self._end(group)
        elif event["kind"] == "apart":
            self._settled |= set(group[1:])
            self.waiting[:0] = [(number,) for number in group[1:]]
        elif event["kind"] == "ended":
            self._settled.add(event["fold"])
            self._tell(event["fold"], int(event["failed"]), event["fold"])
        else:
            self.display.event(event["fold"], event)

    def _end(self, group: Group) -> None:
        code = _ended(self.running.pop(group))
        if group in self._leases:
            self._leases.pop(group).release()
        for number in group:
            if number in self._settled:
                continue
            if code is None and missing(self.run, [number], self.run.inputs.test):  # it died with the fork server
                forking.give_up()
                self.waiting.insert(0, (number,))
            else:
                self._tell(number, code or 0, group[0])

    def _tell(self, number: int, code: int, log: int) -> None:
        """How a fold has ended; ``log``: the fold in whose log its last words are."""
        if not code:
            self.display.finish(number)
            return
        self.failed.append(number)
        fold = self.run.fold(log)
        self.display.fail(number, forking.why(code), tail(fold), fold.log)


def _groups(numbers: Sequence[int], n: int) -> list[Group]:
    """The folds dealt to ``n`` processes at most."""
    return [tuple(numbers[i::n]) for i in range(min(n, len(numbers)))]


def _start(run: Run, group: Group, options: list[str], threads: int, events: Events) -> forking.Process:
    fold = run.fold(group[0])
    fold.folder.mkdir(parents=True, exist_ok=True)
    with open(fold.log, "ab") as log:
        words = [str(run.folder), *map(str, group), *options]
        process = forking.start(words, targets.modules(run.config), threads, log)

    def listen() -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                events.put((group, json.loads(line)))
        events.put((group, None))

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


def tail(fold: Fold) -> list[str]:
    """The end of the fold's log."""
    if not fold.log.exists():
        return []
    return fold.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
