"""The jobs that every tool does: one file each in ``jobs/``, read by ours, by the peers and by the driver."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path(__file__).with_name("jobs")
FOLDS = 5
EVAL_BATCH = 64


@dataclass(frozen=True)
class Job:
    """What is the same for every tool. ``parameters`` counts trainable numbers of the network.

    ``files`` is the competition whose layout the raw files have; ``words`` are our command's, besides those that
    ``ours`` derives from the other fields; ``peers`` are the tools that have the job written in them.
    """

    name: str
    files: str
    network: str
    parameters: int
    loss: str
    batch_size: int
    epochs: int
    lr: float
    eps: float
    words: list[str]
    peers: list[str]

    @property
    def ours(self) -> list[str]:
        """The words of our command: no pair's recipe, so that every number is the one written in the job's file."""
        sizes = [f"train.batch_size={self.batch_size}", f"train.eval_batch_size={EVAL_BATCH}"]
        rates = [f"optimizer.lr={self.lr}", f"+optimizer.eps={self.eps}", "scheduler=constant"]
        how = [f"train.epochs={self.epochs}", "train.keep=last", "train.batch_stats=running", "recipe=none"]
        return [*self.words, *sizes, *rates, *how, "device=cpu"]


def load(name: str) -> Job:
    return Job(name=name, **yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
