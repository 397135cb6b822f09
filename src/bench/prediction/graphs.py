"""A PyTorch module as a graph of any batch size: a torch.export program, or the bytes of an ONNX file."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench.spec import UserError


def program(model: nn.Module, x: Tensor, asked: str, instead: str) -> torch.export.ExportedProgram:
    """The model as a graph that takes any number of rows like those of ``x``, of which there are two at least.

    Raises UserError, which begins with ``asked`` and ends in ``instead``, where the model can't be traced.
    """
    try:
        with quiet():
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            return torch.export.export(model, (x[:2],), dynamic_shapes=shapes)
    except Exception as error:  # torch raises a dozen types for code that it can't trace
        raise UserError(cannot(asked, error, instead)) from error


def onnx_content(traced: torch.export.ExportedProgram, output: str, asked: str, instead: str) -> bytes:
    """An ONNX file of one input, ``x``, and one output; UserError, as in ``program``, where it can't be expressed."""
    try:
        with quiet():
            exported = torch.onnx.export(
                traced.run_decompositions(DECOMPOSED), dynamo=True, input_names=["x"], output_names=[output],
                verbose=False,
            )  # fmt: skip
            content: bytes = exported.model_proto.SerializeToString()  # type: ignore[union-attr]
    except Exception as error:  # any operator that ONNX can't express
        raise UserError(cannot(asked, error.__cause__ or error, instead)) from error
    return content


def adaptive_max_pool(x: Tensor, size: list[int]) -> tuple[Tensor, Tensor]:
    """Adaptive max pooling of the last one or two axes, for which ONNX has no operator.

    Window i of n begins at ⌊i · length / n⌋ and ends before ⌈(i + 1) · length / n⌉, as in PyTorch. The second result,
    the indices, is 0: our models don't use it.
    """
    for dim, n in zip((-2, -1)[-len(size) :], size, strict=True):
        length = x.shape[dim]
        edges = [(i * length // n, -(-(i + 1) * length // n)) for i in range(n)]
        x = torch.cat([x.narrow(dim, a, b - a).amax(dim, keepdim=True) for a, b in edges], dim)
    return x, torch.zeros_like(x, dtype=torch.int64)


def antialiased(x: Tensor, size: list[int], align_corners: bool, scales: Any = None) -> Tensor:
    """Antialiased bilinear resizing of the last two axes, as two matrix products: OpenVINO leaves out the antialiasing.

    Output i weighs input j by a triangle around (i + ½) · length / n whose half width is that ratio, 1 at least, as in
    PyTorch; the weights of an output sum to 1. All sizes are known, so that the matrices are constants of the graph.
    """
    for dim, n in zip((-2, -1), size, strict=True):
        ratio = x.shape[dim] / n
        centre = (torch.arange(n, dtype=x.dtype) + 0.5) * ratio
        away = torch.arange(x.shape[dim], dtype=x.dtype) + 0.5 - centre[:, None]
        weights = (1 - away.abs() / max(ratio, 1.0)).clamp(min=0)
        weights = weights / weights.sum(1, keepdim=True)
        x = weights @ x if dim == -2 else x @ weights.T
    return x


DECOMPOSED: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.adaptive_max_pool1d.default: adaptive_max_pool,
    torch.ops.aten.adaptive_max_pool2d.default: adaptive_max_pool,
    torch.ops.aten._upsample_bilinear2d_aa.vec: antialiased,
}
"""Operators that ONNX, or a runtime that reads it, lacks → what is written in their place."""


def cannot(asked: str, error: BaseException, instead: str) -> str:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"{asked} can't express this model with these features ({reason[:200]}); {instead}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporters: standard output must end in the line that names the file."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
