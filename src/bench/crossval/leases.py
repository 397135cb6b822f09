"""Which fold has which GPU: leases that all commands on a machine share, as locked files that a dead process lets go.

A lease takes a share of its GPU: all of it, or 1/n where its command says that n folds fit (``folds.parallel``).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bench.atomic import read_json, write_json
from bench.mistake import UserError
from bench.tell import say

FOLDER = "BENCH_LEASES"
"""The environment variable that names another folder than the usual one, which is the person's own on this machine."""
PARTS = 60
"""A GPU's locks: so many folds can share one at most, and up to 6 of them evenly."""
TELL_S, PATIENCE_S = 60.0, 24 * 3600.0
"""Seconds between the lines that say what is waited for, and that a fold waits for a GPU at most."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass
class Lease:
    """A share of a GPU. ``release`` gives it back; so does the end of the process."""

    device: str
    held: ExitStack

    def release(self) -> None:
        self.held.close()


class Leases:
    """Shares 1/``per_gpu`` of the GPUs ``devices`` (cuda:0, …), one for each process that trains folds.

    UserError where their folder can't be written.
    """

    def __init__(self, devices: Sequence[str], per_gpu: int) -> None:
        self.devices, self.share = list(devices), max(1, PARTS // per_gpu)
        self.folder = Path(os.environ.get(FOLDER) or Path(tempfile.gettempdir()) / f"bench-gpus-{os.getuid()}")
        self._since: float | None = None
        self._told = 0.0
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.folder.is_symlink() or self.folder.stat().st_uid != os.getuid():  # anybody may write in /tmp
                raise UserError(f"{self.folder} is not yours; set {FOLDER} to a folder of your own")
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UserError(
                f"{self.folder}: GPUs can't be leased there ({error.strerror}); set {FOLDER} to a folder of your own"
            ) from error

    def take(self, preferred: Sequence[str]) -> Lease | None:
        """A lease of the first of the devices that has room; None while none has.

        Says what is waited for; UserError after a day.
        """
        for device in preferred:
            if (held := self._parts(device)) is not None:
                self._since = None
                return Lease(device, held)
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > PATIENCE_S:
            raise UserError(f"no GPU was free for a day: {self._holders()}")
        if now - self._told > TELL_S:
            self._told = now
            say(f"folds     wait for a GPU: {self._holders()}")
        return None

    def _parts(self, device: str) -> ExitStack | None:
        """The locks of a share of the device; None where not so many are free."""
        name = physical(device)
        with ExitStack() as mine, FileLock(self.folder / f"{name}.lock"):  # one command counts at a time
            taken = 0
            for part in range(PARTS):
                with suppress(Timeout):
                    mine.enter_context(FileLock(self.folder / f"{name}.{part}.lock", timeout=0))
                    taken += 1
                if taken == self.share:
                    write_json(self.folder / f"{name}.json", {"pid": os.getpid()})
                    return mine.pop_all()
        return None

    def _holders(self) -> str:
        told = []
        for device in self.devices:
            try:
                pid = int(read_json(self.folder / f"{physical(device)}.json")["pid"])
            except (OSError, UserError, KeyError, TypeError, ValueError):
                pid = 0
            told.append(f"{device} is used by {f'pid {pid}' if pid else 'another process'}")
        return ", ".join(told)


def physical(device: str) -> str:
    """A GPU's name among all of the machine: another process may see it under another number."""
    number = int(device.removeprefix("cuda:"))
    visible = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    name = visible[number] if number < len(visible) else str(number)
    return "gpu-" + "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)


def gpus(devices: Sequence[str]) -> list[str]:
    """The GPUs that a command may use, by their numbers; none where it uses the processor."""
    import torch

    from bench.training.device import choose

    if choose(devices[0]).type != "cuda":
        return []
    if list(devices) == ["auto"]:
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cuda:0" if name == "cuda" else name for name in devices]
