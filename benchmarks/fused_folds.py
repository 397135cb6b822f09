"""Five folds of a network trained in one process, as one batched model or on CUDA streams, beside folds in their own.

    python benchmarks/fused_folds.py [model ...]                # mlp resnet1d cnn1d heartbeat_net1 wavenet
    python benchmarks/fused_folds.py --json FILE --rows 2000    # the seconds by model and way, too

Wall seconds from the processes' start to the folds' ends, from a store that stands, median of ``--repeats`` in turn, on
the GPU where there is one. *one*: a single fold; *in turn*: five, one process after the other; *side by side*: five
processes at once, on a processor one a core; *together*: ``folds.fused=true``; on a GPU with ``compile=graph`` also.
The ratio is side by side on a processor, in turn on a GPU, each as it is without the key, divided by together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.cli.compose import compose
from bench.crossval import processes
from bench.crossval.plan import make_plan
from bench.runs.recipe import Recipe, composed

MODELS = ("mlp", "resnet1d", "cnn1d", "heartbeat_net1", "wavenet")
ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
WAYS: dict[str, tuple[list[int], int | None, bool | str, bool]] = {
    "one": ([0], 1, False, False),
    "in turn": (list(range(5)), 1, False, False),
    "side by side": (list(range(5)), 5 if ON_GPU else None, False, False),
    "together": (list(range(5)), None, False, True),
}
"""Folds, how many at once, how they are compiled, whether they are fused."""
if ON_GPU:
    WAYS |= {
        "one, graph": ([0], 1, "graph", False),
        "in turn, graph": (list(range(5)), 1, "graph", False),
        "together, graph": (list(range(5)), None, "graph", True),
    }


class Quiet:
    """A display that shows what the trial of folds together has measured, and errors."""

    def start(self, fold: int) -> None: ...

    def finish(self, fold: int) -> None: ...

    def event(self, fold: int, event: dict[str, Any]) -> None:
        if event["kind"] == "note" and "folds train" in event["text"]:
            print(f"    {event['text']}")

    def fail(self, fold: int, why: str, last_lines: list[str], log: Path) -> None:
        raise SystemExit("\n".join([f"fold {fold} {why}", *last_lines]))


def seconds(model: str, way: str, folder: Path, rows: int, epochs: int) -> float:
    dataset = "hms" if model == "wavenet" else "heartbeat"
    simulated = (
        f"dataset.simulator.{'n_eegs' if dataset == 'hms' else 'n_train'}={rows // 10 if dataset == 'hms' else rows}"
    )
    words = [f"dataset={dataset}", f"model={model}", simulated, f"data={folder / 'data'}", f"store={folder / 'store'}"]
    words += [f"train.epochs={epochs}", "train.batch_size=32", "split.n_splits=5", f"device={DEVICE}"]
    with tempfile.TemporaryDirectory(dir=folder) as outputs:
        config, names = compose("train", [*words, f"outputs={outputs}", "tracking.enabled=false"])
        plan = make_plan(composed(Recipe, config, "bench.train"), names)
        plan.run.folder.mkdir(parents=True, exist_ok=True)
        plan.write()
        numbers, parallel, compiled, fused = WAYS[way]
        started = time.perf_counter()
        processes.train(plan.run, numbers, parallel, [DEVICE], compiled, Quiet(), fused)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="model")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for model in arguments.models:
            times: dict[str, list[float]] = {way: [] for way in WAYS}
            seconds(model, "one", Path(scratch), arguments.rows, 1)  # fills the store, starts what is kept
            for _ in range(arguments.repeats):
                for way, taken in times.items():
                    taken.append(seconds(model, way, Path(scratch), arguments.rows, arguments.epochs))
            medians = {way: round(statistics.median(taken), 2) for way, taken in times.items()}
            results[model] = medians
            ratio = medians["in turn" if ON_GPU else "side by side"] / medians["together"]
            print(f"{model:15} {medians}  {ratio:.2f}x", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
