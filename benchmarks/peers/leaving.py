"""What every peer leaves: out-of-fold predictions with their folds, a submission, and its network's size."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.peers.files import Data
from benchmarks.peers.jobs import Job, load


class Order(NamedTuple):
    """What a peer is started with."""

    job: Job
    root: Path
    out: Path
    seed: int


def asked() -> Order:
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    return Order(load(words.job), words.root, words.out, words.seed)


def leave(out: Path, data: Data, oof: np.ndarray, test: np.ndarray, parameters: int) -> None:
    """oof.parquet and submission.csv of probabilities (N, K), and facts.json, in the folder ``out``."""
    columns = dict(zip(data.classes, oof.T, strict=True))
    frame = pd.DataFrame({"id": data.ids, "fold": data.fold} | {f"pred_{name}": p for name, p in columns.items()})
    frame.to_parquet(out / "oof.parquet")
    if len(test):
        answer = dict(zip(data.classes, test.T, strict=True))
        pd.DataFrame({"id": data.test_ids} | answer).to_csv(out / "submission.csv", index=False)
    (out / "facts.json").write_text(json.dumps({"parameters": parameters}), encoding="utf-8")
