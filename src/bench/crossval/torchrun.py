"""``torchrun -m bench.train``: each fold is trained by all processes that torchrun starts, one fold after another.

The first rank is the command: it plans, holds the run, follows, collects. Whenever it starts a fold's process, it says
so in torchrun's own store; every other rank then starts one of its own, and these processes meet (``training/ranks``).
Where a rank's process ends alone, its command ends with a sentence, and torchrun ends all others.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from bench import targets
from bench.crossval import forking
from bench.mistake import UserError
from bench.runs.run import Run
from bench.tell import say

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

POLL_S, GRACE_S = 0.5, 20.0
"""Seconds between looks, and that a rank's process may end after or before the first one's."""
MESSAGE, ENDED, OVER = "bench/fold/{}", "bench/ended/{}", "over"


@dataclass
class Ranks:
    """This process among those that torchrun has started. ``address``: host:port of torchrun's store."""

    rank: int
    world: int
    local_rank: int
    local_world: int
    address: str
    attempt: str
    folds: int = field(default=0, init=False)

    @cached_property
    def store(self) -> TCPStore:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        host, _, port = self.address.rpartition(":")
        return TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=60))

    def device(self, devices: Sequence[str]) -> tuple[str, bool]:
        """This rank's device, and whether several ranks share one; UserError where there are too few GPUs."""
        from bench.training.device import choose, several

        names = several(list(devices))
        if names[0] == "cpu" or choose(names[0]).type == "cpu":
            return "cpu", False
        if names[0].startswith("cuda:"):
            return names[self.local_rank % len(names)], len(set(names)) < self.local_world
        import torch

        if (count := torch.cuda.device_count()) < self.local_world:
            raise UserError(
                f"torchrun has started {self.local_world} processes, and here are {count} GPUs: "
                f"use --nproc-per-node={count}, or name the devices that they share, as device=[cuda:0]"
            )
        return f"cuda:{self.local_rank}", False

    def words(self, fold: int, devices: Sequence[str]) -> list[str]:
        """What this rank's process of the ``fold``-th fold is told."""
        device, shared = self.device(devices)
        meeting = {"address": self.address, "prefix": f"bench/{self.attempt}/{fold}", "shared": shared}
        meeting |= {"rank": self.rank, "world": self.world}
        return ["--device", device, "--ranks", json.dumps(meeting)]

    def begin(self, run: Run, number: int, threads: int, devices: Sequence[str]) -> list[str]:
        """Tells the other ranks of a fold; what the first one's own process is told."""
        said = {"run": str(run.folder), "fold": number, "threads": threads, "devices": list(devices)}
        words = self.words(self.folds, devices)
        self.store.set(MESSAGE.format(self.folds), json.dumps(said))
        self.folds += 1
        return words

    def ended(self) -> None:
        """Tells the other ranks that the first one's process of the last fold has ended."""
        self.store.set(ENDED.format(self.folds - 1), "1")


@cache
def here() -> Ranks | None:
    """This process's place among several that torchrun has started; None where there is one."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, world, local_rank, local_world = (int(os.environ[name]) for name in names)
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    return Ranks(rank, world, local_rank, local_world, address, os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def run(command: Callable[[], int]) -> int:
    """Runs the command in the first rank, and follows it in the others; returns the exit code."""
    me = here()
    if me is None:
        return command()
    if me.rank:
        return _follow(me)
    try:
        return command()
    finally:
        with suppress(Exception):  # torchrun is being ended itself
            me.store.set(MESSAGE.format(me.folds), json.dumps(OVER))


def _follow(me: Ranks) -> int:
    """Starts a process for each fold that the first rank begins, until its command is over."""
    try:
        while (said := _next(me)) != OVER:
            if trouble := _train(me, said):
                say(f"rank {me.rank}    fold {said['fold']} {trouble}; all ranks end, the same command goes on")
                return 1
            me.folds += 1
    except UserError as error:
        say(f"bench: rank {me.rank}: {error}")
        return 2
    return 0


def _next(me: Ranks) -> Any:
    """What the first rank says next; it may plan, or collect, for long, and torchrun ends us where it is gone."""
    key = MESSAGE.format(me.folds)
    while not me.store.check([key]):
        time.sleep(POLL_S)
    return json.loads(me.store.get(key))


def _train(me: Ranks, said: dict[str, Any]) -> str | None:
    """This rank's part in a fold; what ended it before the first rank's, if anything did."""
    run, key = Run.open(said["run"]), ENDED.format(me.folds)
    fold = run.fold(said["fold"])
    fold.folder.mkdir(parents=True, exist_ok=True)
    words = [str(run.folder), str(fold.number), "--threads", str(said["threads"]), *me.words(me.folds, said["devices"])]
    with open(fold.log, "ab") as log:
        process = forking.start(words, targets.modules(run.config), said["threads"], log)
    threading.Thread(target=_drain, args=(process,), daemon=True).start()
    while not _over(process, POLL_S):
        if me.store.check([key]) and not _over(process, GRACE_S):  # the first rank's has ended: ours waits in vain
            process.kill()
            return None
    code, since = process.wait(0), time.monotonic()
    while code != 0:
        by_itself = code is not None and code > 0 and time.monotonic() - since < GRACE_S
        if by_itself and me.store.check([key]):
            return None  # what ended it has ended the first rank's, too, which tells of it
        if not by_itself:
            return f"{forking.why(code)} in this rank; the end of {fold.log} may say why"
        time.sleep(POLL_S)
    return None


def _over(process: forking.Process, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _drain(process: forking.Process) -> None:
    """The first rank's process tells of the fold; what the others tell is read and forgotten."""
    assert process.stdout is not None
    with process.stdout as lines:
        for _ in lines:
            pass
