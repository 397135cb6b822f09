"""What computes a network's forward pass on a processor: PyTorch, ONNX Runtime or OpenVINO."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.prediction import graphs
from bench.spec import InputSpec, UserError
from bench.training.device import choose

TORCH, ONNX, OPENVINO = "torch", "onnx", "openvino"
RUNTIMES = (TORCH, ONNX, OPENVINO)

LARGEST_DIFFERENCE = 1e-5
"""The largest allowed difference from PyTorch's probabilities in float32; sums in another order differ by less."""

CHECKED = 4
"""Rows of the first batch that PyTorch computes too."""

NEEDS = {
    ONNX: ("export", ("onnx", "onnxscript", "onnxruntime")),
    OPENVINO: ("openvino", ("onnx", "onnxscript", "openvino")),
}
"""runtime → the extra of this package that brings it, and what it needs; both get the network as an ONNX graph."""

Answer = Callable[[np.ndarray], np.ndarray]


class Network(nn.Module):
    """A fold's model whose forward pass another runtime computes: (B, *input) → (B, K) float32 logits, for any B.

    The graph is made when the object is, which takes seconds. Its first batch is held against PyTorch. Raises UserError
    if the model can't be expressed, or if the answers differ.
    """

    def __init__(self, model: nn.Module, spec: InputSpec, runtime: str) -> None:
        super().__init__()
        asked, instead = f"runtime={runtime}", "predict with runtime=torch"
        traced = graphs.program(model, torch.zeros(2, *spec.shape), asked, instead)
        content = graphs.onnx_content(traced, "logits", asked, instead)
        self._asked, self._torch = asked, [model]  # in a list: no part of this module, and let go when it has answered
        try:
            self._answer = SESSIONS[runtime](content)
        except Exception as error:  # each runtime has its own types for what it can't do
            raise UserError(graphs.cannot(asked, error, instead)) from error
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.from_numpy(self._answer(x.float().contiguous().numpy()))
        if self._torch:
            self._compare(self._torch[0], x[:CHECKED], logits[:CHECKED])
            self._torch.clear()
        return logits

    @torch.no_grad()
    def _compare(self, model: nn.Module, x: Tensor, logits: Tensor) -> None:
        with torch.autocast("cpu", enabled=False):
            expected = model(x.float())
        difference = furthest(expected.double().softmax(-1).numpy(), logits.double().softmax(-1).numpy())
        if not difference <= LARGEST_DIFFERENCE:
            raise UserError(
                f"{self._asked}: its answers are up to {difference:.2g} away from PyTorch's probabilities; predict "
                "with runtime=torch"
            )


def furthest(expected: np.ndarray, answered: np.ndarray) -> float:
    """The largest difference; infinite where the shapes differ, NaN where an answer is."""
    return float(np.abs(answered - expected).max()) if answered.shape == expected.shape else float("inf")


def device(runtime: str, name: str) -> torch.device:
    """The device of a command or call; UserError for an unknown runtime, or one that does not know this device."""
    if runtime not in RUNTIMES:
        raise UserError(f"runtime={runtime} is not one of {', '.join(RUNTIMES)}")
    if runtime == TORCH:
        return choose(name)
    if choose(name).type != "cpu" and name != "auto":
        raise UserError(f"runtime={runtime} computes on the processor; leave device={name} out, or say runtime=torch")
    need(runtime, f"runtime={runtime}")
    return torch.device("cpu")


def need(runtime: str, asked: str) -> None:
    """UserError where what a runtime needs is not installed."""
    from importlib.util import find_spec

    extra, names = NEEDS[runtime]
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserError(f"{asked} needs {', '.join(missing)}: pip install 'bench[{extra}]' brings what is missing")


def onnx_session(content: bytes) -> Answer:
    """ONNX Runtime on the content of an ONNX file, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def answer(x: np.ndarray) -> np.ndarray:
        out: np.ndarray = session.run(None, {"x": x})[0]
        return out

    return answer


def openvino_session(content: bytes) -> Answer:
    """OpenVINO on the content of an ONNX file, in float32, with as many threads as PyTorch has."""
    core = openvino().Core()
    how = {
        "INFERENCE_PRECISION_HINT": "f32",  # its default is bf16 where the processor has it: two digits
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # the cores may be another process's
    }
    compiled = core.compile_model(core.read_model(content), "CPU", how)

    def answer(x: np.ndarray) -> np.ndarray:
        out: np.ndarray = compiled(x)[0]
        return out

    return answer


def openvino() -> Any:
    """The package, without its telemetry: that would send a message over the network at the import already."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


SESSIONS: dict[str, Callable[[bytes], Answer]] = {ONNX: onnx_session, OPENVINO: openvino_session}
