"""What a fold's folder says of the job that trains it: ``job.json``, from when it is queued until it has ended.

A command that comes back attaches to the job by it. The file may come from anybody, so nothing of it is run: it says
whom to ask.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from bench.atomic import read_json, write_json
from bench.runs.facts import CLAIM, is_locked
from bench.runs.records import parse
from bench.runs.run import Fold
from bench.spec import UserError

FILE = "job.json"
Cluster = Literal["local", "slurm", "ray"]

going: dict[str, Callable[[], bool]] = {}
"""Whether a job goes on, by its number: for those that only the process which has queued them can ask after."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A fold's job: where it was queued, under which number, and why it has ended, once it has."""

    cluster: Cluster
    id: str
    host: str
    log: str
    why: str | None = None

    @property
    def name(self) -> str:
        return f"{self.cluster} job {self.id}"

    def write(self, fold: Fold) -> None:
        write_json(fold.folder / FILE, asdict(self))

    def ended(self, fold: Fold, why: str | None) -> None:
        """Notes why the job has failed; one that has not needs no ticket any more."""
        if why is None:
            (fold.folder / FILE).unlink(missing_ok=True)
        else:
            replace(self, why=why).write(fold)


def ticket(fold: Fold) -> Ticket | None:
    """The fold's ticket; None where there is none, or none that can be read."""
    try:
        known = parse(Ticket, read_json(fold.folder / FILE), FILE)
    except (OSError, UserError):
        return None
    return known if re.fullmatch(r"[\w]{1,80}", known.id, re.ASCII) else None


def alive(fold: Fold) -> Ticket | None:
    """The ticket of a job that waits or works; None where nothing is to be waited for."""
    known = ticket(fold)
    if known is None or known.why is not None:
        return None
    return known if is_locked(fold.folder / CLAIM) or _known(known) else None


def _known(job: Ticket) -> bool:
    """Whether the engine still has the job."""
    if job.cluster == "local":
        return job.host == os.uname().nodename and _is_submitit(int(job.id) if job.id.isdigit() else 0)
    if job.cluster == "slurm":
        return _in_queue(job)
    return job.id in going and going[job.id]()


def _is_submitit(pid: int) -> bool:
    """Whether the process is one of submitit's, and no other that has got its number since."""
    try:
        return b"submitit" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _in_queue(job: Ticket) -> bool:
    try:
        from submitit import SlurmJob
    except ImportError:
        raise UserError(f'{job.name} can\'t be asked after without submitit: pip install "bench[slurm]"') from None
    return not SlurmJob(Path(job.log).parent, job.id).done()
