"""A run as one file: it answers as PyTorch does, for any batch, and what can't be exported is a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import build
from bench.atomic import read_json
from bench.prediction import export as exporting
from bench.prediction import graphs, runtimes
from bench.prediction.blended import load
from bench.prediction.command import predict
from bench.runs.run import Run
from bench.spec import UserError
from commands import command
from conftest import compose, small_overrides, train_here
from tiny import node, raw_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(beats: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("trained")
    return train_here(*compose(*small_overrides(beats, folder), "train.epochs=1"))


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(run.folder, tmp_path / "copied")))


def exported(capsys: pytest.CaptureFixture[str]) -> Path:
    """The file that the last line on standard output names; it is the only line."""
    (line,) = capsys.readouterr().out.splitlines()
    return Path(line.removeprefix("export "))


def answer(path: Path, x: np.ndarray) -> np.ndarray:
    if path.suffix == ".onnx":
        import onnxruntime

        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    if path.suffix == ".xml":
        return runtimes.openvino().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
    return torch.export.load(path).module()(torch.from_numpy(x)).detach().numpy()


@pytest.mark.parametrize(
    ("kind", "folds"), [("onnx", "null"), ("onnx", "[1]"), ("openvino", "null"), ("torch", "null")]
)
def test_the_file_alone_predicts_what_the_run_does(
    copied: Run, beats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, folds: str
) -> None:
    predict(command(tmp_path, f"run={copied.folder}", f"export={kind}", f"folds={folds}"))
    path = exported(capsys)
    assert path.parent == copied.folder / "exports"
    predictor = load(copied.folder, [1] if folds == "[1]" else None, device="cpu", store=tmp_path / "store")
    dataset = predictor.open(beats)
    raw = [dataset.read("test", i) for i in range(7)]
    x = np.stack([predictor.features.store(example) for example in raw])
    about = read_json(Path(f"{path}.json"))
    assert (about["input"], about["output"]["classes"]) == (
        {"shape": ["batch", *x.shape[1:]], "dtype": str(x.dtype)},
        list(predictor.classes),
    )
    for n in (1, 7):
        np.testing.assert_allclose(answer(path, x[:n]), predictor.predict(raw[:n]), atol=1e-5)
    written = path.stat().st_mtime_ns
    predict(command(tmp_path, f"run={copied.folder}", f"export={kind}", f"folds={folds}"))
    assert exported(capsys).stat().st_mtime_ns == written


def test_the_device_half_is_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = raw_files("freesound", tmp_path / "raw")
    overrides = ["dataset=freesound", "model=mlp", "features=freesound_waveform", "features.seconds=0.1"]
    small = [*small_overrides(root, tmp_path), *overrides, "train.epochs=1", "split.strict=false"]
    run = train_here(*compose(*small), [0])
    predict(command(tmp_path, f"run={run.folder}", "export=onnx", "folds=[0]"))
    path = exported(capsys)
    rng = np.random.default_rng(1)
    clips = [np.round(rng.uniform(-1, 1, 1600) * 32767).astype(np.float32) / 32768 for _ in range(4)]
    predictor = load(run.folder, [0], device="cpu")
    x = np.stack([predictor.features.store(clip) for clip in clips])
    assert x.dtype == np.int16
    np.testing.assert_allclose(answer(path, x), predictor.predict(clips), atol=1e-5)


@pytest.mark.parametrize("name", ["freesound_mfcc", "heartbeat_scalogram", "hms_image"])
def test_device_halves_that_a_processor_computes_in_parts_are_graphs_too(name: str, tmp_path: Path) -> None:
    features = build.build(node("features", name), "features")
    data = node("dataset", features.datasets[0])
    data.pop("simulator")
    root = raw_files(features.datasets[0], tmp_path)
    dataset = build.build(data | {"root": str(root)}, "dataset")
    torch.manual_seed(0)
    rng, shape = np.random.default_rng(0), [size or 3000 for size in features.stored_shape(dataset)]
    raw = rng.integers(0, 200, (3, *shape)) if features.stored_dtype == "uint8" else 100 * rng.normal(size=(3, *shape))
    x, half = torch.from_numpy(raw.astype(features.stored_dtype)), features.device_half().eval()
    with torch.no_grad():
        seen = half(x)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(seen[0].numel(), 4))
        model[1].weight *= 10 / model(seen).std()  # so that probabilities depend on what goes in
        wanted = exporting.Averaged([(model, half)])(x).numpy()
    assert wanted.std(0).max() > 0.01
    _, answered = exporting._onnx(exporting.Averaged([(model, half)]).eval(), x)
    for n in (1, 3):
        np.testing.assert_allclose(answered(x[:n].numpy()), wanted[:n], atol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["export=keras"], "export=keras is not one of onnx, openvino, torch"),
        (["export=onnx", "runtime=onnx"], "leave runtime out"),
        (
            ["export=onnx", "tta=flips"],
            "export=onnx writes the model, of one view, and predicts nothing; leave tta out",
        ),
        (["export=onnx", "input=there"], "leave input out"),
        (["export=torch", "folds=[5]"], r"folds=\[5\] must name folds from 0 to 1"),
    ],
)
def test_a_mistake_in_the_command_is_a_sentence(run: Run, tmp_path: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        predict(command(tmp_path, f"run={run.folder}", *overrides))


@pytest.mark.parametrize("kind", ["onnx", "openvino", "torch"])
def test_what_answers_otherwise_or_can_not_be_expressed_is_not_written(
    copied: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def decides(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.models[0](x) if float(x.sum()) > 0 else self.models[1](x)

    monkeypatch.setattr(exporting, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(UserError, match=rf"export={kind}: the exported model answers up to .* away from PyTorch's"):
        predict(command(tmp_path, f"run={copied.folder}", f"export={kind}"))
    monkeypatch.setattr(exporting.Averaged, "forward", decides)
    with pytest.raises(UserError, match=r"export=torch can't express this model with these features \(.*\); predict"):
        predict(command(tmp_path, f"run={copied.folder}", f"export={kind}"))
    assert not (copied.folder / "exports").exists()


@pytest.mark.parametrize(("kind", "extra"), [("onnx", "export"), ("openvino", "openvino")])
def test_what_is_not_installed_is_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, extra: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"export={kind} needs onnx, .*: pip install 'bench\[{extra}\]' brings"):
        predict(command(tmp_path, f"run={run.folder}", f"export={kind}"))


def test_openvinos_file_without_its_weights_is_made_again(
    copied: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"run={copied.folder}", "export=openvino", "folds=[0]"]
    predict(command(tmp_path, *words))
    weights = exported(capsys).with_suffix(".bin")
    content = weights.read_bytes()
    weights.unlink()
    predict(command(tmp_path, *words))
    assert weights.read_bytes() == content


@pytest.mark.parametrize(("shape", "size"), [((2, 3, 17), [4]), ((2, 3, 4), [8]), ((2, 3, 7, 30), [2, 11])])
def test_pooling_to_a_size_is_torchs_own(shape: tuple[int, ...], size: list[int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape)
    pool = torch.nn.functional.adaptive_max_pool1d if len(size) == 1 else torch.nn.functional.adaptive_max_pool2d
    assert torch.equal(graphs.adaptive_max_pool(x, size)[0], pool(x, size))


@pytest.mark.parametrize("size", [[8, 30], [7, 11], [20, 45]])
def test_antialiased_resizing_is_torchs_own(size: list[int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 17, 30)
    expected = torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(graphs.antialiased(x, size, False), expected, rtol=0, atol=2e-6)
