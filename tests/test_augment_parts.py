"""Changes to a training batch of any kind, or of sequences: each does what it says."""

from __future__ import annotations

import math

import pytest
import torch

from bench.augment.band_pass import BandPass
from bench.augment.base import Augmentation
from bench.augment.channel_drop import ChannelDrop
from bench.augment.cutmix import CutMix
from bench.augment.gain import Gain
from bench.augment.gaussian_blur import GaussianBlur
from bench.augment.gaussian_noise import GaussianNoise
from bench.augment.mixup import Mixup
from bench.augment.specaugment import SpecAugment
from bench.augment.time_shift import TimeShift
from bench.data.batches import Batch
from bench.spec import UserError


def batch(shape: tuple[int, ...], classes: int = 4) -> Batch:
    x = torch.randn(shape)
    return Batch(x, torch.rand(shape[0], classes).softmax(1), torch.rand(shape[0]))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_mixup_mixes_a_row_and_its_target_by_the_same_share() -> None:
    x = torch.eye(5)[:, None]  # row i is 1 at place i
    mixed = Mixup(alpha=1.0)(Batch(x, torch.eye(5), torch.arange(5.0)), 0.0)
    out = mixed.x
    torch.testing.assert_close(out[:, 0], mixed.target)
    assert mixed.weight is not None
    torch.testing.assert_close(mixed.weight, mixed.target @ torch.arange(5.0))
    assert (mixed.target.diagonal() >= 0.5).all()
    assert (mixed.target.diagonal() < 1).any()


def test_mixup_of_a_signal_with_noise_is_a_signal() -> None:
    x = batch((40, 1, 10), 2).x
    positive = (torch.arange(40) % 2).float()
    given = Batch(x, torch.stack([1 - positive, positive], 1), None)
    out = Mixup(targets="max")(given, 0.0)
    assert set(out.target.unique().tolist()) == {0.0, 1.0}
    assert (out.target[:, 1] >= positive).all()
    assert out.target[:, 1].sum() > positive.sum()
    with pytest.raises(UserError, match="is for two classes, and there are 4"):
        Mixup(targets="max")(batch((4, 1, 10)), 0.0)


@pytest.mark.parametrize("mixing", [Mixup(until=0.8), CutMix(until=0.8, p=1.0)])
def test_mixing_leaves_the_last_epochs_alone(mixing: Augmentation) -> None:
    given = batch((6, 1, 10))
    assert mixing(given, 0.8) is given
    assert mixing(given, 0.79).x is not given.x


@pytest.mark.parametrize("shape", [(64, 2, 50), (64, 1, 20, 30)])
def test_cutmix_mixes_a_rows_target_by_the_share_of_it_that_was_kept(shape: tuple[int, ...]) -> None:
    n = shape[0]
    x = torch.arange(float(n)).view(-1, *[1] * (len(shape) - 1)).expand(shape)  # row i is i all over
    torch.manual_seed(0)
    mixed = CutMix(p=1.0)(Batch(x, torch.eye(n), torch.arange(float(n))), 0.0)
    out = mixed.x
    kept = (out == x).float().flatten(1).mean(1)
    torch.testing.assert_close(mixed.target.diagonal(), kept)
    torch.testing.assert_close(out.flatten(1).mean(1), mixed.target @ torch.arange(float(n)))
    assert mixed.weight is not None
    torch.testing.assert_close(mixed.weight, mixed.target @ torch.arange(float(n)))
    assert 0.5 < kept.mean() < 0.8  # the middle of a piece lies anywhere, so some of the half drawn is over the edge
    assert ((kept > 0) & (kept < 1)).float().mean() > 0.8


def test_cutmix_takes_one_rectangle_in_one_piece() -> None:
    x = torch.arange(40.0).view(-1, 1, 1, 1).expand(40, 2, 20, 30)
    torch.manual_seed(1)
    theirs = CutMix(p=1.0)(Batch(x, torch.eye(40)), 0.0).x != x
    assert torch.equal(theirs[:, 0], theirs[:, 1])
    rows, columns = theirs[:, 0].any(2), theirs[:, 0].any(1)
    assert torch.equal(theirs[:, 0], rows[:, :, None] & columns[:, None])
    for side in (rows, columns):
        assert (side.int().diff(dim=1).abs().sum(1) <= 2).all()


def test_specaugment_hides_whole_rows_and_columns_no_wider_than_asked() -> None:
    x = torch.ones(2000, 1, 20, 30)
    out = SpecAugment(row_share=0.25, column_share=0.2, p=0.5)(Batch(x, x[:, 0, 0, :2]), 0.0).x
    hidden = out[:, 0] == 0
    rows, columns = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert rows.max() == 5
    assert columns.max() == 6
    assert torch.equal(hidden, hidden.all(2)[:, :, None] | hidden.all(1)[:, None])
    untouched = (~hidden).all(2).all(1).float().mean()
    assert 0.47 < untouched < 0.56  # half of them, and those whose bands were drawn to be of no width
    everywhere = hidden.any(2).sum(0)
    assert (everywhere > 0).all()


def test_a_sequence_is_hidden_in_time_over_all_channels() -> None:
    x = torch.ones(50, 3, 40)
    out = SpecAugment(column_share=0.3, value=-1.0)(Batch(x, x[:, 0, :2]), 0.0).x
    assert ((out == -1).any(1) == (out == -1).all(1)).all()
    assert (out == -1).any()


def test_noise_is_measured_by_the_examples_own_spread() -> None:
    x = torch.randn(2, 3, 20000) * torch.tensor([1.0, 1000.0])[:, None, None] + 5
    noise = GaussianNoise(std=0.2, p=1.0)(Batch(x, x[:, 0, :2]), 0.0).x - x
    torch.testing.assert_close(noise.std((1, 2)), 0.2 * x.std((1, 2)), rtol=0.02, atol=0)
    constant = torch.full((3, 1, 50), 7.0)
    assert torch.equal(GaussianNoise(p=1.0)(Batch(constant, constant[:, 0]), 0.0).x, constant)


@pytest.mark.parametrize("shape", [(300, 2, 50), (300, 1, 4, 50)])
@pytest.mark.parametrize("roll", [True, False])
def test_a_peak_is_shifted_to_where_the_whole_example_went(shape: tuple[int, ...], roll: bool) -> None:
    x = torch.arange(1.0, 51.0).expand(shape)
    torch.manual_seed(0)
    out = TimeShift(share=0.2, roll=roll, p=1.0)(Batch(x, torch.ones(300, 1)), 0.0).x
    later = [int((one.flatten() == 25).nonzero()[0, 0]) - 24 for one in out[..., :].flatten(1, -2)[:, 0]]
    assert set(later) == set(range(-10, 11))
    for example, given, k in zip(out, x, later, strict=True):
        wanted = given.roll(k, -1)
        if not roll and k:
            wanted[..., slice(0, k) if k > 0 else slice(k, None)] = 0
        assert torch.equal(example, wanted)


def test_gain_is_drawn_in_decibels_and_alike_for_all_channels() -> None:
    given = batch((2000, 2, 5))
    factor = Gain(db=6.0, p=1.0)(given, 0.0).x / given.x
    torch.testing.assert_close(factor, factor[:, :1, :1].expand_as(factor), rtol=1e-4, atol=0)
    decibels = 20 * factor[:, 0, 0].log10()
    assert decibels.abs().max() <= 6.001
    assert (decibels < -3).float().mean() == pytest.approx(0.25, abs=0.05)
    assert (decibels > 3).float().mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("length", [400, 401])
def test_a_sine_inside_the_band_stays_and_one_outside_goes(length: int) -> None:
    at = torch.arange(float(length))
    slow, middle, fast = (torch.sin(2 * math.pi * round(length * f) / length * at) for f in (0.005, 0.15, 0.49))
    x = (slow + middle + fast).expand(200, 2, length)
    torch.manual_seed(0)
    out = BandPass(low=0.2, high=0.5, p=1.0)(Batch(x, x[:, 0, :2]), 0.0).x
    left = {name: (out * wave).mean((1, 2)) / wave.square().mean() for name, wave in (("m", middle), ("f", fast))}
    torch.testing.assert_close(left["m"], torch.ones(200), rtol=0, atol=1e-3)  # 0.3 of Nyquist: in every band
    assert ((left["f"] - 1).abs().min(left["f"].abs()) < 1e-3).all()  # whole or gone
    assert (left["f"] < 0.5).float().mean() > 0.9  # 0.98 of Nyquist: above nearly every upper edge
    gone = BandPass(low=0.2, high=0.5, p=1.0)(Batch(slow.expand(200, 1, length), x[:, 0, :2]), 0.0).x
    assert (gone.abs().amax((1, 2)) < 1e-4).float().mean() > 0.85  # 0.01 of Nyquist: below most lower edges


def test_channels_are_dropped_by_chance_and_never_all() -> None:
    x = torch.ones(2000, 4, 3)
    dropped = (ChannelDrop(p=0.3)(Batch(x, x[:, 0]), 0.0).x == 0).all(2)
    assert dropped.float().mean() == pytest.approx(0.3, abs=0.03)
    last = (ChannelDrop(p=1.0)(Batch(x, x[:, 0]), 0.0).x != 0).any(2)
    assert (last.sum(1) == 1).all()
    assert last.float().mean(0).min() > 0.2  # any of the four is the one that stays
    with pytest.raises(UserError, match=r"augment=channel_drop would do nothing: .* has one channel; choose"):
        ChannelDrop()(batch((5, 1, 64)), 0.0)


def test_a_sequence_is_smoothed_in_time_within_its_channel() -> None:
    x = torch.zeros(50, 2, 41)
    x[:, 0, 20] = 1
    out = GaussianBlur(sigma_min=1.0, sigma_max=2.0, p=1.0)(Batch(x, x[:, 0, :2]), 0.0).x
    assert (out[:, 1] == 0).all()
    torch.testing.assert_close(out[:, 0].sum(1), torch.ones(50))
    width = ((torch.arange(41.0) - 20).square() * out[:, 0]).sum(1).sqrt()
    assert width.min() == pytest.approx(1.0, abs=0.1)
    assert width.max() == pytest.approx(2.0, abs=0.1)
