"""Prediction by another runtime: the same probabilities as PyTorch's, and what it can't do is a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench import build
from bench.atomic import read_json
from bench.prediction import graphs, runtimes
from bench.prediction.command import predict
from bench.runs.frames import predictions
from bench.runs.run import Run
from bench.spec import InputSpec, UserError
from commands import command, made
from conftest import compose, small_overrides, train_here
from tiny import node

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

CLASSES = ("a", "b", "c", "d")
BEATS, PICTURE = InputSpec(1, (205,), CLASSES), InputSpec(1, (40, 173), CLASSES)


@pytest.fixture(scope="module")
def run(beats: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("trained")
    return train_here(*compose(*small_overrides(beats, folder), "train.epochs=1"))


def network(name: str, spec: InputSpec, **options: Any) -> torch.nn.Module:
    """A model whose probabilities depend on what goes in, with statistics of batch normalisation unlike the first."""
    torch.manual_seed(0)
    model: torch.nn.Module = build.build(node("model", name) | options, "model", spec)
    with torch.no_grad():
        for _ in range(3):
            model.train()(2 * torch.randn(8, *spec.shape) + 1)
        *_, last = (m for m in model.modules() if isinstance(m, torch.nn.Linear))
        x = torch.randn(8, *spec.shape)
        last.weight.mul_(0.2 / float(model.eval()(x).std(0).max()))
        last.bias.sub_(model(x).mean(0))
    return model.eval()


@pytest.mark.parametrize(
    ("name", "spec", "options"),
    [
        ("mlp", BEATS, {}),
        ("resnet1d", BEATS, {"width": 8, "out_width": 16}),
        ("wavenet", InputSpec(8, (200,), CLASSES, 200.0), {"filters": [4, 8], "layers": [3, 2]}),
        ("cnn2d", PICTURE, {}),
        ("timm_backbone", PICTURE, {"resizer": [32, 64]}),  # whose antialiasing OpenVINO alone would leave out
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_network_answers_as_in_pytorch(
    name: str, spec: InputSpec, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, made_once, content = network(name, spec, **options), [], graphs.onnx_content

    def kept(*how: Any) -> bytes:
        made_once.append(content(*how))
        return made_once[0]

    monkeypatch.setattr(graphs, "onnx_content", kept)
    for runtime in ("onnx", "openvino"):
        other = runtimes.Network(model, spec, runtime)
        monkeypatch.setattr(graphs, "program", lambda *_: None)  # the second has the same graph: making it takes long
        monkeypatch.setattr(graphs, "onnx_content", lambda *_: made_once[0])
        with torch.inference_mode():
            for n in (1, 7):
                x = torch.randn(n, *spec.shape)
                expected = model(x).double().softmax(-1)
                torch.testing.assert_close(other(x).double().softmax(-1), expected, rtol=0, atol=1e-5)
        assert expected.std(0).max() > 0.01


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("tta", ["none", "flips"])
def test_the_command_predicts_the_mean_of_all_folds_and_views(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], runtime: str, tta: str
) -> None:
    words = [f"run={run.folder}", f"tta={tta}"]
    predict(command(tmp_path, *words))
    plain = made(capsys)
    predict(command(tmp_path, *words, f"runtime={runtime}"))
    folder = made(capsys)
    expected, answered = (pd.read_parquet(path / "test.parquet") for path in (plain, folder))
    assert folder != plain
    assert answered["id"].tolist() == expected["id"].tolist()
    np.testing.assert_allclose(predictions(answered), predictions(expected), rtol=0, atol=1e-5)
    noted = read_json(folder / "inputs.json")
    assert (noted["runtime"], noted["folds"], noted["device"]) == (runtime, [0, 1], "cpu")


def test_a_loaded_run_takes_a_runtime_and_computes_with_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, asked = [np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)] * 3, []
    session = runtimes.onnx_session

    def noted(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
        answer = session(content)

        def counted(x: np.ndarray) -> np.ndarray:
            asked.append(len(x))
            return answer(x)

        return counted

    monkeypatch.setitem(runtimes.SESSIONS, "onnx", noted)
    expected = bench.load(run.folder, device="cpu").predict(raw)
    answered = bench.load(run.folder, runtime="onnx").predict(raw)
    assert asked == [3, 3]  # one batch a fold
    np.testing.assert_allclose(answered, expected, rtol=0, atol=1e-5)


def test_openvino_sends_no_message_home() -> None:
    runtimes.openvino()
    assert sys.modules["openvino_telemetry"] is None


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["runtime=keras"], "runtime=keras is not one of torch, onnx, openvino"),
        (["runtime=onnx", "register=beats"], "leave runtime out"),
    ],
)
def test_a_mistake_in_the_command_is_a_sentence(run: Run, tmp_path: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        predict(command(tmp_path, f"run={run.folder}", *overrides))


def test_a_gpu_is_refused_and_not_taken_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "choose", lambda name: torch.device("cuda"))
    with pytest.raises(UserError, match="runtime=onnx computes on the processor; leave device=cuda out"):
        runtimes.device("onnx", "cuda")
    assert runtimes.device("onnx", "auto").type == "cpu"


@pytest.mark.parametrize(("runtime", "extra"), [("onnx", "export"), ("openvino", "openvino")])
def test_what_is_not_installed_is_a_sentence(monkeypatch: pytest.MonkeyPatch, runtime: str, extra: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"runtime={runtime} needs onnx, .*: pip install 'bench\[{extra}\]' brings"):
        runtimes.device(runtime, "auto")


@pytest.mark.parametrize("answer", [lambda x: np.ones((len(x), 4), np.float32), lambda x: np.zeros((0, 4), np.float32)])
def test_answers_unlike_pytorchs_are_refused(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setitem(runtimes.SESSIONS, "onnx", lambda content: answer)
    other = runtimes.Network(network("mlp", BEATS), BEATS, "onnx")
    with pytest.raises(
        UserError, match=r"runtime=onnx: its answers are up to .* away from .*; predict with runtime=torch"
    ):
        other(torch.randn(3, *BEATS.shape))


def test_a_model_that_can_not_be_expressed_is_a_sentence_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decides(self: Any, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0, :4] if float(x.sum()) > 0 else x[:, 0, 4:8]

    monkeypatch.setattr("bench.models.mlp.MLP.forward", decides)
    before = sorted(run.folder.rglob("*"))
    with pytest.raises(UserError, match=r"runtime=onnx can't express this model .*; predict with runtime=torch"):
        predict(command(tmp_path, f"run={run.folder}", "runtime=onnx", "folds=[0]"))
    assert sorted(run.folder.rglob("*")) == before
