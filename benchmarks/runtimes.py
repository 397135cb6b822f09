"""Rows a second of a network on a processor, by what computes it: PyTorch, compiled too, ONNX Runtime, OpenVINO.

    python benchmarks/runtimes.py [--rounds 3] [--threads 2] [--compiled] [--write]

As ``bench.predict runtime=`` computes them, in float32, all with the same threads: WaveNet on (64, 8, 2000) EEGs, cnn2d
on (64, 40, 173) MFCC pictures, resnet1d on (256, 1, 205) beats, EfficientNetV2-S behind its learned resizer on SETI's
(4, 1, 1638, 256). The networks have random weights; features, which are computed alike for all, are left out. The ways
take turns in one process with the allocator that a fold has; the median of seconds on the clock counts. What it takes
to get ready (tracing, conversion, compilation) stands beside it: a fold pays that once. ``--write`` writes
results/runtimes.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from bench import build
from bench.allocator import ALLOCATOR
from bench.paths import conf
from bench.prediction import runtimes
from bench.spec import InputSpec

WORK: dict[str, tuple[InputSpec, int, int, dict[str, object]]] = {
    "wavenet": (InputSpec(8, (2000,), tuple("abcdef"), 200.0), 64, 1, {}),
    "cnn2d": (InputSpec(1, (40, 173), tuple(map(str, range(41)))), 64, 8, {}),
    "resnet1d": (InputSpec(1, (205,), tuple("abcd")), 256, 8, {}),
    "efficientnetv2": (InputSpec(1, (1638, 256), tuple("ab")), 4, 1, {"resizer": [384, 384], "pretrained": False}),
}
"""model → what goes in, rows in a batch, batches in a round, options."""

NAMES = {"wavenet": "WaveNet", "efficientnetv2": "EfficientNetV2-S with its resizer"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--compiled", action="store_true", help="torch.compile too, which takes a minute a network")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ways = ["torch", *(["compiled"] if arguments.compiled else []), "onnx", "openvino"]
    lines = ["| network | " + " | ".join(ways) + " | ready after, s |", "| --- |" + " --- |" * (len(ways) + 1)]
    for name in WORK:
        rates, ready = measured(name, ways, arguments.rounds)
        cells = [
            f"{rates[way]:.3g}" + (f" ({rates[way] / rates['torch']:.2f}×)" if way != "torch" else "") for way in ways
        ]
        waits = ", ".join(f"{way} {ready[way]:.1f}" for way in ways if way != "torch")
        lines.append(f"| {NAMES.get(name, name)} | {' | '.join(cells)} | {waits} |")
        print(
            f"{name}: rows/s " + ", ".join(f"{way} {cell}" for way, cell in zip(ways, cells, strict=True)), flush=True
        )
    if arguments.write:
        write(lines, arguments.threads)


def measured(name: str, ways: list[str], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Rows a second by each way, and the seconds until it could answer."""
    import yaml

    spec, batch, batches, options = WORK[name]
    node = yaml.safe_load((conf() / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    model: nn.Module = build.build(node | options, "model", spec).eval()
    x = torch.randn(batch, *spec.shape)
    networks, ready = {}, {}
    with torch.inference_mode():
        for way in ways:
            start = time.perf_counter()
            networks[way] = network(way, model, spec)
            networks[way](x)
            ready[way] = time.perf_counter() - start
        taken = [{way: seconds(networks[way], x, batches) for way in ways} for _ in range(rounds)]
    return {way: batch * batches / median(took[way] for took in taken) for way in ways}, ready


def network(way: str, model: nn.Module, spec: InputSpec) -> Callable[[torch.Tensor], torch.Tensor]:
    if way == "torch":
        return model
    if way == "compiled":
        compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(model)
        return compiled
    with torch.inference_mode(False):
        return runtimes.Network(model, spec, way)


def seconds(network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, batches: int) -> float:
    start = time.perf_counter()
    for _ in range(batches):
        network(x)
    return time.perf_counter() - start


def write(lines: list[str], threads: int | None) -> None:
    """Writes the table, with what it was measured on, to results/runtimes.md."""
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore") if Path("/proc/cpuinfo").exists() else ""
    has = [flag for flag in ("avx2", "avx512f", "amx_bf16") if f" {flag}" in flags]
    import onnxruntime

    text = [
        "# Rows a second by runtime", "", *lines, "",
        f"On {threads} thread{'s' * (threads != 1)} of a shared {platform.machine()} processor "
        f"({', '.join(has) or 'flags unknown'}), float32, torch {torch.__version__}, onnxruntime "
        f"{onnxruntime.__version__}, openvino {runtimes.openvino().__version__.partition('-')[0]}. In brackets: beside "
        "PyTorch. The probabilities are held against PyTorch's to 1e-5. Made by",
        f"`python benchmarks/runtimes.py --threads {threads}{' --compiled' * ('compiled' in lines[0])} --write`.",
    ]  # fmt: skip
    path = Path(__file__).parent / "results" / "runtimes.md"
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if not ALLOCATOR.items() <= os.environ.items():  # glibc has read its settings by now: start again with them
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ALLOCATOR)
    main()
