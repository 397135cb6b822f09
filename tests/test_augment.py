"""Changes to a training batch: whole batches come out of all of them, a seed decides, targets stay distributions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import build
from bench.augment.base import Augmentation, ExampleChange, prepared
from bench.augment.gain import Gain
from bench.augment.horizontal_flip import HorizontalFlip
from bench.augment.left_right import LeftRight, sided
from bench.augment.mixup import Mixup
from bench.augment.one_of import OneOf
from bench.augment.vertical_flip import VerticalFlip
from bench.data.batches import Batch
from bench.features.device.cast import ToFloat32
from bench.features.heartbeat_waveform import HeartbeatWaveform
from bench.spec import UserError
from tiny import node, options

SHAPES = [(7, 3, 50), (1, 2, 41), (6, 1, 80, 90), (1, 2, 70, 101)]
NAMES = [name for name in options("augment") if name != "none"]


class Sided(HeartbeatWaveform):
    """Features of which a left-right mirror image is known: the last axis in the opposite order."""

    def mirrored(self, x: Tensor) -> Tensor:
        return x.flip(-1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def batch(shape: tuple[int, ...], classes: int = 4, device: str = "cpu") -> Batch:
    torch.manual_seed(0)
    x = torch.randn(shape)
    target = torch.rand(shape[0], classes).softmax(1)
    x, target, weight = (t.to(device) for t in (x, target, torch.rand(shape[0])))
    return Batch(x, target, weight)


def part(name: str, **changed: Any) -> Any:
    """The option of conf/augment, with some of its keys changed."""
    return build.each({name: node("augment", name) | changed}, "augment", features=Sided())[0]


def surely(name: str) -> Any:
    """The option so that it changes every example."""
    return part(name, **({"p": 0.6} if name == "channel_drop" else {"p": 1.0} if name != "mixup" else {}))


def taken(name: str, shape: tuple[int, ...]) -> bool:
    """Whether the part takes such an input; that the others are refused is tests' own matter below."""
    made = part(name)
    try:
        made.refuse(torch.empty(shape, device="meta"))
    except UserError:
        return False
    return True


TAKEN = [(name, shape) for name in NAMES for shape in SHAPES if taken(name, shape)]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_conf_is_built_and_takes_some_input(name: str) -> None:
    assert type(part(name)).__module__ == f"bench.augment.{name}"
    assert any(name == other for other, _ in TAKEN)


@pytest.mark.parametrize(("name", "shape"), TAKEN)
@pytest.mark.parametrize("how", [part, surely])
def test_any_batch_comes_out_whole_with_targets_that_are_distributions(
    how: Any, name: str, shape: tuple[int, ...]
) -> None:
    given = batch(shape)
    before, target = given.x.clone(), given.target.clone()
    made = how(name)
    out = made(given, 0.0)
    assert out.x.shape == before.shape
    assert out.x.dtype == torch.float32
    assert out.x.isfinite().all()
    assert torch.equal(given.x, before)  # the batch may be rows that are held on the device
    assert torch.equal(given.target, target)
    torch.testing.assert_close(out.target.sum(1), torch.ones(shape[0]))
    assert (out.target >= 0).all()
    assert out.weight is not None
    assert out.weight.shape == (shape[0],)
    if not made.mixes:
        assert torch.equal(out.target, target)
        assert torch.equal(out.weight, given.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "shape"), [t for t in TAKEN if t[1][0] > 1])
def test_a_seed_decides_the_batch(name: str, shape: tuple[int, ...]) -> None:
    given = batch((16, *shape[1:]))
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(part(name)(given, 0.0).x)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert not torch.equal(made[0], given.x)


@pytest.mark.parametrize(("name", "shape"), TAKEN)
@pytest.mark.parametrize("how", [part, surely])
def test_no_part_asks_the_device_for_a_number(how: Any, name: str, shape: tuple[int, ...]) -> None:
    given = batch(shape, device="meta")  # has shapes and no numbers: asking for one raises
    out = how(name)(given, 0.0)
    assert (out.x.shape, out.x.device.type, out.target.device.type) == (given.x.shape, "meta", "meta")


@pytest.mark.parametrize("name", [name for name in NAMES if "p" in node("augment", name) and name != "channel_drop"])
def test_p_is_the_share_of_examples_that_are_changed(name: str) -> None:
    """Of 400 with p=0.3 it lies between 0.2 and 0.4, four standard errors either way."""
    shape = next(shape for other, shape in TAKEN if other == name)
    small = {"height": 2, "width": 3} if name == "coarse_dropout" else {}
    given = batch((400, *shape[1:-1], 31) if len(shape) == 3 else (400, shape[1], 20, 24))
    made = part(name, p=0.3, **small)
    torch.manual_seed(3)
    touched = (made(given, 0.0).x != given.x).flatten(1).any(1).float().mean()
    least = {"specaugment": 0.15, "cutmix": 0.15, "time_shift": 0.15}.get(name, 0.2)  # some drew a change of nothing
    assert least < touched < 0.4
    assert torch.equal(part(name, p=0.0, **small)(given, 0.0).x, given.x)


def test_each_example_draws_one_of_the_parts_and_those_that_draw_none_stay() -> None:
    class Fill(ExampleChange):
        def __init__(self, value: float) -> None:
            super().__init__(p=1.0)
            self.value = value

        def change(self, x: Tensor) -> Tensor:
            return torch.full_like(x, self.value)

    x = torch.zeros(1000, 1, 5)
    torch.manual_seed(0)
    out = OneOf({"a": Fill(1), "b": Fill(2), "c": Fill(3)}, p=0.6)(Batch(x, x[:, 0]), 0.0).x
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    shares = [(out[:, 0, 0] == value).float().mean().item() for value in range(4)]
    assert shares == pytest.approx([0.4, 0.2, 0.2, 0.2], abs=0.05)


def test_one_of_keeps_a_mixed_row_and_its_target_together() -> None:
    x = torch.eye(64)[:, None]
    made = OneOf({"mixup": Mixup(alpha=1.0), "flip": HorizontalFlip(p=0.0)}, p=0.8)
    assert made.mixes
    assert not OneOf({"gain": Gain(), "flip": HorizontalFlip()}).mixes
    torch.manual_seed(0)
    mixed = made(Batch(x, torch.eye(64), torch.arange(64.0)), 0.0)
    torch.testing.assert_close(mixed.x[:, 0], mixed.target)
    assert mixed.weight is not None
    torch.testing.assert_close(mixed.weight, mixed.target @ torch.arange(64.0))
    assert 0.2 < (mixed.target.diagonal() < 1).float().mean() < 0.6


def test_one_of_refuses_an_input_that_any_of_its_parts_refuses() -> None:
    with pytest.raises(UserError, match="augment=vertical_flip is for images"):
        OneOf({"gain": Gain(), "vertical_flip": VerticalFlip()}, p=0.0)(batch((3, 1, 20)), 0.0)
    with pytest.raises(UserError, match=r"left_right works on stored examples.*augment=\[left_right,one_of\]"):
        OneOf({"gain": Gain(), "left_right": LeftRight(Sided())})
    with pytest.raises(UserError, match="has 1 of them; give two or more"):
        OneOf({"gain": Gain()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.uint8, torch.int16])
def test_left_right_takes_stored_arrays_of_any_type(dtype: torch.dtype) -> None:
    x = torch.arange(200 * 6).view(200, 3, 2).remainder(200).to(dtype)
    before = x.clone()
    torch.manual_seed(0)
    made = LeftRight(Sided(), p=0.5)
    out = made(Batch(x, torch.ones(200, 1)), 0.0).x
    assert made.on_stored
    assert torch.equal(x, before)
    swapped = (out == x.flip(-1)).flatten(1).all(1)
    assert (swapped | (out == x).flatten(1).all(1)).all()
    assert 70 < swapped.sum() < 130
    assert out.dtype == dtype


def test_left_right_names_the_features_that_know_left_from_right() -> None:
    with pytest.raises(UserError, match=r"features that know left from right \(.*HeartbeatWaveform doesn.t; choose"):
        LeftRight(HeartbeatWaveform())
    for name in sided():
        assert build.locate(node("features", name), "features").mirrored is not None  # type: ignore[attr-defined]


def test_parts_follow_each_other_on_the_side_of_the_device_half_that_they_work_on() -> None:
    seen: list[tuple[str, float]] = []

    class Said(Augmentation):
        def __init__(self, what: str, on_stored: bool) -> None:
            self.what, self.on_stored = what, on_stored

        def apply(self, batch: Batch, progress: float) -> Batch:
            seen.append((self.what, float(batch.x[0])))
            return batch.with_x(batch.x + 1)

    class Ten(ToFloat32):
        def forward(self, x: Tensor) -> Tensor:
            return 10 * x

    given = Batch(torch.zeros(1), torch.ones(1, 1))
    out = prepared(given, Ten(), [Said("a", False), Said("b", True), Said("c", False), Said("d", True)], 0.0)
    assert seen == [("b", 0), ("d", 1), ("a", 20), ("c", 21)]
    assert float(out.x) == 22
    assert float(given.x) == 0


@pytest.mark.parametrize(
    ("name", "changed", "sentence"),
    [
        ("mixup", {"alpha": 0}, "alpha=0 must be above 0"),
        ("mixup", {"until": 0}, "until=0 must lie above 0"),
        ("specaugment", {"row_share": 2}, "row_share=2 must lie between 0 and 1"),
        ("specaugment", {"columns": -1}, "columns=-1 must be a number of 0 or more"),
        ("cutmix", {"alpha": 0}, "augment.cutmix.alpha=0 must be above 0"),
        ("cutmix", {"until": 2}, "until=2 must lie above 0 and up to 1"),
        ("gaussian_noise", {"std": -1}, "augment.gaussian_noise.std=-1 must be a number of 0 or more"),
        ("gaussian_noise", {"std": math.inf}, "std=inf must be a number"),
        ("gaussian_blur", {"sigma_min": 2, "sigma_max": 1}, "sigma_min=2 must not be above sigma_max=1"),
        ("gaussian_blur", {"sigma_min": 0}, "sigma_min=0 must lie between 0.1 and 100"),
        ("brightness_contrast", {"contrast": 3}, "contrast=3 must lie between 0 and 1"),
        ("brightness_contrast", {"brightness": math.nan}, "brightness=nan must be a number"),
        ("coarse_dropout", {"holes": 0}, "holes=0 must be a number of 1 or more"),
        ("motion_blur", {"size": 4}, "size=4 must be an odd number of pixels from 3 on"),
        ("shift_scale_rotate", {"degrees": 200}, "degrees=200 must lie between 0 and 180"),
        ("shift_scale_rotate", {"scale": 1}, "scale=1 must lie between 0 and 0.9"),
        ("time_shift", {"share": 1.5}, "share=1.5 must lie between 0 and 1"),
        ("gain", {"db": -3}, "augment.gain.db=-3 must be a number of 0 or more"),
        ("band_pass", {"low": 0.6}, "low=0.6 must be below high=0.5"),
        ("channel_drop", {"p": 1.1}, "augment.channel_drop.p=1.1 must lie between 0 and 1"),
        *((name, {"p": 1.5}, rf"augment.{name}.p=1.5 must lie between 0 and 1") for name in NAMES if name != "mixup"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        part(name, **changed)


def test_a_mixture_of_targets_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="targets=sum is not one of mix, max"):
        Mixup(targets="sum")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("vertical_flip", "horizontal_flip"),
        ("shift_scale_rotate", "time_shift"),
        ("motion_blur", "gaussian_blur"),
        ("coarse_dropout", "specaugment"),
    ],
)
def test_what_needs_an_image_says_so_of_a_sequence(name: str, instead: str) -> None:
    with pytest.raises(UserError, match=f"^augment={name} is for images, .*; choose {instead}.* instead, or a model"):
        part(name, p=0.0)(batch((2, 1, 100)), 0.0)


def test_what_needs_a_sequence_says_so_of_an_image() -> None:
    with pytest.raises(UserError, match=r"^augment=band_pass is for sequences, .*; choose specaugment.* instead, or a"):
        part("band_pass", p=0.0)(batch((2, 1, 80, 90)), 0.0)
