"""SETI: an epoch of cadences, ours against the write-up's way, and the memory that an epoch takes.

    python benchmarks/seti_epoch.py [--rows 1200] [--rounds 5]

Epoch: shuffled batches from the store through ``Batches`` and the device half on the CPU, (B, 1, 1638, 256) float32,
against the competition's common notebook without its workers: numpy.load of each file, a cast to float32, vstack of
the panels, collated into the same batch. The notebook also lays the image on its side, (256, 1638), which a batch has
to be copied for: the second ratio counts that in, the first does not. The ways take turns in one process on one
thread with the allocator that a fold's process has, on files that the system holds in memory; the median of CPU
seconds (user and system) counts, and the seconds on the clock are printed too. Memory: the peak of a process that
goes through as many batches of a quarter of the rows as of all of them. The heap settles within some 1,000 batches
(an epoch of the competition is 1,875) at 1.1 to 1.3 GB, 0.6 of it torch itself, whatever the number of rows. Needs
nothing but the package: cadences are simulated, those beyond 200 copies of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from bench.allocator import ALLOCATOR
from bench.data.batches import Batches
from bench.data.store import Store, open_or_build
from bench.datasets.base import targets
from bench.datasets.seti import Seti
from bench.features.seti_stacked import SetiStacked
from bench.simulators.seti import simulate

BATCH = 32
PASSES = 20  # through all rows, before memory is looked at
DIFFERENT = 200


def make_files(root: Path, rows: int) -> None:
    """``rows`` training cadences."""
    simulate(root, n_train=min(rows, DIFFERENT), n_test=0, n_old=0)
    header, *lines = (root / "train_labels.csv").read_text().splitlines()
    for i in range(DIFFERENT, rows):
        source, label = lines[i % DIFFERENT].split(",")
        (root / "train/0").mkdir(exist_ok=True)
        shutil.copy(root / "train" / source[0] / f"{source}.npy", root / f"train/0/0{i:014d}.npy")
        lines.append(f"0{i:014d},{label}")
    (root / "train_labels.csv").write_text("\n".join([header, *lines]) + "\n")


def ours(store: Store, rows: int) -> Iterator[Tensor]:
    batches = Batches(store, np.arange(rows), np.zeros((rows, 2), np.float32), None, torch.device("cpu"))
    device_half = SetiStacked().device_half()
    for batch in batches.shuffled(BATCH, (0, 0, 0)):
        yield device_half(batch.x)


def as_written_up(files: list[Path], lying: bool) -> Iterator[Tensor]:
    order = np.random.default_rng((0, 0, 0)).permutation(len(files))
    for start in range(0, len(files), BATCH):
        images = [np.vstack(list(np.load(files[i]).astype(np.float32))) for i in order[start : start + BATCH]]
        yield torch.stack([torch.from_numpy(image.T if lying else image)[None] for image in images])


def seconds(epoch: Callable[[], Iterator[Tensor]]) -> tuple[float, float]:
    """CPU seconds and seconds on the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    for _ in epoch():
        pass
    return time.process_time() - cpu, time.perf_counter() - clock


def peak(store: Path, rows: int, rounds: int) -> float:
    """Peak resident MB of a process that goes ``rounds`` times through ``rows`` of a store."""
    command = [sys.executable, __file__, "--epoch-of", str(store), "--rows", str(rows), "--rounds", str(rounds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epoch-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not ALLOCATOR.items() <= os.environ.items():  # it has to be there before the process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    torch.set_num_threads(1)
    if arguments.epoch_of is not None:
        store = Store(arguments.epoch_of)
        for _ in range(arguments.rounds):
            for _ in ours(store, arguments.rows):
                pass
        # not getrusage's figure: that one is handed down from the parent
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        print(int(status["VmHWM"].split()[0]) / 1024)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "seti"
        make_files(root, arguments.rows)
        dataset = Seti(root)
        assert targets(dataset.table("train")).shape == (arguments.rows, 2)
        store = open_or_build(dataset, SetiStacked(), "train", Path(folder) / "store", 2)
        files = dataset.files("train")
        ways = {
            "ours": lambda: ours(store, len(files)),
            "standing": lambda: as_written_up(files, False),
            "lying": lambda: as_written_up(files, True),
        }
        for a, b, c in zip(*(way() for way in ways.values()), strict=True):
            assert torch.equal(a, b)
            assert torch.equal(a, c.transpose(2, 3))
        rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(arguments.rounds)]
        cpu, clock = ({name: len(files) / median(r[name][i] for r in rounds) for name in ways} for i in (0, 1))
        print(f"SETI epoch, {len(files)} cadences ({store.nbytes / 1e9:.2f} GB), one thread (goal 8x):")
        for what, rate in (("CPU seconds", cpu), ("on the clock", clock)):
            print(
                f"{what}: ours {rate['ours']:.0f}/s; write-up {rate['standing']:.0f}/s, ratio "
                f"{rate['ours'] / rate['standing']:.1f}x; with its image on its side {rate['lying']:.0f}/s, ratio "
                f"{rate['ours'] / rate['lying']:.1f}x"
            )
        few, many = peak(store.folder, arguments.rows // 4, 4 * PASSES), peak(store.folder, arguments.rows, PASSES)
        print(f"peak memory: {few:.0f} MB, at 4x the rows {many:.0f} MB, ratio {many / few:.3f} (goal 1.1)")


if __name__ == "__main__":
    main()
