"""Everything that runs on a batch, with pretended tensors of a GPU: what stays on the processor is found without one.

Device half, augmentation, forward pass, loss and prediction of every option below conf/. Gradients and mixed precision
do not run there; ``test_cuda.py`` holds those where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import build
from bench.augment.base import Augmentation, prepared
from bench.data.batches import Batches
from bench.data.joined import InMemory
from bench.datasets.base import Dataset
from bench.features.base import Features
from bench.spec import InputSpec, UserError
from bench.training import inference, parts
from bench.training.tta import PLAIN
from fake_cuda import fake_cuda
from tiny import node, options, raw_files

pytestmark = pytest.mark.slow

CUDA = torch.device("cuda")
DATASETS = options("dataset")
FEATURES = [f for f in options("features") if f != "default" and "signal" not in node("features", f)]
"""Those of a data set; kernels of its signals (``test_kernels``) leave a device nothing to do but a cast."""
N = 6  # rows
FITTING = [(f, d) for f in FEATURES for d in parts.features(node("features", f)).datasets or DATASETS]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cache(lambda name: parts.dataset(node("dataset", name), raw_files(name, tmp_path_factory.mktemp(name))))


@pytest.fixture(autouse=True)
def _a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch.manual_seed(0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (1 << 40, 1 << 40))
    monkeypatch.setattr(Tensor, "pin_memory", lambda x: x)
    monkeypatch.setattr(nn.RNNBase, "flatten_parameters", lambda layer: None)  # it looks where weights lie
    with torch.backends.cudnn.flags(enabled=False):  # whose recurrent layers ask the driver
        yield


def rows(features: Features, dataset: Dataset, share: float, monkeypatch: pytest.MonkeyPatch) -> Batches:
    """Rows as the store has them; ``share`` of the GPU's memory may hold them."""
    shape = tuple(features.window(dataset) if size is None else size for size in features.stored_shape(dataset))
    x = np.ones((N, *shape), features.stored_dtype)
    target = np.full((N, len(dataset.classes)), 1 / len(dataset.classes), np.float32)
    monkeypatch.setattr("bench.data.batches.RESIDENT_SHARE", share)
    return Batches(InMemory(x), np.arange(N), target, np.ones(N, np.float32), CUDA)


def half_on_gpu(features: Features) -> nn.Module:
    half: nn.Module = features.device_half()
    return half.to(CUDA)


def on_gpu(*tensors: Tensor) -> None:
    assert {tensor.device.type for tensor in tensors} == {"cuda"}


@pytest.mark.parametrize(("name", "dataset"), FITTING)
def test_every_features_device_half_stays_on_the_gpu(
    raw: Any, monkeypatch: pytest.MonkeyPatch, name: str, dataset: str
) -> None:
    features, files = parts.features(node("features", name)), raw(dataset)
    with fake_cuda():
        half = half_on_gpu(features)
        for share in (1.0, 0.0):  # held on the GPU, copied for each batch
            data = rows(features, files, share, monkeypatch)
            assert (data.resident is None) == (share == 0)
            for batch in (*data.shuffled(4, (0,)), *data.in_order(4)):
                x = half(batch.x)
                on_gpu(x, batch.target)
                assert x.shape[1:] == features.spec(files).shape
                assert x.dtype == torch.float32
        if features.mirrored is not None:
            on_gpu(features.mirrored(batch.x))


SPECS = {
    "sequence": InputSpec(4, (400,), ("a", "b", "c"), 40.0),
    "image": InputSpec(1, (64, 96), ("a", "b", "c"), None),
}


@pytest.mark.parametrize("name", options("model"))
def test_every_model_and_loss_stays_on_the_gpu(name: str) -> None:
    small = node("model", name)
    spec = SPECS[parts.model_class(small).takes]
    model = parts.model(small, spec)
    with fake_cuda():
        model = model.to(CUDA)
        target, weight = torch.ones(N, 3, device=CUDA), torch.ones(N, device=CUDA)
        for training in (True, False):
            answer = model.train(training)(torch.ones(N, *spec.shape, device=CUDA))
            on_gpu(answer)
            assert answer.shape == (N, 3)
        for loss in options("loss"):
            made = build.partial(node("loss", loss), "loss", 3)
            on_gpu(made(answer, target, weight), made(answer, target, None))


def augmentation(name: str, features: Features) -> list[Augmentation]:
    return build.each({name: node("augment", name)}, "augment", features=features)


@pytest.mark.parametrize("name", [a for a in options("augment") if a != "none"])
def test_every_augmentation_stays_on_the_gpu(raw: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    taken = 0
    for chosen, dataset in (("heartbeat_waveform", "heartbeat"), ("hms_waveform", "hms"), ("hms_image", "hms")):
        features, files = parts.features(node("features", chosen)), raw(dataset)
        try:
            made = augmentation(name, features)
            with fake_cuda():
                half, data = half_on_gpu(features), rows(features, files, 1.0, monkeypatch)
                for batch in (*data.shuffled(3, (0,)), *data.shuffled(3, (1,)), *data.shuffled(3, (2,))):
                    after = prepared(batch, half, made, progress=0.1)
                    on_gpu(after.x, after.target)
                    assert after.x.shape[1:] == features.spec(files).shape
        except UserError:
            continue
        taken += 1
    assert taken


@pytest.mark.parametrize("name", [t for t in options("tta") if t != "none"])
def test_every_view_predicts_on_the_gpu(raw: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    features, files = parts.features(node("features", "hms_image")), raw("hms")
    views = parts.views(node("tta", name), features, augmentation("horizontal_flip", features))
    model = parts.model(node("model", "cnn2d"), features.spec(files))
    with fake_cuda():
        model, half = model.to(CUDA), half_on_gpu(features)
        data = rows(features, files, 1.0, monkeypatch)
        for view in (PLAIN, *views):
            answer = inference.logits(model, half, data, 4, "float32", view)
            on_gpu(answer)
            assert answer.shape == (N, 6)


def test_a_tensor_that_stays_on_the_processor_is_found() -> None:
    with fake_cuda():
        there, here = torch.ones(2, device=CUDA), torch.ones(2)
        assert (here * 2).tolist() == [2, 2]
        with pytest.raises(RuntimeError, match=r"same device|two devices"):
            there + here
        with pytest.raises(RuntimeError):
            float(there.sum())
