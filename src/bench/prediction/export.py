"""Exports a finished run as one file that needs no bench: stored features in, probabilities out."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from bench.atomic import read_json, replacing, write_json
from bench.cli.schema import Predict
from bench.prediction import graphs, runtimes
from bench.prediction.predictor import Predictor
from bench.prediction.runtimes import Answer
from bench.runs.recipe import NOTHING
from bench.runs.run import Run
from bench.spec import UserError
from bench.tell import say

SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
LARGEST_DIFFERENCE = 1e-4
"""The largest allowed difference from PyTorch's probabilities; sums in another order differ by less."""

BENCH, TORCH_MAY = "predict with bench instead", "export=torch may"
ALSO = {"openvino": ": runtime=openvino computes the network alone"}

Files = dict[str, bytes]
"""suffix → content; the last is the one that a person names, and is written last."""


class Averaged(nn.Module):
    """(B, *stored shape) stored features → (B, K) float32, the folds' mean probability of one view."""

    def __init__(self, folds: list[tuple[nn.Module, nn.Module]]) -> None:
        super().__init__()
        self.models, self.device_halves = (nn.ModuleList(part) for part in zip(*folds, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        each = [model(half(x)).softmax(-1) for model, half in zip(self.models, self.device_halves, strict=True)]
        return torch.stack(each).mean(0)


def export(run: Run, config: Predict) -> Path:
    """Writes <run>/exports/folds-<numbers>.onnx, .xml (with its .bin) or .pt2, and a .json that describes it.

    The device half of the features is included, test-time views are not; the batch may have any size. Raises UserError,
    and writes nothing, if the run can't be exported, or if the exported model's probabilities differ from PyTorch's.
    """
    kind = config.export or ""
    _refuse(config, kind)
    predictor = Predictor(run, config.folds, NOTHING, "cpu")
    folder = (Path(config.output) if config.output else run.folder / "exports").resolve()
    path = folder / f"folds-{'-'.join(map(str, predictor.folds))}{SUFFIX[kind]}"
    about = path.with_name(path.name + ".json")
    identity = {"run": run.identity, "folds": predictor.folds}
    if path.exists() and about.exists():
        if {key: read_json(about).get(key) for key in identity} != identity:
            raise UserError(f"{path} is of another run, and nothing is overwritten; name another output=")
        if kind != "openvino" or path.with_suffix(".bin").exists():
            say("export    it is there already")
            print(f"export {path}", flush=True)
            return path
    x = examples(predictor)
    model = Averaged([predictor.models(k) for k in predictor.folds]).eval()
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)).numpy()
    files, answer = EXPORTS[kind](model, torch.from_numpy(x))
    difference = max(runtimes.furthest(expected[:n], answer(x[:n])) for n in (1, len(x)))
    if not difference <= LARGEST_DIFFERENCE:
        raise UserError(
            f"export={kind}: the exported model answers up to {difference:.2g} away from PyTorch's probabilities; "
            f"nothing is written: choose another export, or predict with bench{ALSO.get(kind, '')}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, content in files.items():
        with replacing(path.with_suffix(suffix)) as temporary:
            temporary.write_bytes(content)
    more = {
        "input": {"shape": ["batch", *x.shape[1:]], "dtype": str(x.dtype)},
        "features": run.recipe.features,  # their stored half computes the input
        "output": {"shape": ["batch", len(predictor.classes)], "dtype": "float32", "classes": list(predictor.classes)},
        "largest_difference": difference,
        "torch": torch.__version__,
    }
    write_json(about, identity | more)
    size = sum(map(len, files.values()))
    say(f"export    {size / 1e6:.1f} MB; at most {difference:.1e} away from PyTorch's probabilities")
    print(f"export {path}", flush=True)
    return path


def _refuse(config: Predict, kind: str) -> None:
    """UserError for a mistake in the command, or where what the export needs is not installed."""
    if kind not in SUFFIX:
        raise UserError(f"export={kind} is not one of {', '.join(SUFFIX)}")
    for key in ("input", "tta", "excel"):
        if getattr(config, key):
            raise UserError(f"export={kind} writes the model, of one view, and predicts nothing; leave {key} out")
    if config.runtime != runtimes.TORCH:
        raise UserError(f"export={kind} writes the model, and predicts nothing; leave runtime out")
    if kind in runtimes.NEEDS:
        runtimes.need(kind, f"export={kind}")


def examples(predictor: Predictor, n: int = 3) -> np.ndarray:
    """(n, *stored shape) random numbers of the stored dtype; an open length becomes the window's."""
    run, features = predictor.run, predictor.features
    shape = [size or run.inputs.window or 0 for size in features.stored_shape(SimpleNamespace(**predictor.facts))]
    dtype = np.dtype(features.stored_dtype)
    rng = np.random.default_rng(0)
    if dtype.kind == "f":
        return rng.standard_normal((n, *shape)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, (n, *shape), dtype, endpoint=True)


def _torch(model: nn.Module, x: Tensor) -> tuple[Files, Answer]:
    program, buffer = graphs.program(model, x, "export=torch", BENCH), io.BytesIO()
    with graphs.quiet():
        torch.export.save(program, buffer)
        buffer.seek(0)
        loaded = torch.export.load(buffer).module()
    return {".pt2": buffer.getvalue()}, lambda batch: loaded(torch.from_numpy(batch)).detach().numpy()


def _onnx(model: nn.Module, x: Tensor) -> tuple[Files, Answer]:
    content = _onnx_content(model, x, "export=onnx")
    return {".onnx": content}, _session("onnx", runtimes.onnx_session, content)


def _openvino(model: nn.Module, x: Tensor) -> tuple[Files, Answer]:
    content = _onnx_content(model, x, "export=openvino")
    answer = _session("openvino", runtimes.openvino_session, content)
    ov = runtimes.openvino()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(ov.Core().read_model(content), path, compress_to_fp16=False)
        files = {suffix: path.with_suffix(suffix).read_bytes() for suffix in (".bin", ".xml")}
    return files, answer


def _onnx_content(model: nn.Module, x: Tensor, asked: str) -> bytes:
    traced = graphs.program(model, x, "export=torch", BENCH)
    return graphs.onnx_content(traced, "probability", asked, TORCH_MAY)


def _session(kind: str, session: Callable[[bytes], Answer], content: bytes) -> Answer:
    try:
        return session(content)
    except Exception as error:  # each runtime has its own types for what it can't do
        raise UserError(graphs.cannot(f"export={kind}", error, TORCH_MAY)) from error


EXPORTS: dict[str, Callable[[nn.Module, Tensor], tuple[Files, Answer]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "torch": _torch,
}
