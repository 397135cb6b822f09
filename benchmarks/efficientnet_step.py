"""EfficientNetV2 with the learned resizer in front: a training step in two layouts of memory and, where there, bf16.

    python benchmarks/efficientnet_step.py [--rounds 4] [--threads 1]

SETI's six panels on top of each other, (2, 1, 1638, 256), resizer to 384 × 384, tf_efficientnetv2_s, two classes:
forward and backward with cross entropy. The same weights in float32 as PyTorch lays them out (NCHW, as the model is
built), in float32 with the channels last, and on a processor or GPU that multiplies bf16 both again under autocast.
The variants take turns in one process with the allocator that a fold's process has; the median counts, of CPU seconds
on a processor, of seconds on the clock on a GPU.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from bench.allocator import ALLOCATOR
from bench.models.efficientnetv2 import EfficientNetV2
from bench.spec import InputSpec
from bench.training.inference import autocast

BATCH = 2


def has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    return "avx512_bf16" in flags or "amx_bf16" in flags


def seconds(device: torch.device, step: Callable[[], None]) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if not ALLOCATOR.items() <= os.environ.items():  # it has to be there before the process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    spec = InputSpec(1, (1638, 256), ("0", "1"))
    # neither dropout nor dropped paths: the layouts are to be compared on equal work
    built = EfficientNetV2(spec, resizer=(384, 384), drop_rate=0.0, drop_path_rate=0.0).to(device).train()
    layouts = {
        "NCHW": copy.deepcopy(built).to(memory_format=torch.contiguous_format),
        "channels last": copy.deepcopy(built).to(memory_format=torch.channels_last),
    }
    x, target = torch.randn(BATCH, *spec.shape, device=device), torch.tensor([0, 1], device=device)

    def step(model: nn.Module, precision: str) -> Callable[[], None]:
        def run() -> None:
            model.zero_grad(set_to_none=True)
            with autocast(device, precision):
                answer = model(x)
            F.cross_entropy(answer.float(), target).backward()

        return run

    precisions = ["float32"] + (["bf16"] if has_bf16(device) else [])
    ways = {f"{p}, {name}": step(model, p) for p in precisions for name, model in layouts.items()}
    for way in ways.values():
        way()
    rounds = [{name: seconds(device, way) for name, way in ways.items()} for _ in range(arguments.rounds)]
    first = median(r["float32, NCHW"] for r in rounds)
    print(f"EfficientNetV2-S with resizer, batch {BATCH}, {device}, {arguments.threads} threads:")
    for name in ways:
        took = median(r[name] for r in rounds)
        print(f"{name}: {took:.2f} s a step, {first / took:.2f}x")
    if len(precisions) == 1:
        print("bf16: left out, nothing here multiplies it")


if __name__ == "__main__":
    main()
