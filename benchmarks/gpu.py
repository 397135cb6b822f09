"""What a GPU gives: WaveNet's step, five folds in turn and side by side, HMS 5 × 5 on files of the real number, memory.

    python benchmarks/gpu.py                          # some minutes; the table on standard output
    python benchmarks/gpu.py --out benchmarks/results # <gpu>.json and <gpu>.md there, too

How to read it: a step is forward, loss, backward and Adam on a batch of 32 random (8, 2000) signals, the median of 100
after 20 that warm up, of modes that take turns three times. *eager*, *compiled* (``compile=true``) and *graph*
(``compile=graph``, CUDA graphs) are what ``bench.train`` offers. The data path is batches of 32 from rows held on the
device, and from rows gathered and copied. HMS 5 × 5 is five folds of five epochs on 17,089 examples of noise in the
real shape, by ``bench.training.loop`` in one process, validation included, no reading of raw files: what epochs
cost, and no score. Five folds are commands: ``bench.train dataset=hms`` on simulated files, one fold, five in turn,
five at once.
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
from bench.data.batches import Batches
from bench.data.store import Store
from bench.features.device.cast import ToFloat32
from bench.losses.kl import kl
from bench.metrics import KL
from bench.models.wavenet import WaveNet
from bench.runs.run import Fold
from bench.spec import InputSpec
from bench.training import loop, schedules
from bench.training.device import compile_model
from bench.training.inference import autocast

SPEC = InputSpec(8, (2000,), ("seizure", "lpd", "gpd", "lrda", "grda", "other"), 40.0)
BATCH, REAL = 32, 17_089
MODES = [(precision, how) for precision in ("float32", "bf16", "fp16") for how in ("eager", "true", "graph")]
CUDA = torch.device("cuda")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--rows", type=int, default=REAL, help="examples of HMS 5 × 5")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no GPU here; benchmarks/wavenet_step.py measures a processor")
    results: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(CUDA),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    out = arguments.out and arguments.out / results["gpu"].lower().replace(" ", "_")
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in (
            ("step_ms", steps),
            ("memory_mb", memory),
            ("rows_per_s", lambda: data_path(Path(folder), 4096)),
            ("hms_5x5_s", lambda: five_by_five(Path(folder), arguments.rows)),
            ("five_folds_s", lambda: five_folds(Path(folder))),
        ):
            started = time.perf_counter()
            results[name] = measure()
            print(f"{name}: {json.dumps(results[name])}  ({time.perf_counter() - started:.0f} s)", file=sys.stderr)
            if out:  # after each, so that what is measured stays when the next one fails
                out.parent.mkdir(parents=True, exist_ok=True)
                write_json(out.with_suffix(".json"), results)
    print(table(results))
    if out:
        write_text(out.with_suffix(".md"), table(results))


def stepper(precision: str, how: str) -> Callable[[], None]:
    """A training step as the loop takes it."""
    torch.manual_seed(0)
    model = WaveNet(SPEC).to(CUDA)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
    if how != "eager":
        compile_model(model, how, CUDA)
    x, target = torch.randn(BATCH, *SPEC.shape, device=CUDA), torch.rand(BATCH, 6, device=CUDA).softmax(-1)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(CUDA, precision):
            answer = model(x)
        scaler.scale(kl(answer.float(), target, None)).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def steps() -> dict[str, float]:
    """Milliseconds of a step, by precision and mode."""
    todo = {f"{precision} {how}": stepper(precision, how) for precision, how in MODES}
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
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            if how != "eager":
                compile_model(model, how, CUDA)
            validated = np.arange(rows) % 5 == number
            train, valid = side(store, np.flatnonzero(~validated)), side(store, np.flatnonzero(validated))
            parts = loop.Parts(model, ToFloat32(), kl, optimizer, schedules.cosine, KL)
            target = folder / f"folds-{how}" / str(number)
            target.mkdir(parents=True)
            loop.fit(parts, train, valid, settings, Fold(target, number), lambda event: None)
            torch.compiler.reset()
        seconds[how] = round(time.perf_counter() - started, 1)
    return seconds


def five_folds(folder: Path) -> dict[str, float]:
    """Wall seconds of a whole command on simulated files: one fold, five in turn, five at once."""
    seconds = {}
    common = ["dataset=hms", "model=wavenet", f"data={folder}/data", "device=cuda", "tracking.enabled=false"]
    common += ["train.batch_size=4", "train.precision=bf16", "train.epochs=20"]
    for name, words in (
        ("prepared", ["folds.only=[0]", "train.epochs=1"]),
        ("one", ["folds.only=[0]"]),
        ("in turn", ["folds.parallel=1"]),
        ("side by side", ["folds.parallel=5"]),
    ):
        started = time.perf_counter()
        command = [sys.executable, "-m", "bench.train", *common, f"outputs={folder}/{name.replace(' ', '_')}", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds[name] = round(time.perf_counter() - started, 1)
    return seconds


def table(results: dict[str, Any]) -> str:
    lines = [f"# {results['gpu']}, torch {results['torch']}, {results['date']}", ""]
    lines += [
        "| WaveNet, batch 32: ms a step | eager | compiled | CUDA graph | eager / graph |",
        "|---|---|---|---|---|",
    ]
    for precision in ("float32", "bf16", "fp16"):
        eager, compiled, graph = (results["step_ms"][f"{precision} {how}"] for how in ("eager", "true", "graph"))
        lines.append(f"| {precision} | {eager:.2f} | {compiled:.2f} | {graph:.2f} | {eager / graph:.1f} × |")
    held, copied = results["rows_per_s"]["held"], results["rows_per_s"]["copied"]
    lines += [
        "",
        f"- memory of a step: {results['memory_mb']} MB",
        f"- rows a second: {held:,} held, {copied:,} copied",
    ]
    lines += [f"- HMS 5 × 5 on noise in the real shape, bf16: {results['hms_5x5_s']} s"]
    folds = results["five_folds_s"]
    ratio = {name: round(folds[name] / folds["one"], 2) for name in ("in turn", "side by side")}
    lines += [f"- five folds of simulated HMS, whole commands: {folds} s; beside one fold {ratio}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
