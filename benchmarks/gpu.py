"""What a GPU gives: WaveNet's step, five folds in turn and side by side, HMS 5 × 5 on files of the real number, memory.

    python benchmarks/gpu.py                          # some minutes; the table on standard output
    python benchmarks/gpu.py --out benchmarks/results # <gpu>.json and <gpu>.md there, too

How to read it: a step is forward, loss, backward and Adam on a batch of 32 random (8, 2000) signals, the median of 102
after 20 that warm up, of modes that take turns three times. *eager*, *compiled* (``compile=true``) and *graph*
(``compile=graph``: forward, loss and backward as a CUDA graph) are what ``bench.train`` offers. The data path is
batches of 32 from rows held on the device, and from rows gathered and copied. HMS 5 × 5 is five folds of five epochs on
a fifth of the competition's 17,089 examples, noise in the real shape, by ``bench.training.loop`` in one process,
validation included, no reading of raw files: what epochs cost, and no score. Five folds are those of
``fused_folds.py``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.atomic import write_json, write_text
from bench.data import batches
from bench.data.batches import Batch, Batches
from bench.data.store import Store
from bench.features.device.cast import ToFloat32
from bench.losses.kl import kl
from bench.metrics import KL
from bench.models.heartbeat_net1 import HeartbeatNet1
from bench.models.mlp import MLP
from bench.models.resnet1d import ResNet1D
from bench.models.wavenet import WaveNet
from bench.runs.run import Fold
from bench.spec import InputSpec
from bench.training import loop, schedules
from bench.training.step import GraphedStep, Step

SPEC = InputSpec(8, (2000,), ("seizure", "lpd", "gpd", "lrda", "grda", "other"), 40.0)
BATCH, REAL = 32, 17_089
SHARE = 5  # of the competition's examples one in so many: all would take ten minutes
HOW = ("eager", "true", "graph")
SMALL = InputSpec(1, (205,), ("0", "1", "2", "3"), None)
CUDA = torch.device("cuda")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--rows", type=int, default=REAL // SHARE, help="examples of HMS 5 × 5")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no GPU here; benchmarks/wavenet_step.py measures a processor")
    results: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(CUDA),
        "torch": torch.__version__,
        "rows": arguments.rows,
        "date": time.strftime("%Y-%m-%d"),
    }
    out = arguments.out and arguments.out / results["gpu"].lower().replace(" ", "_")
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in (
            ("step_ms", steps),
            ("small_step_ms", small_steps),
            ("memory_mb", memory),
            ("rows_per_s", lambda: data_path(Path(folder), 4096)),
            ("hms_5x5_s", lambda: five_by_five(Path(folder), arguments.rows)),
            ("five_folds_s", lambda: five_folds(Path(folder))),
        ):
            started = time.perf_counter()
            try:
                results[name] = measure()
            except subprocess.CalledProcessError as error:  # the rest is worth its time all the same
                print(f"{name}: {error}", file=sys.stderr)
                continue
            print(f"{name}: {json.dumps(results[name])}  ({time.perf_counter() - started:.0f} s)", file=sys.stderr)
            if out:  # after each, so that what is measured stays when the next one fails
                out.parent.mkdir(parents=True, exist_ok=True)
                write_json(out.with_suffix(".json"), results)
    print(table(results))
    if out:
        write_text(out.with_suffix(".md"), table(results))


def stepper(precision: str, how: str, kind: Any = WaveNet, spec: InputSpec = SPEC) -> Callable[[], None]:
    """A training step as the loop takes it."""
    torch.manual_seed(0)
    model = kind(spec).to(CUDA)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
    if how == "true":
        model.compile()
    backward = Step(model, kl, precision, scaler, summed=False)
    backward = GraphedStep(backward, print) if how == "graph" else backward
    target = torch.rand(BATCH, spec.n_classes, device=CUDA).softmax(-1)
    batch = Batch(torch.randn(BATCH, *spec.shape, device=CUDA), target)

    def step() -> None:
        backward.zero_grad(optimizer)
        backward(batch, None)
        scaler.step(optimizer)
        scaler.update()

    return step


def steps() -> dict[str, float]:
    """Milliseconds of a step, by precision and mode."""
    todo = {f"{precision} {how}": stepper(precision, how) for precision in ("float32", "bf16") for how in HOW}
    return turns(todo | {f"fp16 {how}": stepper("fp16", how) for how in ("eager", "graph")})


def small_steps() -> dict[str, float]:
    """The same of networks for beats, whose kernels are shorter than what starts them."""
    kinds: dict[str, Any] = {"mlp": MLP, "resnet1d": ResNet1D, "heartbeat_net1": HeartbeatNet1}
    return turns(
        {
            f"{name} {how}": stepper("float32", how, kind, SMALL)
            for name, kind in kinds.items()
            for how in ("eager", "graph")
        }
    )


def turns(todo: dict[str, Callable[[], None]]) -> dict[str, float]:
    """The median milliseconds of each step; they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(3):
        for name, step in todo.items():
            for number in range(54):
                torch.cuda.synchronize()
                started = time.perf_counter()
                step()
                torch.cuda.synchronize()
                if number >= 20:
                    taken[name].append(1000 * (time.perf_counter() - started))
    return {name: round(statistics.median(times), 3) for name, times in taken.items()}


def memory() -> dict[str, float]:
    """MB that a step takes at most, beyond what is held before."""
    peaks = {}
    for precision in ("float32", "bf16"):
        step = stepper(precision, "eager")
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        peaks[precision] = round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)
    return peaks


def noise(folder: Path, rows: int) -> Store:
    """A store of noise in the shape of hms_waveform."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with (folder / "data.bin").open("wb") as file:
        for begin in range(0, rows, 1024):
            rng.standard_normal((min(1024, rows - begin), *SPEC.shape), np.float32).astype(np.float16).tofile(file)
    shape = list(SPEC.shape)
    write_json(folder / "manifest.json", {"rows": rows, "shape": shape, "dtype": "float16", "digest": "noise"})
    return Store(folder)


def side(store: Store, rows: np.ndarray) -> Batches:
    target = np.random.default_rng(1).dirichlet(np.ones(6), len(rows)).astype(np.float32)
    return Batches(store, rows, target, None, CUDA)


def data_path(folder: Path, rows: int) -> dict[str, float]:
    """Rows a second in batches of 32, held on the device and copied to it."""
    store, share = noise(folder / f"noise{rows}", rows), batches.RESIDENT_SHARE
    rates: dict[str, float] = {}
    for name, limit in (("held", share), ("copied", 0.0)):
        batches.RESIDENT_SHARE = limit
        data, times = side(store, np.arange(rows)), []
        for number in range(5):
            torch.cuda.synchronize()
            started = time.perf_counter()
            for batch in data.shuffled(BATCH, (number,)):
                batch.x.float()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        rates[name] = round(rows / statistics.median(times))
    batches.RESIDENT_SHARE = share
    return rates


def five_by_five(folder: Path, rows: int) -> dict[str, float]:
    """Seconds of five folds of five epochs, bf16, by how the model is run."""
    store, seconds = noise(folder / "hms", rows), {}
    settings = loop.Settings(epochs=5, batch_size=BATCH, eval_batch_size=64, seed=0, precision="bf16")
    for how in ("eager", "graph"):
        started = time.perf_counter()
        for number in range(5):
            torch.manual_seed(number)
            model = WaveNet(SPEC).to(CUDA)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
            validated = np.arange(rows) % 5 == number
            train, valid = side(store, np.flatnonzero(~validated)), side(store, np.flatnonzero(validated))
            parts = loop.Parts(model, ToFloat32(), kl, optimizer, schedules.cosine, KL, graphed=how == "graph")
            target = folder / f"folds-{how}" / str(number)
            target.mkdir(parents=True)
            loop.fit(parts, train, valid, settings, Fold(target, number), lambda event: None)
        seconds[how] = round(time.perf_counter() - started, 1)
    return seconds


def five_folds(folder: Path) -> dict[str, dict[str, float]]:
    """Wall seconds of five folds in turn, side by side and together, by model: ``fused_folds.py``."""
    script, answer = Path(__file__).with_name("fused_folds.py"), folder / "folds.json"
    words = [sys.executable, str(script), "--rows", "2000", "--epochs", "5", "--repeats", "1", "--json", str(answer)]
    subprocess.run(words, check=True)
    seconds: dict[str, dict[str, float]] = json.loads(answer.read_text(encoding="utf-8"))
    return seconds


def table(results: dict[str, Any]) -> str:
    lines = [f"# {results['gpu']}, torch {results['torch']}, {results['date']}", ""]
    lines += [
        "| WaveNet, batch 32: ms a step | eager | compiled | CUDA graph | eager / graph |",
        "|---|---|---|---|---|",
    ]
    for precision in ("float32", "bf16", "fp16"):
        taken = [results["step_ms"].get(f"{precision} {how}") for how in HOW]
        cells = " | ".join("–" if ms is None else f"{ms:.2f}" for ms in taken)
        lines.append(f"| {precision} | {cells} | {taken[0] / taken[2]:.1f} × |")
    lines += ["", "| 1 × 205, batch 32, float32: ms a step | eager | CUDA graph | eager / graph |", "|---|---|---|---|"]
    for name in ("mlp", "resnet1d", "heartbeat_net1"):
        eager, graph = (results["small_step_ms"][f"{name} {how}"] for how in ("eager", "graph"))
        lines.append(f"| {name} | {eager:.2f} | {graph:.2f} | {eager / graph:.1f} × |")
    held, copied = results["rows_per_s"]["held"], results["rows_per_s"]["copied"]
    lines += [
        "",
        f"- memory of a step: {results['memory_mb']} MB",
        f"- rows a second: {held:,} held, {copied:,} copied",
    ]
    lines += [f"- HMS 5 × 5 on {results['rows']:,} examples of noise in the real shape, bf16: {results['hms_5x5_s']} s"]
    if "five_folds_s" not in results:
        return "\n".join([*lines, ""])
    folds = results["five_folds_s"]
    ways = list(next(iter(folds.values())))
    lines += ["", f"| five folds, wall seconds | {' | '.join(ways)} |", "|---" * (1 + len(ways)) + "|"]
    lines += [f"| {model} | {' | '.join(str(taken[way]) for way in ways)} |" for model, taken in folds.items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
