"""Changes to a training batch of images: each does to the pixels what it says."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.augment.base import Augmentation
from bench.augment.brightness_contrast import BrightnessContrast
from bench.augment.coarse_dropout import CoarseDropout
from bench.augment.gaussian_blur import GaussianBlur
from bench.augment.gaussian_noise import GaussianNoise
from bench.augment.horizontal_flip import HorizontalFlip
from bench.augment.motion_blur import MotionBlur
from bench.augment.shift_scale_rotate import ShiftScaleRotate
from bench.augment.vertical_flip import VerticalFlip
from bench.data.batches import Batch
from bench.spec import UserError


def through(part: Augmentation, x: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return part(Batch(x, torch.ones(len(x), 1)), 0.0).x


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of each image's light, (B, 2) as (row, column), and how far it spreads about it, (B, 2, 2)."""
    light = x.sum(1) / x.sum((1, 2, 3))[:, None, None]
    rows, columns = (torch.arange(float(side)) for side in light.shape[1:])
    row, column = (light.sum(2) * rows).sum(1), (light.sum(1) * columns).sum(1)
    r, c = rows - row[:, None], columns - column[:, None]
    spread = torch.stack(
        [
            (light * r[:, :, None] ** 2).sum((1, 2)),
            (light * r[:, :, None] * c[:, None]).sum((1, 2)),
            (light * r[:, :, None] * c[:, None]).sum((1, 2)),
            (light * c[:, None] ** 2).sum((1, 2)),
        ],
        1,
    )
    return torch.stack([row, column], 1), spread.view(-1, 2, 2)


@pytest.mark.parametrize(
    ("part", "flipped"),
    [
        (VerticalFlip, lambda x: x.flip(2)),
        (HorizontalFlip, lambda x: x.flip(3)),
    ],
)
def test_half_of_the_images_are_flipped_and_the_others_are_as_they_were(
    part: Callable[[], Augmentation], flipped: Callable[[Tensor], Tensor]
) -> None:
    x = torch.randn(400, 2, 5, 7)
    out = through(part(), x)
    turned, same = ((out == other).flatten(1).all(1) for other in (flipped(x), x))
    assert (turned ^ same).all()
    assert 160 < turned.sum() < 240


def test_a_sequence_is_flipped_in_time() -> None:
    x = torch.randn(3, 2, 7)
    assert torch.equal(through(HorizontalFlip(p=1.0), x), x.flip(-1))


def test_a_blob_is_shifted_by_up_to_the_share_of_each_side() -> None:
    x = torch.zeros(400, 1, 60, 120)
    x[:, :, 25:36, 50:71] = 1
    moved, spread = moments(through(ShiftScaleRotate(shift=0.2, scale=0.0, degrees=0.0, p=1.0), x))
    before, as_it_was = moments(x)
    for axis, side in enumerate((60, 120)):
        by = moved[:, axis] - before[:, axis]
        assert -0.2 * side - 0.01 <= by.min() < -0.18 * side
        assert 0.18 * side < by.max() <= 0.2 * side + 0.01
        assert by.mean().abs() < 0.03 * side
    torch.testing.assert_close(spread, as_it_was, rtol=0.02, atol=0.2)


def test_a_whole_pixels_shift_moves_every_pixel_there() -> None:
    part = ShiftScaleRotate(shift=0.5, scale=0.0, degrees=0.0, value=-3.0, p=1.0)
    x = torch.randn(1, 2, 8, 10)
    torch.manual_seed(0)
    by = []
    original = torch.rand

    def whole(n: int) -> Tensor:  # the third and fourth numbers drawn are the shifts: 3 columns, −2 rows
        by.append(n)
        return {4: torch.full((n,), 0.5 + 0.3), 5: torch.full((n,), 0.5 - 0.25)}.get(len(by), original(n))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", whole)
        out = part(Batch(x, torch.ones(1, 1)), 0.0).x
    wanted = torch.full_like(x, -3.0)
    wanted[:, :, :6, 3:] = x[:, :, 2:, :7]
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-5)


def test_a_bar_is_turned_about_the_middle_and_keeps_its_shape_though_the_image_is_not_square() -> None:
    x = torch.zeros(300, 1, 81, 161)
    x[:, :, 38:43, 60:101] = 1  # a bar of 5 × 41 in the middle
    middle, spread = moments(through(ShiftScaleRotate(shift=0.0, scale=0.0, degrees=45.0, p=1.0), x))
    before, as_it_was = moments(x)
    torch.testing.assert_close(middle, before, rtol=0, atol=0.3)
    mine, wanted = torch.linalg.eigvalsh(spread), torch.linalg.eigvalsh(as_it_was)
    torch.testing.assert_close(mine, wanted, rtol=0.05, atol=0.5)
    angle = 0.5 * torch.atan2(2 * spread[:, 0, 1], spread[:, 1, 1] - spread[:, 0, 0]).rad2deg()
    assert -45.5 < angle.min() < -42
    assert 42 < angle.max() < 45.5
    assert angle.abs().mean() == pytest.approx(22.5, abs=2)


def test_a_disc_grows_and_shrinks_by_the_scale() -> None:
    at = torch.arange(101.0) - 50
    x = ((at**2 + at[:, None] ** 2) < 400).float().expand(300, 1, 101, 101)
    size = through(ShiftScaleRotate(shift=0.0, scale=0.3, degrees=0.0, p=1.0), x).sum((1, 2, 3)) / x[0].sum()
    assert size.sqrt().min() == pytest.approx(0.7, abs=0.02)
    assert size.sqrt().max() == pytest.approx(1.3, abs=0.02)


def test_what_comes_in_over_the_edges_is_the_value() -> None:
    x = torch.full((50, 1, 40, 40), 5.0)
    out = through(ShiftScaleRotate(shift=0.3, degrees=0.0, scale=0.0, value=2.0, p=1.0), x)
    assert out.min() >= 1.999
    assert out.max() <= 5.001
    assert (out < 2.001).any()


@pytest.mark.parametrize("part", [MotionBlur(p=1.0), GaussianBlur(p=1.0)])
def test_a_blur_keeps_a_constant_and_the_light_of_a_point(part: Augmentation) -> None:
    constant = torch.full((8, 2, 30, 40), 3.5)
    torch.testing.assert_close(through(part, constant), constant)
    point = torch.zeros(200, 2, 31, 41)
    point[:, 0, 15, 20] = 1
    out = through(part, point)
    torch.testing.assert_close(out[:, 0].sum((1, 2)), torch.ones(200))
    assert (out[:, 1] == 0).all()
    torch.testing.assert_close(moments(out)[0], torch.tensor([15.0, 20.0]).expand(200, 2), rtol=0, atol=1e-3)


def test_motion_smears_a_point_along_a_line_of_any_direction_no_longer_than_asked() -> None:
    point = torch.zeros(500, 1, 31, 31)
    point[:, :, 15, 15] = 1
    out = through(MotionBlur(size=9, p=1.0), point)
    _, spread = moments(out)
    across, along = torch.linalg.eigvalsh(spread).sqrt().T
    assert across.max() < 0.65  # about a pixel wide
    assert along.min() > 0.75  # a line of three pixels has 0.82
    assert along.max() == pytest.approx(math.sqrt((9**2 - 1) / 12), abs=0.2)  # and one of nine 2.58
    assert (out[:, :, 10] == 0).all()
    assert (out[:, :, :, 20] == 0).all()
    angle = (0.5 * torch.atan2(2 * spread[:, 0, 1], spread[:, 1, 1] - spread[:, 0, 0])).rad2deg()
    assert torch.histc(angle, 6, -90, 90).min() > 40


def test_a_gaussian_is_as_wide_in_rows_as_in_columns() -> None:
    point = torch.zeros(100, 1, 31, 31)
    point[:, :, 15, 15] = 1
    _, spread = moments(through(GaussianBlur(sigma_min=1.0, sigma_max=2.0, p=1.0), point))
    torch.testing.assert_close(spread[:, 0, 0], spread[:, 1, 1], rtol=1e-3, atol=0)
    width = spread[:, 0, 0].sqrt()
    assert width.min() == pytest.approx(1.0, abs=0.1)
    assert width.max() == pytest.approx(2.0, abs=0.1)


def test_each_image_is_blurred_by_a_kernel_of_its_own() -> None:
    x = torch.randn(1, 2, 20, 20).expand(6, 2, 20, 20)
    for part in (MotionBlur(p=1.0), GaussianBlur(p=1.0)):
        out = through(part, x)
        assert all(not torch.allclose(out[i], out[j]) for i in range(6) for j in range(i))


def test_noise_on_a_picture_is_measured_by_its_own_spread() -> None:
    x = torch.rand(2, 1, 200, 300)
    noise = through(GaussianNoise(std=0.5, p=1.0), x) - x
    torch.testing.assert_close(noise.std((1, 2, 3)), 0.5 * x.std((1, 2, 3)), rtol=0.02, atol=0)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (300.0, 20.0)])
def test_brightness_and_contrast_are_in_units_of_the_image(scale: float, offset: float) -> None:
    x = (torch.rand(500, 1, 8, 9) * scale) + offset
    out = through(BrightnessContrast(brightness=0.4, contrast=0.2, p=1.0), x)
    brighter = (out.mean((1, 2, 3)) - x.mean((1, 2, 3))) / x.std((1, 2, 3), correction=0)
    contrast = out.std((1, 2, 3)) / x.std((1, 2, 3))
    for value, low, high in ((brighter, -0.4, 0.4), (contrast, 0.8, 1.2)):
        assert low - 0.001 < value.min() < low + 0.02
        assert high - 0.02 < value.max() < high + 0.001
    assert torch.corrcoef(torch.stack([brighter, contrast]))[0, 1].abs() < 0.15


def test_holes_have_the_size_lie_inside_and_go_through_all_channels() -> None:
    x = torch.ones(300, 2, 20, 30)
    hidden = through(CoarseDropout(holes=1, height=4, width=7, value=-1.0, p=1.0), x) == -1
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    rows, columns = hidden[:, 0].any(2), hidden[:, 0].any(1)
    assert (rows.sum(1) == 4).all()
    assert (columns.sum(1) == 7).all()
    assert torch.equal(hidden[:, 0], rows[:, :, None] & columns[:, None])
    assert ((rows.int().diff(dim=1).abs().sum(1)) <= 2).all()
    assert rows[:, 0].any()
    assert rows[:, -1].any()
    assert columns[:, -1].any()


def test_several_holes_hide_no_more_than_their_areas_together() -> None:
    x = torch.ones(300, 1, 40, 40)
    area = (through(CoarseDropout(holes=3, height=5, width=6, p=1.0), x) == 0).sum((1, 2, 3))
    assert area.max() == 90
    assert area.min() >= 30
    assert area.float().mean() > 80


def test_holes_that_would_hide_a_whole_side_are_refused() -> None:
    with pytest.raises(UserError, match=r"coarse_dropout.height=64 would hide all 40 pixels .* choose a smaller"):
        through(CoarseDropout(p=0.0), torch.ones(2, 1, 40, 200))
    with pytest.raises(UserError, match=r"coarse_dropout.width=64 would hide all 64 pixels"):
        through(CoarseDropout(p=0.0), torch.ones(2, 1, 200, 64))
