"""Every model that reads a sequence: sizes, logits for any spec, and WaveNet against the write-up's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from bench.models import wavenet
from bench.models.mlp import MLP
from bench.models.resnet1d import ResNet1D
from bench.models.wavenet import WaveNet
from bench.spec import InputSpec, UserError

HMS = InputSpec(8, (2000,), ("seizure", "lpd", "gpd", "lrda", "grda", "other"), 40.0)
HEARTBEAT = InputSpec(1, (205,), ("0", "1", "2", "3"))
SPECS = [(1, 205, 4), (8, 300, 6), (3, 64, 2), (6, 17, 41), (2, 1, 2)]  # channels, length, classes


def small_wavenet(spec: InputSpec) -> WaveNet:
    return WaveNet(spec, filters=(3, 4, 5), layers=(6, 2, 1), hidden=7)


Build = Callable[[InputSpec], nn.Module]
MODELS: list[Build] = [MLP, ResNet1D, WaveNet, small_wavenet]


def spec_of(channels: int, length: int, classes: int) -> InputSpec:
    return InputSpec(channels, (length,), tuple(f"class {i}" for i in range(classes)))


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


def test_parameter_counts_are_the_write_ups() -> None:
    def count(model: nn.Module) -> int:
        return sum(p.numel() for p in model.parameters())

    assert count(WaveNet(HMS)) == 97_958
    assert count(ResNet1D(HEARTBEAT)) == 1_459_332


@pytest.mark.parametrize("way", ["products", "convolutions"])
@pytest.mark.parametrize(("channels", "length", "kernel_size"), [(4, 150, 3), (3, 20, 5), (1, 7, 1)])
def test_wavenet_equals_the_write_up_in_outputs_and_gradients(
    way: str, channels: int, length: int, kernel_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wavenet, "CHUNK_COLUMNS", 5 * length)  # chunks that cut through examples, and a short last
    if way == "convolutions":
        monkeypatch.setattr(WaveNet, "extract_by_products", WaveNet.extract_by_convolutions)
    spec = spec_of(channels, length, 3)
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
    model = with_biases(WaveNet(spec_of(2, 6, 2), filters=(2, 3), layers=(4, 1), hidden=2)).double()
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
    model, x = WaveNet(spec_of(2, 20, 3), filters=(3, 4), layers=(2, 1)), torch.randn(3, 2, 20)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    logits, gradients = outcome(compiled, model, x)
    expected, expected_gradients = outcome(model, model, x)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_wavenet_averages_chains_and_falls_back_to_single_channels() -> None:
    assert WaveNet(HMS).hidden.in_features == 4 * 64
    assert WaveNet(spec_of(3, 50, 2)).hidden.in_features == 3 * 64
    assert WaveNet(HMS, chain_size=4).hidden.in_features == 2 * 64


@pytest.mark.parametrize("wrong", [{"kernel_size": 4}, {"layers": (1, 2)}, {"filters": (8,), "layers": (0,)}])
def test_wavenet_refuses_shapes_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match="odd kernel size"):
        WaveNet(HMS, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize(("channels", "length", "classes"), SPECS)
def test_every_model_takes_any_sequence_spec_and_an_odd_batch(
    build: Build, channels: int, length: int, classes: int
) -> None:
    spec = spec_of(channels, length, classes)
    model = build(spec)
    logits = model(torch.randn(5, *spec.shape))
    assert logits.shape == (5, classes)
    logits.log_softmax(1)[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("build", MODELS)
def test_every_model_predicts_a_row_alone_as_in_a_batch(build: Build) -> None:
    spec = spec_of(4, 130, 3)
    model = build(spec)
    x = torch.randn(7, *spec.shape)
    model(x)  # batch statistics that are not the initial ones
    model.eval()
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(row[None]) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("build", MODELS)
def test_every_model_says_that_it_takes_sequences_and_returns_logits(build: Build) -> None:
    model = build(HEARTBEAT)
    assert model.takes == "sequence"
    model.eval()
    rows = model(100 * torch.randn(3, *HEARTBEAT.shape)).sum(1)
    assert not torch.allclose(rows, torch.ones(3))  # a softmax's rows would sum to one
