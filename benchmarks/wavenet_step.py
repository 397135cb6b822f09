"""What a training step of WaveNet costs, ours beside the write-up's network ported line by line.

    python benchmarks/wavenet_step.py                       # 2–5 minutes, batch 32, float32
    python benchmarks/wavenet_step.py --batch 8 --threads 1 --rounds 3
    python benchmarks/wavenet_step.py --bf16                # rows for bf16 autocast, where the processor has bf16

How to read it: a step is forward, loss and backward on random (8, 2000) signals, in milliseconds a sample, the median
over all steps of all rounds. The first ratio is the product's: the port in a process as a person would start it,
against ours in a process with the allocator settings that every fold's process gets (bench.allocator.ALLOCATOR);
the processes take turns, A B A B, so that a machine that slows down slows both. The rows below it put both networks in
one process and let them take turns step by step: the part of the gain that is arithmetic, without and with the
allocator. The differences are the largest ones of logits and of weight gradients; both run on the same weights. Two
threads on a busy machine wait for each other: --threads 1 measures true there.
On a CUDA device rows for the GPU follow.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.allocator import ALLOCATOR
from bench.models.wavenet import WaveBlock, WaveNet
from bench.spec import InputSpec

SPEC = InputSpec(8, (2000,), ("seizure", "lpd", "gpd", "lrda", "grda", "other"), 40.0)
Times = dict[str, list[float]]


def conv(weight: Tensor, bias: Tensor, dilation: int = 1) -> nn.Conv1d:
    """A layer of its own with copies of these weights."""
    outputs, inputs, taps = weight.shape
    layer = nn.Conv1d(inputs, outputs, taps, padding="same", dilation=dilation)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


class PortedBlock(nn.Module):
    """The write-up's wave_block: two convolutions a gate, a 1×1 after each."""

    def __init__(self, block: WaveBlock) -> None:
        super().__init__()
        tanh, sigmoid = zip(*(w.chunk(2) for w in block.gated.weight), strict=True)
        tanh_bias, sigmoid_bias = zip(*(b.chunk(2) for b in block.gated.bias), strict=True)
        self.inlet = conv(block.inlet.weight[0], block.inlet.bias[0])
        self.tanhs = nn.ModuleList(conv(w, b, 2**i) for i, (w, b) in enumerate(zip(tanh, tanh_bias, strict=True)))
        self.sigmoids = nn.ModuleList(
            conv(w, b, 2**i) for i, (w, b) in enumerate(zip(sigmoid, sigmoid_bias, strict=True))
        )
        self.mixers = nn.ModuleList(conv(w, b) for w, b in block.mixer.each())

    def forward(self, x: Tensor) -> Tensor:
        x = total = self.inlet(x)
        for tanh, sigmoid, mixer in zip(self.tanhs, self.sigmoids, self.mixers, strict=True):
            x = mixer(torch.tanh(tanh(x)) * torch.sigmoid(sigmoid(x)))
            total = total + x
        return total


class Ported(nn.Module):
    """The write-up's network: the extractor is called once a channel."""

    def __init__(self, model: WaveNet) -> None:
        super().__init__()
        self.extractor = nn.Sequential(*(PortedBlock(b) for b in model.blocks if isinstance(b, WaveBlock)))
        self.hidden, self.classifier = nn.Linear(256, 64), nn.Linear(64, 6)
        self.hidden.load_state_dict(model.hidden.state_dict())
        self.classifier.load_state_dict(model.classifier.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        z = [self.extractor(x[:, i : i + 1]).mean(2) for i in range(8)]
        pairs = [(z[i] + z[i + 1]) / 2 for i in range(0, 8, 2)]
        return self.classifier(torch.relu(self.hidden(torch.cat(pairs, dim=1))))


def pair() -> tuple[WaveNet, Ported]:
    torch.manual_seed(0)
    model = WaveNet(SPEC)
    return model, Ported(model)


def stepper(model: Any, x: Tensor, bf16: bool = False) -> Callable[[], Tensor]:
    target = torch.softmax(torch.randn(len(x), SPEC.n_classes, device=x.device), dim=1)

    def step() -> Tensor:
        model.zero_grad()
        cast: AbstractContextManager[None] = nullcontext()
        if bf16:
            cast = torch.autocast(x.device.type, dtype=torch.bfloat16)
        with cast:
            logits = model(x)
        F.cross_entropy(logits.float(), target).backward()
        return logits.detach()

    return step


def take_turns(steps: dict[str, Callable[[], Tensor]], batch: int, repeats: int) -> Times:
    """Milliseconds a sample of every step, the networks in turn; a first turn warms up and is not counted."""
    times: Times = {name: [] for name in steps}
    for turn in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                times[name].append(1000 * (time.perf_counter() - start) / batch)
    return times


class Convolutions(nn.Module):
    """Ours on the way it takes on a GPU, for a look at it on a CPU."""

    def __init__(self, model: WaveNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        self.model.extract_by_products = self.model.extract_by_convolutions  # type: ignore[method-assign]
        return self.model(x)


def worker(case: str, batch: int, repeats: int, threads: int) -> Times:
    """One process' share: ``case`` is the names of the networks that take turns in it, joined by +."""
    if threads:
        torch.set_num_threads(threads)
    x = torch.randn(batch, *SPEC.shape)
    networks = {"ported": pair()[1], "ours": pair()[0], "ours, convolutions": Convolutions(pair()[0])}
    steps = {}
    for name in case.split("+"):
        network, _, kind = name.partition(" bf16")
        steps[name] = stepper(networks[network + kind], x, " bf16" in name)
    return take_turns(steps, batch, repeats)


def in_process(case: str, tuned: bool, options: argparse.Namespace) -> Times:
    environment = {k: v for k, v in os.environ.items() if k not in ALLOCATOR}
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", case]
    command += ["--batch", str(options.batch), "--repeats", str(options.repeats), "--threads", str(options.threads)]
    answer = subprocess.run(
        command, env=environment | (ALLOCATOR if tuned else {}), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(answer.stdout.splitlines()[-1])


def report(label: str, ported: list[float], ours: list[float], batch: int) -> None:
    a, b = statistics.median(ported), statistics.median(ours)
    print(f"{label:58s} {a:8.1f} {b:8.1f} {a / b:7.2f}× {1000 / b:9.1f}", flush=True)


def differences() -> None:
    ours: Any
    ours, ported = pair()
    x = torch.randn(2, *SPEC.shape)
    torch.manual_seed(1)
    a = stepper(ours, x)()
    torch.manual_seed(1)
    b = stepper(ported, x)()
    # A gradient has its weight's shape, so the port's gradients can be laid out by the way its weights were.
    gaps = [(ours.hidden.weight.grad - ported.hidden.weight.grad).abs().max()]
    for block, theirs in zip(ours.blocks, ported.extractor, strict=True):
        named: dict[str, Any] = {name: parameter.grad for name, parameter in theirs.named_parameters()}
        for i, (gated, mixer) in enumerate(zip(block.gated.weight.grad, block.mixer.weight.grad, strict=True)):
            both = torch.cat((named[f"tanhs.{i}.weight"], named[f"sigmoids.{i}.weight"]))
            gaps += [(gated - both).abs().max(), (mixer - named[f"mixers.{i}.weight"]).abs().max()]
    print(f"largest difference: logits {(a - b).abs().max().item():.1e}, gradients {max(gaps).item():.1e}")


def cuda_rows(batch: int, repeats: int) -> None:
    x = torch.randn(batch, *SPEC.shape, device="cuda")
    for bf16 in (False, True):
        ours, ported = (m.cuda() for m in pair())
        fast = torch.compile(pair()[0].cuda(), mode="reduce-overhead")
        models = {"ported": ported, "ours": ours, "compiled": fast}
        steps = {name: stepper(model, x, bf16) for name, model in models.items()}
        for _ in range(3):  # compiling and recording the graphs takes several steps
            steps["compiled"]()
        times = take_turns(steps, batch, max(20, repeats))
        kind = "bf16 autocast" if bf16 else "float32"
        report(f"{torch.cuda.get_device_name()}, {kind}, ours eager", times["ported"], times["ours"], batch)
        report(f"{torch.cuda.get_device_name()}, {kind}, ours compiled", times["ported"], times["compiled"], batch)


def has_bf16() -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(f in flags.read_text() for f in ("avx512_bf16", "amx_bf16"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3, help="counted steps a process")
    parser.add_argument("--rounds", type=int, default=2, help="turns of the processes A B")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves its own choice")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    batch = options.batch
    if options.worker:
        print(json.dumps(worker(options.worker, batch, options.repeats, options.threads)))
        return

    print(f"torch {torch.__version__}, {options.threads or torch.get_num_threads()} threads, batch {batch}")
    differences()
    print(f"{'ms a sample':58s} {'ported':>8s} {'ours':>8s} {'ratio':>8s} {'samples/s':>9s}")
    ported, ours = [], []
    for _ in range(options.rounds):
        ported += in_process("ported", False, options)["ported"]
        ours += in_process("ours", True, options)["ours"]
    report("own processes: ported, default | ours, tuned allocator", ported, ours, batch)
    for tuned in (False, True):
        times = in_process("ported+ours", tuned, options)
        label = f"same process, {'tuned' if tuned else 'default'} allocator"
        report(label, times["ported"], times["ours"], batch)
    if options.bf16 and not has_bf16():
        print("This processor has no bf16 arithmetic (neither avx512_bf16 nor amx_bf16): no bf16 rows.")
    elif options.bf16:
        times = in_process("ported bf16+ours bf16+ours bf16, convolutions", True, options)
        report("bf16 autocast, tuned, ours (float32 inside)", times["ported bf16"], times["ours bf16"], batch)
        convolutions = times["ours bf16, convolutions"]
        report("bf16 autocast, tuned, ours by convolutions", times["ported bf16"], convolutions, batch)
    if torch.cuda.is_available():
        cuda_rows(batch, options.repeats)


if __name__ == "__main__":
    main()
