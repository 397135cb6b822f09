"""ROCKET's numbers are the paper's, by a loop over kernels and samples; its kernels are drawn and never trained."""

from __future__ import annotations

import numpy as np
import torch

from bench.models.rocket import LENGTHS, Rocket
from bench.spec import InputSpec


def rocket(channels: int = 1, samples: int = 60, kernels: int = 70, seed: int = 0) -> Rocket:
    torch.manual_seed(seed)
    return Rocket(InputSpec(channels, (samples,), ("a", "b", "c")), kernels).eval()


def test_a_kernels_numbers_are_its_maximum_and_its_share_above_zero() -> None:
    model, x_bct = rocket(channels=3), np.random.default_rng(0).normal(2, 5, size=(2, 3, 60))
    z_bct = (x_bct - x_bct.mean(2, keepdims=True)) / x_bct.std(2, keepdims=True)
    shares, maxima, at = [], [], 0
    for i, (length, dilation, padding) in enumerate(model.kinds):
        padded = np.pad(z_bct, ((0, 0), (0, 0), (padding, padding)))
        for weight in model.get_buffer(f"kernel_{i}").double().numpy():
            reach = (length - 1) * dilation + 1
            windows = [padded[:, :, t : t + reach : dilation] for t in range(padded.shape[2] - reach + 1)]
            y_bt = np.stack([(w * weight).sum((1, 2)) for w in windows], 1) + model.bias[at].item()
            shares.append((y_bt > 0).mean(1))
            maxima.append(y_bt.max(1))
            at += 1
    found = model.numbers(torch.from_numpy(x_bct).float()).numpy()
    np.testing.assert_allclose(found, np.stack(shares + maxima, 1), atol=1e-5)


def test_kernels_are_of_every_kind_and_of_mean_zero_in_each_channel() -> None:
    model = rocket(channels=12, samples=200, kernels=1001)
    drawn = [model.get_buffer(f"kernel_{i}") for i in range(len(model.kinds))]
    assert sum(map(len, drawn)) == 1001
    assert {length for length, _, _ in model.kinds} == set(LENGTHS)
    assert {dilation for _, dilation, _ in model.kinds} == {1, 2, 4, 8, 16, 32}
    assert all(dilation * (length - 1) < 200 for length, dilation, _ in model.kinds)
    looked_at = torch.cat([(kernel != 0).any(2).sum(1) for kernel in drawn])
    assert (looked_at.min(), looked_at.max()) == (1, 11)
    assert (looked_at <= 3).float().mean() > 0.45  # few channels are likely
    assert max(float(kernel.mean(2).abs().max()) for kernel in drawn) < 1e-6


def test_one_layer_is_trained_and_the_kernels_travel_with_the_weights() -> None:
    model, other, x_bct = rocket(), rocket(seed=1), torch.randn(4, 1, 60)
    assert [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]
    assert not torch.allclose(model.numbers(x_bct), other.numbers(x_bct))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.numbers(x_bct), other.numbers(x_bct))


def test_unit_and_offset_of_a_channel_do_not_matter() -> None:
    model, x_bct = rocket(channels=2), torch.randn(4, 2, 60)
    torch.testing.assert_close(model.numbers(x_bct), model.numbers(1000 * x_bct + 50), rtol=1e-3, atol=1e-3)
