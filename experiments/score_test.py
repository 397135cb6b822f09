"""Scores a run's averaged test predictions against labels that training never sees.

    python experiments/score_test.py <run folder> <labels.csv>

labels.csv has the columns id and label (as ECG5000's test_labels.csv has). Prints accuracy and the scaled L1.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from bench.metrics import L1_20K, accuracy
from bench.runs.frames import predictions
from bench.runs.run import Run


def score(run: Run, labels_csv: str) -> tuple[float, float, int]:
    """Accuracy, L1 scaled to 20,000 rows, and the number of rows."""
    frame = pd.read_parquet(run.folder / "test.parquet")
    labels = pd.read_csv(labels_csv).set_index("id")["label"].reindex(frame["id"])
    if labels.isna().any():
        raise SystemExit(
            f"{labels_csv} lacks ids that {run.folder} has predicted, such as {labels[labels.isna()].index[0]}"
        )
    classes = {name: i for i, name in enumerate(run.spec.classes)}
    target = np.eye(len(classes))[labels.astype(int).astype(str).map(classes).to_numpy()]
    probability = predictions(frame)
    return accuracy(target, probability), L1_20K.score(target, probability), len(frame)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    found, l1, rows = score(Run.open(sys.argv[1]), sys.argv[2])
    print(f"{rows} test rows: accuracy {found:.4f}, L1 scaled to 20,000 rows {l1:.1f}")
