"""Balanced batches: as many rows of each class, whatever the table's shares."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from bench.data.batches import Batch, Batches
from bench.data.joined import InMemory
from bench.data.ranges import cut

CPU = torch.device("cpu")
MANY = [0] * 60 + [1] * 7 + [3] * 20  # class 2 is absent


def side(classes: list[int], balanced: bool = True, **more: np.ndarray) -> Batches:
    """Rows that hold their own number, of the classes given."""
    n = len(classes)
    target = np.eye(4, dtype=np.float32)[classes]
    weight = more.pop("weight", None)
    rows = InMemory(np.arange(n, dtype=np.float32)[:, None])
    return Batches(rows, np.arange(n), target, weight, CPU, balanced=balanced, **more)  # type: ignore[arg-type]


def drawn(rows: Batches, batch_size: int = 8, epoch: int = 0) -> list[list[int]]:
    """The rows' numbers, batch by batch."""
    return [[int(v) for v in batch.x.flatten()] for batch in rows.shuffled(batch_size, (5, epoch))]


def even(counts: Counter[int], classes: set[int]) -> bool:
    found = [counts[k] for k in classes]
    return set(counts) <= classes and max(found) - min(found) <= 1


@pytest.mark.parametrize("batch_size", [1, 2, 8, 30, 43, 86, 200])
def test_an_epoch_and_every_batch_hold_as_many_of_each_class(batch_size: int) -> None:
    rows = side(MANY)
    for epoch in range(3):
        batches = drawn(rows, batch_size, epoch)
        assert [len(b) for b in batches] == [b - a for a, b in cut(len(MANY), batch_size)]
        assert len(batches) == rows.n_batches(batch_size)
        assert all(even(Counter(MANY[i] for i in batch), {0, 1, 3}) for batch in batches)
        assert even(Counter(MANY[i] for batch in batches for i in batch), {0, 1, 3})


def test_rare_rows_repeat_equally_often_and_common_ones_not_at_all() -> None:
    times = Counter(i for batch in drawn(side(MANY)) for i in batch)
    by_class = {k: [times[i] for i, c in enumerate(MANY) if c == k] for k in (0, 1, 3)}
    assert sum(by_class[0]) == sum(by_class[1]) == sum(by_class[3]) == 29
    assert set(by_class[0]) == {0, 1}
    assert set(by_class[1]) == {4, 5}
    assert set(by_class[3]) == {1, 2}


def test_over_epochs_every_common_row_has_its_turn() -> None:
    rows = side(MANY)
    seen = {i for epoch in range(12) for batch in drawn(rows, epoch=epoch) for i in batch}
    assert seen == set(range(len(MANY)))


def test_the_seed_alone_decides_the_order() -> None:
    rows, again = side(MANY), side(MANY)
    assert drawn(rows, epoch=3) == drawn(again, epoch=3)
    drawn(rows, epoch=1)
    assert drawn(rows, epoch=3) == drawn(again, epoch=3)
    assert drawn(rows, epoch=3) != drawn(rows, epoch=4)


def test_classes_are_mixed_within_a_batch() -> None:
    order = [MANY[i] for i in drawn(side(MANY), 87)[0]]
    after = {k: {b for a, b in pairwise(order) if a == k} for k in (0, 1, 3)}
    assert all(found == {0, 1, 3} for found in after.values())


def test_a_row_of_weight_zero_is_not_drawn_and_its_class_may_leave() -> None:
    weight = np.ones(len(MANY), np.float32)
    weight[60:64] = 0
    rows = side(MANY, weight=weight)
    times = Counter(i for batch in drawn(rows) for i in batch)
    assert not {60, 61, 62, 63} & set(times)
    assert sum(times[i] for i in (64, 65, 66)) in (27, 28)  # 83 examples over three classes
    weight[60:67] = 0
    rows = rows.weighted(weight)
    assert {MANY[i] for batch in drawn(rows) for i in batch} == {0, 3}
    rows = rows.weighted(None)
    assert {MANY[i] for batch in drawn(rows) for i in batch} == {0, 1, 3}


def test_the_mean_weight_is_that_of_the_rows_drawn() -> None:
    """The loop divides each batch's mean by it: over an epoch, rows count by their weight and no more."""
    weight = np.where(np.array(MANY) == 1, 4.0, 0.5).astype(np.float32)
    rows = side(MANY, weight=weight)
    epoch = rows.shuffled(8, (0, 1))
    batches: list[Batch] = list(epoch)
    assert all(batch.weight is not None for batch in batches)
    assert epoch.mean_weight == pytest.approx(float(torch.cat([b.weight for b in batches]).mean()))  # type: ignore[misc]
    assert epoch.mean_weight == pytest.approx((4 + 0.5 + 0.5) / 3)
    assert rows.weighted(None).shuffled(8, (0, 1)).mean_weight == 1
    assert rows.shuffled(8, (0, 1)).mean_weight == epoch.mean_weight  # other weights elsewhere change nothing here


def test_rows_of_one_example_take_turns_in_a_balanced_epoch_too() -> None:
    classes = [0] * 10 + [1] * 6  # ten examples of class 0, two of class 1 with three rows each
    example = np.array([*range(10), 10, 10, 10, 11, 11, 11])
    rows = side(classes, example=example)
    seen: set[int] = set()
    for epoch in range(20):
        times = Counter(i for batch in drawn(rows, 4, epoch) for i in batch)
        assert sum(times.values()) == 12
        by_example = Counter(int(example[i]) for i in times.elements())
        assert (by_example[10], by_example[11]) == (3, 3)
        assert max(by_example[i] for i in range(10)) == 1
        seen |= set(times)
    assert seen == set(range(16))


def test_sub_records_that_disagree_stand_for_each_of_their_classes() -> None:
    rows = side([0, 1, 3, 0, 1], example=np.zeros(5, np.int64))  # one example: one row an epoch
    seen = {drawn(rows, 4, epoch)[0][0] for epoch in range(60)}
    assert all(len(drawn(rows, 4, epoch)[0]) == 1 for epoch in range(5))
    assert seen == {0, 1, 2, 3, 4}


def test_soft_targets_go_with_their_largest_share() -> None:
    target = np.array([[0.5, 0.3, 0.2]] * 9 + [[0.1, 0.2, 0.7]], np.float32)
    rows = Batches(InMemory(np.arange(10, dtype=np.float32)[:, None]), np.arange(10), target, None, CPU, balanced=True)
    assert Counter(i for batch in drawn(rows, 5) for i in batch)[9] == 5


def test_without_it_the_order_is_what_it_was() -> None:
    """Every row once, as numpy permutes them by the seed: runs of before go on to the same bits."""
    rows = side(MANY, balanced=False)
    assert [i for batch in drawn(rows, 8, 2) for i in batch] == np.random.default_rng((5, 2)).permutation(87).tolist()


def test_validation_stays_as_the_table_has_it() -> None:
    assert [int(v) for batch in side(MANY).in_order(10) for v in batch.x.flatten()] == list(range(87))
