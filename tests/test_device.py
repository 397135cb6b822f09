"""Which device a name means, and how folds are spread over several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.crossval import checks, processes
from bench.runs.recipe import Recipe
from bench.spec import UserError
from bench.training import device, loop
from conftest import compose
from tiny_fold import fit, parts, weights


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_names_mean_devices() -> None:
    assert [str(device.choose(name)) for name in ("auto", "cpu", "cuda", "cuda:1")] == ["cuda", "cpu", "cuda", "cuda:1"]
    assert device.several(["cuda:0", "cuda:1"]) == ["cuda:0", "cuda:1"]
    assert device.several("auto") == ["auto"]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("tpu", "device=tpu is not one of auto, cpu, cuda or cuda:<number>"),
        ("cuda:2", "device=cuda:2 is not here: the last of 2 is cuda:1"),
        (["cuda:0", "cpu"], "a list names GPUs"),
        ([], "names no device"),
    ],
)
def test_a_device_that_is_not_there_is_a_sentence(names: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        device.several(names)


def test_without_a_gpu_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert str(device.choose("auto")) == "cpu"
    with pytest.raises(UserError, match="torch sees no CUDA device here"):
        device.choose("cuda:0")
    recipe, _ = compose("dataset=heartbeat", "model=mlp", "train.precision=fp16", "device=cpu", "train.epochs=1")
    with pytest.raises(UserError, match=r"fp16 needs a GPU; use train\.precision=bf16"):
        checks.values(recipe)


@pytest.mark.usefixtures("two_gpus")
def test_a_list_of_devices_is_a_key_that_decides_no_run() -> None:
    recipe, _ = compose("dataset=heartbeat", "model=mlp", "device=[cuda:0,cuda:1]", "compile=graph")
    assert device.several(recipe.device) == ["cuda:0", "cuda:1"]
    assert recipe.compile == "graph"
    assert {"device", "compile"} <= set(Recipe.elsewhere)


@pytest.mark.usefixtures("two_gpus")
def test_each_fold_gets_the_device_with_the_fewest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert device.least_busy(["cuda:0", "cuda:1"], ["cuda:0"]) == ["cuda:1", "cuda:0"]
    assert device.least_busy(["cuda:0", "cuda:1"], ["cuda:0", "cuda:1"]) == ["cuda:0", "cuda:1"]
    assert processes.side_by_side(None, 5, ["cuda:0", "cuda:1"])[0] == 2, "one fold a GPU"
    assert processes.side_by_side(4, 5, ["cuda:0", "cuda:1"])[0] == 4, "as many as are asked for"


def test_float16_goes_on_from_a_checkpoint_to_the_same_bits(tmp_path: Path) -> None:
    half = loop.Settings(epochs=4, batch_size=16, eval_batch_size=32, seed=3, precision="fp16", clip=1.0)
    whole = weights(fit(tmp_path / "whole", half))
    for epochs in (2, 4):
        made = fit(tmp_path / "cut", loop.Settings(**{**vars(half), "epochs": epochs}), parts(schedule=_constant))
    straight = weights(fit(tmp_path / "straight", half, parts(schedule=_constant)))
    for resumed, once in zip(weights(made), straight, strict=True):
        assert torch.equal(resumed, once)
    full = weights(fit(tmp_path / "float32", loop.Settings(**{**vars(half), "precision": "float32"})))
    assert any(not torch.equal(a, b) for a, b in zip(whole, full, strict=True)), "it is another arithmetic"
    for a, b in zip(whole, full, strict=True):
        torch.testing.assert_close(a.float(), b.float(), atol=0.15, rtol=0.05)
    state = torch.load(tmp_path / "cut" / "fold" / "checkpoint.pt", weights_only=True)
    assert state["scaler"]["scale"] > 1


def _constant(epoch: float, epochs: int, base: float, losses: Any) -> float:
    return base


def test_graphs_need_a_gpu() -> None:
    assert device.graphed("graph", torch.device("cuda")) == (True, None)
    assert device.graphed("true", torch.device("cpu")) == (False, None)
    assert device.graphed(None, torch.device("cuda")) == (False, None)
    captured, sentence = device.graphed("graph", torch.device("cpu"))
    assert not captured
    assert sentence == "compile=graph needs a GPU; the model trains as it is"
