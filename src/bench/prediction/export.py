"""Exports a finished run as one file that needs no bench: stored features in, probabilities out."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from bench.atomic import read_json, replacing, write_json
from bench.cli.schema import Predict
from bench.prediction.predictor import Predictor
from bench.runs.recipe import NOTHING
from bench.runs.run import Run
from bench.spec import UserError
from bench.tell import say

SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}
LARGEST_DIFFERENCE = 1e-4
"""The largest allowed difference from PyTorch's probabilities; sums in another order differ by less."""


class Averaged(nn.Module):
    """(B, *stored shape) stored features → (B, K) float32, the folds' mean probability of one view."""

    def __init__(self, folds: list[tuple[nn.Module, nn.Module]]) -> None:
        super().__init__()
        self.models, self.device_halves = (nn.ModuleList(part) for part in zip(*folds, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        each = [model(half(x)).softmax(-1) for model, half in zip(self.models, self.device_halves, strict=True)]
        return torch.stack(each).mean(0)


def export(run: Run, config: Predict) -> Path:
    """Writes <run>/exports/folds-<numbers>.onnx or .pt2, and a .json that describes its inputs and outputs.

    The device half of the features is included, test-time views are not; the batch may have any size. Raises UserError,
    and writes nothing, if the run can't be exported, or if the exported model's probabilities differ from PyTorch's.
    """
    kind = config.export
    if kind not in SUFFIX:
        raise UserError(f"export={kind} is not one of {', '.join(SUFFIX)}")
    for key in ("input", "tta", "excel"):
        if getattr(config, key):
            raise UserError(f"export={kind} writes the model, of one view, and predicts nothing; leave {key} out")
    if kind == "onnx":
        _need_onnx()
    predictor = Predictor(run, config.folds, NOTHING, "cpu")
    folder = (Path(config.output) if config.output else run.folder / "exports").resolve()
    path = folder / f"folds-{'-'.join(map(str, predictor.folds))}{SUFFIX[kind]}"
    about = path.with_name(path.name + ".json")
    identity = {"run": run.identity, "folds": predictor.folds}
    if path.exists() and about.exists():
        if {key: read_json(about).get(key) for key in identity} != identity:
            raise UserError(f"{path} is of another run, and nothing is overwritten; name another output=")
        say("export    it is there already")
        print(f"export {path}", flush=True)
        return path
    x = torch.from_numpy(examples(predictor))
    model = Averaged([predictor.models(k) for k in predictor.folds]).eval()
    with torch.inference_mode():
        expected = model(x).numpy()
    content, answer = (_onnx if kind == "onnx" else _torch)(model, x)
    difference = max(np.abs(answer(x[:n]) - expected[:n]).max() for n in (1, len(x)))
    if not difference <= LARGEST_DIFFERENCE:
        raise UserError(
            f"export={kind}: the exported model answers up to {difference:.2g} away from PyTorch's probabilities; "
            "nothing is written: choose the other export, or predict with bench"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    more = {
        "input": {"shape": ["batch", *x.shape[1:]], "dtype": str(x.dtype).removeprefix("torch.")},
        "features": run.recipe.features,  # their stored half computes the input
        "output": {"shape": ["batch", len(predictor.classes)], "dtype": "float32", "classes": list(predictor.classes)},
        "largest_difference": float(difference),
        "torch": torch.__version__,
    }
    write_json(about, identity | more)
    say(f"export    {len(content) / 1e6:.1f} MB; at most {difference:.1e} away from PyTorch's probabilities")
    print(f"export {path}", flush=True)
    return path


def examples(predictor: Predictor, n: int = 3) -> np.ndarray:
    """(n, *stored shape) random numbers of the stored dtype; an open length becomes the window's."""
    run, features = predictor.run, predictor.features
    shape = [size or run.inputs.window or 0 for size in features.stored_shape(SimpleNamespace(**predictor.facts))]
    dtype = np.dtype(features.stored_dtype)
    rng = np.random.default_rng(0)
    if dtype.kind == "f":
        return rng.standard_normal((n, *shape)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, (n, *shape), dtype, endpoint=True)


def _torch(model: nn.Module, x: Tensor) -> tuple[bytes, Callable[[Tensor], np.ndarray]]:
    program, buffer = _program(model, x), io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer)
        buffer.seek(0)
        loaded = torch.export.load(buffer).module()
    return buffer.getvalue(), lambda batch: loaded(batch).detach().numpy()


def _onnx(model: nn.Module, x: Tensor) -> tuple[bytes, Callable[[Tensor], np.ndarray]]:
    import onnxruntime

    program = _program(model, x)
    try:
        with _quiet():
            operators = (torch.ops.aten.adaptive_max_pool1d.default, torch.ops.aten.adaptive_max_pool2d.default)
            program = program.run_decompositions(dict.fromkeys(operators, _adaptive_max_pool))
            exported = torch.onnx.export(
                program, dynamo=True, input_names=["x"], output_names=["probability"], verbose=False
            )
            content = exported.model_proto.SerializeToString()  # type: ignore[union-attr]
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # any operator that ONNX can't express
        cause = error.__cause__ or error
        raise UserError(_cannot("onnx", cause, "export=torch may")) from error
    return content, lambda batch: session.run(None, {"x": batch.numpy()})[0]


def _adaptive_max_pool(x: Tensor, size: list[int]) -> tuple[Tensor, Tensor]:
    """Adaptive max pooling of the last one or two axes, for which ONNX has no operator.

    Window i of n begins at ⌊i · length / n⌋ and ends before ⌈(i + 1) · length / n⌉, as in PyTorch. The second result,
    the indices, is 0: our models don't use it.
    """
    for dim, n in zip((-2, -1)[-len(size) :], size, strict=True):
        length = x.shape[dim]
        edges = [(i * length // n, -(-(i + 1) * length // n)) for i in range(n)]
        x = torch.cat([x.narrow(dim, a, b - a).amax(dim, keepdim=True) for a, b in edges], dim)
    return x, torch.zeros_like(x, dtype=torch.int64)


def _program(model: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    """The model as a graph of any batch size."""
    try:
        with _quiet():
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            return torch.export.export(model, (x[:2],), dynamic_shapes=shapes)
    except Exception as error:  # torch raises a dozen types for code that it can't trace
        raise UserError(_cannot("torch", error, "predict with bench instead")) from error


def _cannot(kind: str, error: BaseException, instead: str) -> str:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"export={kind} can't express this model with these features ({reason[:200]}); {instead}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporters: standard output must end in the line that names the file."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _need_onnx() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(f"export=onnx needs {', '.join(missing)}: pip install 'bench[export]' brings them")
