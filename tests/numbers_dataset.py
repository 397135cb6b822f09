"""A data set of one small file an example, and features of fixed and of open length."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.spec import Direction, InputSpec, Kind, Metric, Part, UserError


class Numbers(Dataset):
    """One small file an example; a subclass for tests."""

    name = "numbers"
    metric = Metric("none", Direction.MIN, lambda target, probability: 0.0)
    features: ClassVar[dict[Kind, str]] = {}

    def required(self) -> list[str]:
        return ["0.txt"]

    def files(self, part: Part) -> list[Path]:
        return sorted(self.root.glob("*.txt"), key=lambda p: int(p.stem)) if part == "train" else []

    def read_table(self, part: Part) -> pd.DataFrame:
        files = self.files(part)
        return pd.DataFrame({"id": [f.stem for f in files], "target_a": np.ones(len(files), np.float32)})

    def read(self, part: Part, position: int, **what: Any) -> np.ndarray:
        path = self.files(part)[position]
        try:
            return np.full((2, 8), float(path.read_text()), np.float32) * np.linspace(0, 1, 8, dtype=np.float32)
        except ValueError:
            raise UserError(f"{path} is not a number") from None

    def write_submission(self, path: Path, ids: Any, probability: np.ndarray) -> None: ...


def make(root: Path, n: int) -> Numbers:
    root.mkdir()
    for i in range(n):
        (root / f"{i}.txt").write_text(str(i))
    return Numbers(root)


class Growing(Features):
    """Example i is (2, i + 3): i·100, i·100 + 1, … and the same negative."""

    kind: ClassVar[Kind] = "sequence"
    stored_dtype: ClassVar[str] = "int16"

    def __init__(self, lie: bool = False) -> None:
        self.lie = lie

    def spec(self, dataset: Any) -> InputSpec:
        return InputSpec(2, (8,), dataset.classes)

    def stored_shape(self, dataset: Any) -> tuple[int | None, ...]:
        return (2, None)

    def stored_lengths(self, dataset: Any, part: Part) -> np.ndarray:
        return np.arange(len(dataset.table(part)), dtype=np.int64) + 3

    def window(self, dataset: Any) -> int:
        return 8

    def store(self, raw: np.ndarray) -> np.ndarray:
        i = round(float(raw[0, -1]))
        line = i * 100 + np.arange(i + (4 if self.lie and i == 7 else 3))
        return np.stack([line, -line])

    def settings(self) -> dict[str, Any]:
        return {}
