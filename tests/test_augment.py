"""Changes to a training batch: what they do, that targets stay distributions, that a seed decides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.data.augment import Augment, InTurn, Mixup, SpecAugment
from bench.data.batches import Batch
from bench.spec import UserError

SHAPES = [(7, 3, 50), (6, 1, 20, 30), (1, 2, 40), (1, 1, 8, 9)]


def batch(shape: tuple[int, ...], classes: int = 4) -> tuple[Tensor, Batch]:
    torch.manual_seed(0)
    x = torch.randn(shape)
    target = torch.rand(shape[0], classes).softmax(1)
    return x, Batch(x, target, torch.rand(shape[0]))


PARTS: list[Augment] = [
    Mixup(),
    SpecAugment(rows=2, columns=2, row_share=0.4, column_share=0.4),
    InTurn([SpecAugment(), Mixup(alpha=1.0)]),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", PARTS)
def test_any_batch_comes_out_whole_with_targets_that_are_distributions(part: Augment, shape: tuple[int, ...]) -> None:
    x, given = batch(shape)
    before = x.clone()
    changed, out = part(x, given, 0.0)
    assert changed.shape == x.shape
    assert torch.equal(x, before)  # the batch may be rows that are held on the device
    torch.testing.assert_close(out.target.sum(1), torch.ones(shape[0]))
    assert (out.target >= 0).all()
    assert out.weight is not None
    assert out.weight.shape == (shape[0],)


@pytest.mark.parametrize("part", PARTS)
def test_a_seed_decides_the_batch(part: Augment) -> None:
    x, given = batch((8, 1, 30, 40))
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(part(x, given, 0.0)[0])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_mixup_mixes_a_row_and_its_target_by_the_same_share() -> None:
    x = torch.eye(5)[:, None]  # row i is 1 at place i
    out, mixed = Mixup(alpha=1.0)(x, Batch(x, torch.eye(5), torch.arange(5.0)), 0.0)
    torch.testing.assert_close(out[:, 0], mixed.target)
    assert mixed.weight is not None
    torch.testing.assert_close(mixed.weight, mixed.target @ torch.arange(5.0))
    assert (mixed.target.diagonal() >= 0.5).all()
    assert (mixed.target.diagonal() < 1).any()


def test_mixup_of_a_signal_with_noise_is_a_signal() -> None:
    x, _ = batch((40, 1, 10), 2)
    positive = (torch.arange(40) % 2).float()
    given = Batch(x, torch.stack([1 - positive, positive], 1), None)
    _, out = Mixup(targets="max")(x, given, 0.0)
    assert set(out.target.unique().tolist()) == {0.0, 1.0}
    assert (out.target[:, 1] >= positive).all()
    assert out.target[:, 1].sum() > positive.sum()
    with pytest.raises(UserError, match="is for two classes, and there are 4"):
        Mixup(targets="max")(*batch((4, 1, 10)), 0.0)


def test_mixup_leaves_the_last_epochs_alone() -> None:
    x, given = batch((6, 1, 10))
    assert Mixup(until=0.8)(x, given, 0.8)[0] is x
    assert Mixup(until=0.8)(x, given, 0.79)[0] is not x


def test_specaugment_hides_whole_rows_and_columns_no_wider_than_asked() -> None:
    x = torch.ones(500, 1, 20, 30)
    out, _ = SpecAugment(row_share=0.25, column_share=0.2, p=0.5)(x, Batch(x, x[:, 0, 0, :2], None), 0.0)
    hidden = out[:, 0] == 0
    rows, columns = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert rows.max() == 5
    assert columns.max() == 6
    assert torch.equal(hidden, hidden.all(2)[:, :, None] | hidden.all(1)[:, None])
    untouched = (~hidden).all(2).all(1).float().mean()
    assert 0.5 < untouched < 0.6  # half of them, and those whose bands were drawn to be of no width
    everywhere = hidden.any(2).sum(0)
    assert (everywhere > 0).all()


def test_a_sequence_is_hidden_in_time_over_all_channels() -> None:
    x = torch.ones(50, 3, 40)
    out, _ = SpecAugment(column_share=0.3, value=-1.0)(x, Batch(x, x[:, 0, :2], None), 0.0)
    assert ((out == -1).any(1) == (out == -1).all(1)).all()
    assert (out == -1).any()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Mixup(alpha=0), "alpha=0 must be above 0"),
        (lambda: Mixup(until=0), "until=0 must lie above 0"),
        (lambda: Mixup(targets="sum"), "targets=sum is not one of mix, max"),  # type: ignore[arg-type]
        (lambda: SpecAugment(row_share=2), "row_share=2 must lie between 0 and 1"),
        (lambda: SpecAugment(columns=-1), "columns=-1 must be 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make()  # type: ignore[operator]
