"""Every model of conf/model: sizes, logits for any spec, and some against the write-up's own arithmetic."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from bench import build
from bench.losses.bce import bce
from bench.models import squeezeformer1d, wavenet
from bench.models.cnn1d import CNN1D
from bench.models.cnn2d import CNN2D
from bench.models.efficientnetv2 import EfficientNetV2, GeM
from bench.models.heartbeat_net3 import HeartbeatNet3
from bench.models.heartbeat_net4 import HeartbeatNet4
from bench.models.heartbeat_net5 import HeartbeatNet5
from bench.models.inceptiontime import InceptionTime
from bench.models.resizer import Resizer
from bench.models.squeezeformer1d import Squeezeformer1D
from bench.models.timm_backbone import TimmBackbone
from bench.models.tinyvit import TinyViT
from bench.models.wavenet import WaveNet
from bench.paths import conf
from bench.spec import InputSpec, UserError
from bench.training.parts import takes


def spec_of(channels: int, size: tuple[int, ...], classes: int) -> InputSpec:
    return InputSpec(channels, size, tuple(f"class {i}" for i in range(classes)))


HMS = spec_of(8, (2000,), 6)
HEARTBEAT = spec_of(1, (205,), 4)
SPECS: dict[str, list[tuple[int, tuple[int, ...], int]]] = {
    "sequence": [(1, (205,), 4), (8, (300,), 6), (3, (64,), 2), (6, (17,), 41), (2, (1,), 2)],
    "image": [(1, (64, 64), 2), (3, (40, 173), 6), (2, (33, 50), 41)],
}  # channels, size, classes
# what a model is tried with here where its YAML is a GPU's work
SMALL: dict[str, dict[str, Any]] = {
    "efficientnetv2": {"variant": "tf_efficientnetv2_b0", "resizer": [64, 48], "pooling": "gem"},
    "heartbeat_net5": {"hidden": [8]},
    "tinyvit": {"variant": "tiny_vit_5m_224"},
}
NODES: dict[str, dict[str, Any]] = {
    p.stem: yaml.safe_load(p.read_text(encoding="utf-8")) | SMALL.get(p.stem, {})
    for p in sorted((conf() / "model").glob("*.yaml"))
}
NODES["wavenet, small"] = NODES["wavenet"] | {"filters": [3, 4, 5], "layers": [6, 2, 1], "hidden": 7}
NODES["timm_backbone, of fixed size"] = NODES["timm_backbone"] | {"name": "test_vit"}
KINDS: dict[str, str] = {n: build.locate(node, "model").takes for n, node in NODES.items()}  # type: ignore[attr-defined]
EACH = [(name, *spec) for name, kind in KINDS.items() for spec in SPECS[kind]]


def model_of(name: str, spec: InputSpec) -> nn.Module:
    return build.build(NODES[name], "model", spec)


def small_wavenet(spec: InputSpec) -> WaveNet:
    return WaveNet(spec, filters=(3, 4, 5), layers=(6, 2, 1), hidden=7)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two on a busy machine wait for each other, and this file is small work
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


class WriteUp(nn.Module):
    """WaveNet as the write-up states it: a call a channel, a convolution for tanh and another for sigmoid."""

    def __init__(self, model: WaveNet) -> None:
        super().__init__()
        self.model = model  # the very same parameters, so that gradients can be laid side by side

    def forward(self, x_bct: Tensor) -> Tensor:
        one_by_one = [self.extract(x_bct[:, i : i + 1]).mean(2) for i in range(x_bct.shape[1])]
        size = self.model.chain_size
        chains = [torch.stack(one_by_one[i : i + size]).mean(0) for i in range(0, len(one_by_one), size)]
        return self.model.classifier(torch.relu(self.model.hidden(torch.cat(chains, dim=1))))

    def extract(self, x: Tensor) -> Tensor:
        for block in self.model.blocks:
            assert isinstance(block, wavenet.WaveBlock)
            x = nn.functional.conv1d(x, block.inlet.weight[0], block.inlet.bias[0])
            total = x
            for i, (weight, bias) in enumerate(block.gated.each()):
                halves = [
                    nn.functional.conv1d(x, w, b, padding="same", dilation=2**i)
                    for w, b in zip(weight.chunk(2), bias.chunk(2), strict=True)
                ]
                gated = torch.tanh(halves[0]) * torch.sigmoid(halves[1])
                x = nn.functional.conv1d(gated, block.mixer.weight[i], block.mixer.bias[i])
                total = total + x
            x = total
        return x


def outcome(model: Callable[[Tensor], Tensor], parameters: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the gradient of one class's log-probability by the input and by every parameter."""
    x = x.clone().requires_grad_()
    logits = model(x)
    wanted = [x, *parameters.parameters()]
    return logits.detach(), list(torch.autograd.grad(logits.log_softmax(1)[:, 0].sum(), wanted))


def with_biases(model: WaveNet) -> WaveNet:
    """Zero biases would hide what the signal's ends do to them."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
    return model


@pytest.mark.parametrize(
    ("model", "spec", "options", "count"),
    [
        ("wavenet", HMS, {}, 97_958),
        ("resnet1d", HEARTBEAT, {}, 1_459_332),
        ("cnn1d", spec_of(1, (32_000,), 41), {}, 360_513),
        ("cnn2d", spec_of(1, (40, 173), 41), {}, 168_361),
        ("heartbeat_net1", HEARTBEAT, {}, 1_306_118),
        ("heartbeat_net2", HEARTBEAT, {}, 447_556),
        ("heartbeat_net3", HEARTBEAT, {}, 3_425_158),
        ("heartbeat_net4", HEARTBEAT, {}, 9_773_958),
        ("heartbeat_net4", HEARTBEAT, {"parts": 1}, 9_773_958),
        ("heartbeat_net5", HEARTBEAT, {}, 108_064_452),
        ("efficientnetv2", spec_of(1, (384, 384), 2), {}, 20_179_618),
        ("tinyvit", spec_of(1, (640, 1920), 6), {}, 20_693_718),
    ],
)
def test_parameter_counts_are_the_write_ups(model: str, spec: InputSpec, options: dict[str, Any], count: int) -> None:
    node = yaml.safe_load((conf() / "model" / f"{model}.yaml").read_text(encoding="utf-8")) | options
    with torch.device("meta"):
        net = build.build(node, "model", spec)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("model", ["heartbeat_net1", "heartbeat_net5", "cnn1d", "resnet1d"])
def test_a_head_has_the_same_size_whatever_the_length(model: str) -> None:
    with torch.device("meta"):
        counts = {sum(p.numel() for p in model_of(model, spec_of(1, (n,), 4)).parameters()) for n in (20, 205, 3000)}
    assert len(counts) == 1


@pytest.mark.parametrize("way", ["products", "convolutions"])
@pytest.mark.parametrize(("channels", "length", "kernel_size"), [(4, 150, 3), (3, 20, 5), (1, 7, 1)])
def test_wavenet_equals_the_write_up_in_outputs_and_gradients(
    way: str, channels: int, length: int, kernel_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wavenet, "CHUNK_COLUMNS", 5 * length)  # chunks that cut through examples, and a short last
    if way == "convolutions":
        monkeypatch.setattr(WaveNet, "extract_by_products", WaveNet.extract_by_convolutions)
    spec = spec_of(channels, (length,), 3)
    model = with_biases(WaveNet(spec, filters=(3, 4, 6), layers=(6, 3, 2), kernel_size=kernel_size, hidden=5))
    x = torch.randn(3, channels, length)
    logits, gradients = outcome(model, model, x)
    expected, expected_gradients = outcome(WriteUp(model), model, x)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_wavenet_equals_the_write_up_at_the_competitions_size() -> None:
    model, x = WaveNet(HMS), torch.randn(1, *HMS.shape)
    logits, gradients = outcome(model, model, x)
    expected, expected_gradients = outcome(WriteUp(model), model, x)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_wavenets_written_derivative_is_the_numerical_one() -> None:
    model = with_biases(WaveNet(spec_of(2, (6,), 2), filters=(2, 3), layers=(4, 1), hidden=2)).double()
    x = torch.randn(2, 2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, x)


def test_wavenet_keeps_float32_under_cpu_autocast_and_trains() -> None:
    model, x = small_wavenet(HMS), torch.randn(2, 8, 100)
    expected = model.extract_by_products(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = model.extract_by_products(x)
        model(x).float().sum().backward()
    assert torch.equal(features, expected)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_wavenet_is_one_graph_to_torch_compile() -> None:
    model, x = WaveNet(spec_of(2, (20,), 3), filters=(3, 4), layers=(2, 1)), torch.randn(3, 2, 20)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    logits, gradients = outcome(compiled, model, x)
    expected, expected_gradients = outcome(model, model, x)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_wavenet_averages_chains_and_falls_back_to_single_channels() -> None:
    assert WaveNet(HMS).hidden.in_features == 4 * 64
    assert WaveNet(spec_of(3, (50,), 2)).hidden.in_features == 3 * 64
    assert WaveNet(HMS, chain_size=4).hidden.in_features == 2 * 64


@pytest.mark.parametrize("wrong", [{"kernel_size": 4}, {"layers": (1, 2)}, {"filters": (8,), "layers": (0,)}])
def test_wavenet_refuses_shapes_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match="odd kernel size"):
        WaveNet(HMS, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "channels", "size", "classes"), EACH)
def test_every_model_takes_any_spec_of_its_kind_and_an_odd_batch(
    name: str, channels: int, size: tuple[int, ...], classes: int
) -> None:
    spec = spec_of(channels, size, classes)
    with torch.device("meta"):  # what the plan does first
        assert model_of(name, spec).eval()(torch.empty(2, *spec.shape)).shape == (2, classes)
    model = model_of(name, spec)
    logits = model(torch.randn(5, *spec.shape))
    assert logits.shape == (5, classes)
    logits.log_softmax(1)[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", NODES)
def test_every_model_predicts_a_row_alone_as_in_a_batch(name: str) -> None:
    spec = spec_of(4, (130,) if KINDS[name] == "sequence" else (48, 56), 3)
    model = model_of(name, spec)
    x = torch.randn(5, *spec.shape)
    model(x)  # batch statistics that are not the initial ones
    model.eval()
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(row[None]) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_what_a_model_takes_is_read_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("bench.models.")]:
        monkeypatch.setattr(sys.modules["bench.models"], module.rpartition(".")[2], sys.modules[module], raising=False)
        monkeypatch.delitem(sys.modules, module)
    with monkeypatch.context() as patch:
        patch.setattr("bench.build.importlib.import_module", None)
        assert {name: takes(node) for name, node in NODES.items()} == KINDS
    with pytest.raises(UserError, match="is refused: model takes"):
        takes({"_target_": "os.path.MLP"})
    with pytest.raises(UserError, match="can't be found"):
        takes({"_target_": "bench.models.mlp.Perceptron"})


@pytest.mark.parametrize("name", NODES)
def test_every_model_says_what_it_takes_and_returns_logits(name: str) -> None:
    spec = HEARTBEAT if KINDS[name] == "sequence" else spec_of(1, (48, 56), 4)
    assert spec.kind == KINDS[name]
    rows = model_of(name, spec).eval()(100 * torch.randn(3, *spec.shape)).sum(1)
    assert not torch.allclose(rows, torch.ones(3))  # a softmax's rows would sum to one


@pytest.mark.parametrize(
    ("build_it", "spec"),
    [(HeartbeatNet3, HEARTBEAT), (HeartbeatNet5, HEARTBEAT), (CNN2D, spec_of(1, (40, 173), 41))],
)
def test_pools_for_other_lengths_leave_the_original_one_alone(
    build_it: Callable[..., nn.Module], spec: InputSpec
) -> None:
    model = build_it(spec, hidden=(8,)) if build_it is HeartbeatNet5 else build_it(spec)
    model.eval()
    x = torch.randn(2, *spec.shape)
    before = model(x)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveMaxPool1d | nn.AdaptiveMaxPool2d):
                setattr(module, name, nn.Identity())
    assert "Adaptive" not in str(model)
    torch.testing.assert_close(model(x), before)


def test_cnn1d_reads_from_1616_samples_on_and_says_so() -> None:
    assert CNN1D(HEARTBEAT).shortest == 1616
    assert CNN1D(HEARTBEAT).stages(torch.randn(1, 1, 1616)).shape[2] == 1
    with pytest.raises(UserError, match="a pool between each two"):
        CNN1D(HEARTBEAT, pools=(16, 4))


def test_cnn2d_pads_an_even_kernel_as_same_does() -> None:
    model, x = CNN2D(spec_of(1, (40, 173), 41)), torch.randn(2, 1, 40, 173)
    convolution = model.stages[1]
    assert isinstance(convolution, nn.Conv2d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch tells that it copies the input to do this
        expected = F.conv2d(x, convolution.weight, convolution.bias, padding="same")
    torch.testing.assert_close(model.stages[:2](x), expected)


def test_net4_remembers_what_it_read_before() -> None:
    """With the printed single step the recurrent weights meet zeros only."""
    used = {}
    for parts in (1, 4):
        model = HeartbeatNet4(HEARTBEAT, parts=parts)
        model(torch.randn(3, *HEARTBEAT.shape)).square().sum().backward()
        slope = model.get_parameter("lstm.weight_hh_l0").grad
        assert slope is not None
        used[parts] = bool(slope.any())
    assert used == {1: False, 4: True}


def test_squeezeformers_positions_count_by_their_distance_alone() -> None:
    vector = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 1, 20, 8)
    cos, sin = squeezeformer1d.rotary(vector[0])
    q, k = (squeezeformer1d.turned(v, cos, sin)[0, 0] for v in vector)
    scores = q @ k.T
    for distance in (-3, 0, 5):
        along = scores.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(scores[0, 0], scores[0, 5])


@pytest.mark.parametrize(
    ("build_it", "wrong", "sentence"),
    [
        (Squeezeformer1D, {"width": 100, "heads": 3}, "twice the heads"),
        (InceptionTime, {"kernels": [40, 20, 10]}, "odd"),
        (HeartbeatNet4, {"parts": 0}, "1 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    build_it: Callable[..., nn.Module], wrong: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        build_it(HEARTBEAT, **wrong)


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        ("cnn1d", {"pools": [0, 4, 4]}),
        ("cnn2d", {"kernel_size": [0, 3]}),
        ("efficientnetv2", {"stem_stride": 0}),
        ("efficientnetv2", {"resizer_filters": 0}),
        ("heartbeat_net1", {"hidden": [0]}),
        ("heartbeat_net4", {"hidden": [-3]}),
        ("inceptiontime", {"filters": 0}),
        ("inceptiontime", {"bottleneck": 0}),
        ("mlp", {"hidden": [8, 0]}),
        ("panns", {"filters": [8, 0]}),
        ("resnet1d", {"width": 0}),
        ("rocket", {"kernels": 0}),
        ("squeezeformer1d", {"strides": [2, 0]}),
        ("squeezeformer1d", {"heads": 0}),
        ("wavenet", {"chain_size": 0}),
        ("wavenet", {"hidden": 0}),
    ],
)
def test_a_size_below_one_is_refused_by_its_key(model: str, wrong: dict[str, Any]) -> None:
    """Some would train a net that sees nothing, others divide by zero."""
    ((key, value),) = wrong.items()
    with pytest.raises(UserError, match=re.escape(f"model.{key}={value} must be 1 or more; leave it out")):
        build.build(NODES[model] | wrong, "model", spec_of(1, SPECS[KINDS[model]][0][1], 2))


def test_a_kernel_of_one_number_is_no_rows_and_columns() -> None:
    with pytest.raises(UserError, match="give two numbers"):
        CNN2D(spec_of(1, (64, 64), 2), kernel_size=[4])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build_it", "wrong", "sentence"),
    [
        (EfficientNetV2, {"variant": "resnet18"}, "timm_backbone"),
        (EfficientNetV2, {"resizer": [384]}, r"\[height, width\]"),
        (TinyViT, {"variant": "vit_tiny"}, "timm_backbone"),
        (TimmBackbone, {"name": "resnet19"}, "resnet18"),
        (TimmBackbone, {"name": "hf-hub:timm/resnet18.a1_in1k"}, "no network"),
    ],
)
def test_a_name_that_is_none_is_refused_with_one_that_is(
    build_it: Callable[..., nn.Module], wrong: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        build_it(spec_of(1, (64, 64), 2), **wrong)


def test_the_resizer_reads_every_row_also_in_bf16() -> None:
    resizer, x = Resizer(1, (20, 20)), torch.randn(1, 1, 90, 41, requires_grad=True)
    (slope,) = torch.autograd.grad(resizer.resize(x).sum(), x)
    assert (slope > 0).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert resizer(x).shape == (1, 1, 20, 20)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind == "image"])
def test_a_resizer_goes_in_front_of_any_image_model(name: str) -> None:
    spec = spec_of(2, (90, 70), 3)
    model = build.build(NODES[name] | {"resizer": [64, 48]}, "model", spec)
    seen: list[tuple[int, ...]] = []
    model.get_submodule("resizer").register_forward_hook(lambda _, __, x: seen.append(tuple(x.shape)))
    assert model(torch.randn(2, *spec.shape)).shape == (2, 3)
    assert seen == [(2, 2, 64, 48)]
    with pytest.raises(UserError, match=r"model.resizer=\[384\] is not a size; give \[height, width\] or null"):
        build.build(NODES[name] | {"resizer": [384]}, "model", spec)


def test_one_output_is_a_sigmoid_trained_by_binary_cross_entropy() -> None:
    model = EfficientNetV2(spec_of(1, (64, 64), 2), variant="tf_efficientnetv2_b0", one_output=True).eval()
    logits = model(torch.randn(3, 1, 64, 64))
    z = logits[:, 1]
    assert (logits[:, 0] == 0).all()
    torch.testing.assert_close(logits.softmax(1)[:, 1], z.sigmoid())
    target = torch.tensor([1.0, 0.0, 1.0])
    (ours,) = torch.autograd.grad(bce(logits, torch.stack([1 - target, target], 1)), logits, retain_graph=True)
    (theirs,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(z, target), z)
    torch.testing.assert_close(ours[:, 1], theirs)
    with pytest.raises(UserError, match="two classes apart, and there are 3"):
        EfficientNetV2(spec_of(1, (64, 64), 3), one_output=True)


def test_cnn2d_normalises_as_keras_does() -> None:
    """Keras: (x - mean) / sqrt(variance + 1e-3), running averages that take 1 % of a batch."""
    model = build.build(NODES["cnn2d"] | {"norm_momentum": 0.01}, "model", spec_of(1, (40, 173), 41))
    layer = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    x = 0.05 * torch.randn(64, 32, 4, 5) + 3
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    expected = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-3).sqrt()
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)
    assert layer.running_mean is not None
    torch.testing.assert_close(layer.running_mean, 0.01 * mean)
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)} == {1e-3}


def test_gem_is_the_mean_at_one_and_nears_the_maximum() -> None:
    x = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(GeM(1.0)(x), x.mean((2, 3)))
    torch.testing.assert_close(GeM(80.0)(x), x.amax((2, 3)), rtol=0.1, atol=0)


def test_stem_stride_one_keeps_twice_the_rows() -> None:
    spec = spec_of(1, (64, 64), 2)
    for stride, rows in ((2, 32), (1, 64)):
        model = EfficientNetV2(spec, variant="tf_efficientnetv2_b0", stem_stride=stride).eval()
        assert model.backbone.get_submodule("conv_stem")(torch.randn(1, 1, 64, 64)).shape[2] == rows
