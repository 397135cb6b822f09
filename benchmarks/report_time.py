"""What report.html costs: of a run like the default one, and of 20,000 rows in 41 classes, with the largest inputs.

    python benchmarks/report_time.py [folder]

Prints the CPU seconds from the files of a collected run to the page (bound 2) and its size (bound 1 MB), and what its
figures take as PNG files. Where a folder is
given, the runs and their pages are left there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench.atomic import write_json, write_text
from bench.crossval import collect
from bench.datasets.freesound import Freesound
from bench.datasets.hms import HMS
from bench.report import figures, plots, report
from bench.report.judged import judge
from bench.runs import frames
from bench.runs.run import Run
from bench.spec import Metric


def write_run(folder: Path, metric: Metric, rows: int, classes: int, folds: int, epochs: int, size: list[int]) -> Run:
    """A finished run of made-up predictions."""
    rng, names = np.random.default_rng(0), tuple(f"class_number_{k}" for k in range(classes))
    name, channels = folder.parent.name, 8 if len(size) == 1 else 1
    write_text(folder / "config.yaml", f"dataset: {{_target_: bench.datasets.{name}}}\nseed: 0\n")
    spec = {"channels": channels, "size": size, "classes": list(names), "sample_rate": 40.0}
    inputs = {"dataset": name, "model": "wavenet", "metric": metric.name, "direction": metric.direction}
    more = {"simulated": True, "n_splits": folds, "spec": spec, "stores": {}, "test": "", "group": ""}
    write_json(folder / "inputs.json", inputs | more)
    target = np.eye(classes, dtype=np.float32)[rng.integers(classes, size=rows)]
    logits = 2 * target + rng.normal(size=target.shape)
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = pd.DataFrame({"id": [f"{n:08x}" for n in range(rows)], "group": np.arange(rows) // 4})
    table["fold"] = table["group"] % folds
    table = table.join(pd.DataFrame(target, columns=[f"target_{c}" for c in names]))
    frames.write_frame(table, folder / "splits.parquet")
    frames.write_frame(table[["id"]][:0], folder / "test_ids.parquet")
    run = Run(folder)
    for fold in run.folds:
        here = (table["fold"] == fold.number).to_numpy()
        frames.write_frame(frames.oof_frame(table[here], probability[here], None, names), fold.oof)
        keys = ("train/loss", "valid/loss", f"valid/{metric.name}")
        fold.write_history([{"epoch": e, **{key: 1 / e + rng.random() for key in keys}} for e in range(1, epochs + 1)])
        write_json(fold.done, {"test": "", "test_rows": 0})
    collect.collect(run, metric)
    return run


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root, rng = Path(sys.argv[1] if len(sys.argv) > 1 else scratch), np.random.default_rng(1)
        default = write_run(root / "hms/default", HMS.metric, 120, 6, 5, 5, [2000])
        large = write_run(root / "freesound/large", Freesound.metric, 20_000, 41, 10, 200, [640, 1920])
        for what, run, metric in (
            ("the default run's shape", default, HMS.metric),
            ("20,000 rows × 41 classes", large, Freesound.metric),
        ):
            shown = {place: rng.normal(size=run.spec.shape).astype(np.float32) for place in judge(run).worst()}
            began = time.process_time()
            judged = judge(run)
            drawings = plots.drawings(run, metric, judged)
            page = report.write(run, metric, judged, figures.inline(drawings), shown)
            written = time.process_time()
            figures.save(drawings, run.folder / "plots", plots.title(run), True)
            seconds, size = written - began, page.stat().st_size / 1e6
            print(
                f"{what}: {seconds:.2f} s of CPU (bound 2), {size:.2f} MB (bound 1); its figures as PNG "
                f"{time.process_time() - written:.2f} s more"
            )


if __name__ == "__main__":
    main()
