"""Splits that are kept once they are made: scikit-learn takes longer to import than to split."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.atomic import replacing
from bench.data import splits
from bench.data.assignment import Ordered, Rows, Splitter

KEPT = (splits.stratified_group,)
"""The splitters that ask scikit-learn."""


def kept(splitter: Splitter, folder: Path) -> Splitter:
    """The splitter, whose folds are read from ``folder`` where it has split these very rows before."""
    if isinstance(splitter, functools.partial) and splitter.func in KEPT and not splitter.args:
        return _Kept(splitter, folder)
    return splitter


class _Kept:
    def __init__(self, splitter: functools.partial[Any], folder: Path) -> None:
        self.splitter, self.folder = splitter, folder
        self.keywords = splitter.keywords

    def __call__(self, rows: Rows) -> np.ndarray | Ordered:
        path = self.folder / f"{self._key(rows)}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:  # its checksum is held against it
                fold: np.ndarray = file["fold"]
            if fold.shape == rows.label.shape and fold.dtype == np.int64:
                return fold
        except Exception:  # it is not there; or whatever a parser makes of bytes that nobody wrote
            pass
        fold = np.asarray(self.splitter(rows), np.int64)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, fold=fold)
        return fold

    def _key(self, rows: Rows) -> str:
        """A hash of all that decides the folds: the rows, the options, the code and its libraries."""
        about = [self.splitter.func.__name__, self.keywords, version("scikit-learn"), version("numpy")]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        digest.update(Path(inspect.getfile(splits)).read_bytes())
        for codes in (rows.label, rows.block, rows.content):
            digest.update(np.asarray(codes, np.int64).tobytes())
        if "group" in rows.table:
            digest.update(pd.util.hash_array(rows.table["group"].astype(str).to_numpy(object)).tobytes())
        return digest.hexdigest()[:32]
