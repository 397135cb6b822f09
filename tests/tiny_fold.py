"""One fold of a tiny model on three classes, from objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.atomic import write_json
from bench.data.batches import Batches
from bench.data.store import Store
from bench.features.device.cast import ToFloat32
from bench.losses.kl import kl
from bench.metrics import KL
from bench.runs.run import Fold
from bench.training import loop, schedules

SETTINGS = loop.Settings(epochs=4, batch_size=16, eval_batch_size=32, seed=3)


CPU = torch.device("cpu")


def store(folder: Path, n: int = 61) -> Store:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 1, 12)).astype(np.float16)
    x[:, 0, :4] += (np.arange(n) % 3)[:, None]
    folder.mkdir(parents=True, exist_ok=True)
    x.tofile(folder / "data.bin")
    write_json(folder / "manifest.json", {"rows": n, "shape": [1, 12], "dtype": "float16", "digest": "x"})
    return Store(folder)


def sides(folder: Path, weight: np.ndarray | None = None) -> tuple[Batches, Batches]:
    data = store(folder)
    target = np.eye(3, dtype=np.float32)[np.arange(len(data)) % 3]
    rows = np.arange(len(data))
    return tuple(  # type: ignore[return-value]
        Batches(data, rows[m], target[m], None if weight is None else weight[m], CPU) for m in (rows >= 20, rows < 20)
    )


def parts(**changes: Any) -> loop.Parts:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    made = loop.Parts(model, ToFloat32(), kl, optimizer, schedules.cosine, KL)
    return replace(made, **changes)


def fit(folder: Path, settings: loop.Settings = SETTINGS, made: loop.Parts | None = None) -> loop.Parts:
    made = made or parts()
    loop.fit(made, *sides(folder / "store"), settings, Fold(folder / "fold", 0), lambda event: None)
    return made


def weights(made: loop.Parts) -> list[Tensor]:
    return [p.detach().clone() for p in made.model.state_dict().values()]
