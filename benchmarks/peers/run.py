"""Whole jobs beside other tools: the same raw files, split, network, epochs and batches, to out-of-fold and submission.

    make peers                                                          # every job, into benchmarks/results
    make peers ARGS="--real <folder with ecg5000 and esc10> --repeats 1 --jobs ecg5000_mlp --peers bare"

Each tool is a command of its own, started in turn with ours, and waited for to its last process: wall time, CPU
seconds (user and system, of every process it started) and the largest sum of memory that its processes took at one
time. Scores are computed here, of the out-of-fold predictions that each leaves, after its folds have been held
against ours. HMS's files are simulated; without ``--real`` ECG5000's are too, and the sounds' job is left out.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from benchmarks.peers import jobs
from benchmarks.peers.jobs import Job
from benchmarks.peers.table import Row, page

ROOT = Path(__file__).resolve().parents[2]
TRACKED, OURS = "ours, tracked", "ours"
MODULES = {
    "keras": "keras_notebook",
    "lightning": "lightning_kfold",
    "skorch": "skorch_predict",
    "bare": "bare",
}
LEAST, SHARE = 0.1, 0.02
"""Seconds between looks at the memory at least, and the share of the time that looking may take."""
BECOME_REAPER = 36  # linux/prctl.h: processes whose parent has ended become this one's, which can then wait for them


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float
    peak_mb: float


def measured(command: Sequence[str], log: Path, environment: dict[str, str]) -> Cost:
    """Runs a command to the end of the last process that it started; RuntimeError with its log where it fails."""
    started = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
    peak, ended = [0.0], threading.Event()
    watcher = threading.Thread(target=watch, args=(process.pid, peak, ended))
    watcher.start()
    try:
        _, status, used = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        ended.set()
        raise
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime + orphans()
    ended.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    return Cost(wall, cpu, max(peak[0], used.ru_maxrss / 1024))


def orphans() -> float:
    """CPU seconds of processes that outlived their parents, which have all ended then."""
    cpu = 0.0
    while True:
        try:
            _, _, used = os.wait4(-1, 0)
        except ChildProcessError:
            return cpu
        cpu += used.ru_utime + used.ru_stime


def watch(pid: int, peak: list[float], ended: threading.Event) -> None:
    """Keeps in ``peak`` the largest sum of MB that a process and its children held; what they share counts once."""
    wait = LEAST
    while not ended.wait(wait):
        total, began = 0, time.perf_counter()
        try:
            main = psutil.Process(pid)
            processes = [main, *main.children(recursive=True)]
        except psutil.Error:
            return
        for process in processes:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:  # it has just ended
                continue
        peak[0] = max(peak[0], total / 2**20)
        wait = max(LEAST, (time.perf_counter() - began) / SHARE)


def command_for(tool: str, job: Job, root: Path, out: Path, seed: int, python: Path) -> list[str]:
    if tool not in (OURS, TRACKED):
        return [str(python), "-m", f"benchmarks.peers.{MODULES[tool]}", job.name, str(root), str(out), f"--seed={seed}"]
    places = [f"dataset.root={root}", f"outputs={out}", f"store={out / 'store'}", f"data={out / 'data'}"]
    tracked = [f"tracking.enabled={str(tool == TRACKED).lower()}", f"seed={seed}"]
    return [sys.executable, "-m", "bench.train", *job.ours, *places, *tracked]


def result(tool: str, out: Path) -> tuple[pd.DataFrame, Path, int]:
    """The out-of-fold table with its folds, where a submission would be, and the network's parameters."""
    if tool not in (OURS, TRACKED):
        facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))
        return pd.read_parquet(out / "oof.parquet"), out / "submission.csv", facts["parameters"]
    (oof,) = out.glob("*/*/*/oof.parquet")
    weights = next(oof.parent.glob("folds/*/weights.safetensors"))
    return pd.read_parquet(oof), oof.parent / "submission.csv", trainable(weights)


def trainable(weights: Path) -> int:
    """Numbers in a file of weights, without batch normalisation's statistics."""
    from safetensors import safe_open

    statistics = ("running_mean", "running_var", "num_batches_tracked")
    with safe_open(weights, framework="np") as tensors:
        names = [name for name in tensors.keys() if not name.endswith(statistics)]  # noqa: SIM118
        return sum(int(np.prod(tensors.get_slice(name).get_shape())) for name in names)


def scores(job: Job, oof: pd.DataFrame, reference: pd.DataFrame) -> list[float]:
    """The competition's metric of each fold; raises RuntimeError where the folds or classes are not ours."""
    from bench import metrics

    oof = oof.set_index("id").loc[reference["id"]]
    if list(oof["fold"]) != list(reference["fold"]):
        raise RuntimeError(f"{job.name}: another split than ours")
    names = [c for c in reference.columns if c.startswith("target_")]
    target = reference[names].to_numpy(np.float64)
    probability = oof[[n.replace("target_", "pred_") for n in names]].to_numpy(np.float64)
    probability = probability / probability.sum(1, keepdims=True)
    metric = getattr(metrics, METRICS[job.files]).score
    folds = reference["fold"].to_numpy()
    return [metric(target[folds == k], probability[folds == k]) for k in range(jobs.FOLDS)]


METRICS = {"hms": "KL", "freesound": "MAP3", "heartbeat": "L1_20K"}
"""Names in ``bench.metrics``."""


def raw_files(job: Job, real: Path | None, scratch: Path) -> Path | None:
    """The folder of a job's raw files, simulated where they are not at hand; None where they can't be."""
    from bench.simulators import heartbeat, hms

    if real is not None and job.files != "hms":
        return real.resolve() / {"heartbeat": "ecg5000", "freesound": "esc10"}[job.files]
    folder = scratch / job.files
    if job.files == "hms" and not folder.exists():
        hms.simulate(folder, n_eegs=40, n_patients=20, n_test=4, seed=0)
    if job.files == "heartbeat" and not folder.exists():
        heartbeat.simulate(folder, n_train=500, n_test=4_499, length=140, seed=0)
    return folder if folder.exists() else None


def compared(
    job: Job, tools: Sequence[str], root: Path, repeat: int, scratch: Path, python: Path, threads: int | None
) -> list[Row]:
    """All tools at one job, each once, one after another."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    rows: list[Row] = []
    reference: pd.DataFrame | None = None
    for tool in tools:
        out = scratch / f"{job.name}-{tool.replace(', ', '-')}-{repeat}"
        out.mkdir()
        command = command_for(tool, job, root, out, repeat, python)
        cost = measured(command, out / "log.txt", environment)
        oof, submission, parameters = result(tool, out)
        reference = oof if reference is None else reference
        if parameters != job.parameters:
            raise RuntimeError(f"{tool} has {parameters} parameters in {job.name}, which says {job.parameters}")
        has_test = (root / "testA.csv").exists() or (root / "test.csv").exists() or (root / "audio_test").exists()
        if has_test and not submission.exists():
            raise RuntimeError(f"{tool} left no submission in {job.name}")
        rows.append(Row(job.name, tool, repeat, **asdict(cost), folds=scores(job, oof, reference)))
        print(f"{job.name:18} {tool:14} {cost.wall:7.1f} s  {cost.cpu:7.1f} s CPU  {cost.peak_mb:6.0f} MB  ", end="")
        print(f"{np.mean(rows[-1].folds):.4g} ± {np.std(rows[-1].folds):.2g}", flush=True)
        shutil.rmtree(out)
    return rows


def machine() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    import torch

    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    name = models[0].split(":", 1)[1].strip() if models else platform.processor()
    cores, today = f"{os.cpu_count()} cores", time.strftime("%Y-%m-%d")
    return {
        "processor": name,
        "cores": cores,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": today,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="a folder with ecg5000 and esc10 in the competitions' layouts")
    parser.add_argument("--jobs", nargs="+", default=jobs.names(), choices=jobs.names())
    parser.add_argument("--peers", nargs="+", default=[TRACKED, *MODULES], choices=[TRACKED, *MODULES])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of every tool's libraries; without it what each tool chooses")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv-peers/bin/python", help="the peers' interpreter")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    words = parser.parse_args()
    ctypes.CDLL(None).prctl(BECOME_REAPER, 1, 0, 0, 0)
    kept = words.out / "peers.json"
    rows = read(kept, words.jobs)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for repeat in range(words.repeats):
            for job in map(jobs.load, words.jobs):
                root = raw_files(job, words.real, scratch)
                if root is None:
                    print(f"{job.name:18} left out: --real=<folder> says where its files are")
                    continue
                tools = [OURS, *(peer for peer in words.peers if peer == TRACKED or peer in job.peers)]
                rows += compared(job, tools, root, repeat, scratch, words.python, words.threads)
                write(kept, rows)
    print(kept.with_suffix(".md").read_text(encoding="utf-8"))


def read(path: Path, again: Sequence[str]) -> list[Row]:
    """The rows measured before, of jobs that are not measured ``again``."""
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    return [Row(**run) for run in runs if run["job"] not in again]


def write(path: Path, rows: Sequence[Row]) -> None:
    """The figures, and the page beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    here, ordered = machine(), sorted(rows, key=lambda row: row.job)
    report = {"machine": here, "runs": [asdict(row) for row in ordered]}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page(here, ordered), encoding="utf-8")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves through the scratch folder's removal
    main()
