"""Where a competition's files are: the folder given, the usual one, or simulated files in a folder of their own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.atomic import read_json, write_json
from bench.spec import UserError
from bench.tell import say

MARK = "SIMULATED.json"


def is_simulated(root: Path) -> bool:
    """Whether the files below ``root`` came from a simulator, wherever the folder has been moved to."""
    return (root / MARK).exists()


@dataclass(frozen=True)
class Files:
    """Where a data set's files are looked for: ``requested``, else <data>/<name>, else simulated ones' own folder.

    ``settings`` are the simulator's; ``simulate`` makes such files in a folder (None: there is no simulator).
    """

    name: str
    requested: Path | None
    data: Path
    settings: Mapping[str, Any]
    simulate: Callable[[Path], object] | None

    @property
    def usual(self) -> Path:
        return self.data / self.name

    @property
    def simulated(self) -> Path:
        """Where simulated files of these settings are, or would be made: others than the first get their own folder."""
        first = self.data / "simulated" / self.name
        key = hashlib.sha256(json.dumps(dict(self.settings), sort_keys=True).encode()).hexdigest()[:8]
        keyed = first.with_name(f"{self.name}-{key}")
        if is_simulated(first):
            return first if read_json(first / MARK) == dict(self.settings) else keyed
        return keyed if is_simulated(keyed) else first

    def placed(self) -> Path | None:
        """The files that a person has put somewhere: ``requested`` as it is, or the usual folder where it is there."""
        if self.requested is not None:
            return self.requested
        return self.usual if self.usual.is_dir() else None

    def find(self) -> Path:
        """The files to train on; simulated ones are made now if they are not yet."""
        return self.placed() or self._simulated_now()

    def as_trained(self, simulated: bool) -> Path:
        """The files that a run was trained on, real or ``simulated``, by the rule of ``find``.

        Raises UserError where they are not there, and can't be simulated again, or where others are in their place.
        """
        folder = self.placed()
        if folder is None and simulated:
            return self._simulated_now()
        if folder is None or not folder.is_dir():
            raise UserError(f"{folder or self.usual}, on which the run was trained, is not here")
        if is_simulated(folder) != simulated:
            kinds = ("simulated", "real") if simulated else ("real", "simulated")
            raise UserError(f"the run was trained on {kinds[0]} files, and {folder} is {kinds[1]}")
        return folder

    def make(self, folder: Path) -> None:
        """Simulates files in a folder; UserError for a data set without a simulator."""
        self._need_simulator()
        assert self.simulate is not None
        self.simulate(folder)

    def _need_simulator(self) -> None:
        if self.simulate is None:
            raise UserError(
                f"{self.usual} is not there, and this data set has no simulator to stand in; put its files there, or "
                "give dataset.root=<folder>"
            )

    def _simulated_now(self) -> Path:
        """A folder under its final name is whole: it is made under another and renamed, under a lock."""
        from filelock import FileLock

        self._need_simulator()
        root = self.simulated
        say(f"data      no files in {self.usual} and no dataset.root: SIMULATED data in {root}")
        if not is_simulated(root):
            root.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{root}.lock"):
                if not is_simulated(root):
                    building = root.with_name(root.name + ".building")
                    shutil.rmtree(building, ignore_errors=True)
                    building.mkdir()
                    self.make(building)
                    write_json(building / MARK, dict(self.settings))
                    shutil.rmtree(root, ignore_errors=True)  # without the mark it is not ours to keep
                    os.replace(building, root)
        return root
