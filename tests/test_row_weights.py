"""Row weights by stage of the training: checked labels last, many votes last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from bench.data.batches import Batches
from bench.data.joined import InMemory
from bench.data.row_weights import RowWeights, high_votes_last, verified
from bench.datasets.freesound import Freesound
from bench.spec import UserError

VOTES = pd.DataFrame({"votes": [1, 3, 9, 10, 12, 20]})
CHECKED = pd.DataFrame({"verified": [True, False, True, False, False, False]})


def drawn(rows: pd.DataFrame, weights: RowWeights, epoch: int, balanced: bool = False) -> list[int]:
    """The rows of an epoch (of 4), as a fold draws them."""
    n = len(rows)
    target = np.eye(2, dtype=np.float32)[np.arange(n) % 2]
    numbers = InMemory(np.arange(n, dtype=np.float32)[:, None])
    side = Batches(numbers, np.arange(n), target, None, torch.device("cpu"), balanced=balanced)
    weighted = side.weighted(weights(rows, epoch, 4))
    return sorted({int(v) for batch in weighted.shuffled(4, (0, epoch)) for v in batch.x.flatten()})


def test_from_half_of_the_training_on_rows_of_few_votes_are_not_drawn() -> None:
    assert drawn(VOTES, high_votes_last, 0) == drawn(VOTES, high_votes_last, 1) == list(range(6))
    assert drawn(VOTES, high_votes_last, 2) == drawn(VOTES, high_votes_last, 3) == [3, 4, 5]
    assert set(drawn(VOTES, high_votes_last, 3, balanced=True)) <= {3, 4, 5}
    np.testing.assert_array_equal(high_votes_last(VOTES, 2, 5), 1)  # half of 5 epochs is not over yet


def test_votes_and_switch_are_ones_own() -> None:
    assert high_votes_last(VOTES, 3, 4, at_least=12, start=0.75).tolist() == [0, 0, 0, 0, 1, 1]
    assert high_votes_last(VOTES, 2, 4, at_least=12, start=0.75).tolist() == [1] * 6


def test_unverified_rows_count_what_their_stage_says() -> None:
    assert verified(CHECKED, 0, 4).tolist() == [1] * 6
    np.testing.assert_allclose(verified(CHECKED, 2, 4), [1, 0.3, 1, 0.3, 0.3, 0.3])
    np.testing.assert_allclose(verified(CHECKED, 3, 4, factors=[0.5], starts=[0]), [1, 0.5, 1, 0.5, 0.5, 0.5])


def test_unverified_rows_of_factor_zero_are_not_drawn() -> None:
    def last(rows: pd.DataFrame, epoch: int, epochs: int) -> np.ndarray:
        return verified(rows, epoch, epochs, factors=[1, 0])

    assert drawn(CHECKED, last, 1) == list(range(6))
    assert drawn(CHECKED, last, 2) == [0, 2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"factors": [1, 0.5, 0]}, "must hold 2 numbers"),
        ({"starts": [0.5, 0]}, "must ascend"),
        ({"starts": [0.1, 0.5]}, "begin with 0"),
        ({"factors": [], "starts": []}, "begin with 0"),
        ({"factors": [1, -1]}, "0 or more"),
    ],
)
def test_verified_refuses_what_it_cannot_mean(options: dict[str, list[float]], says: str) -> None:
    with pytest.raises(UserError, match=says):
        verified(CHECKED, 0, 4, **options)


@pytest.mark.parametrize("start", [0, 1, 1.5])
def test_a_switch_outside_the_training_is_refused(start: float) -> None:
    with pytest.raises(UserError, match=r"row_weights\.start=.* between 0 and 1"):
        high_votes_last(VOTES, 0, 4, start=start)


def test_a_table_without_the_column_is_told_so() -> None:
    with pytest.raises(UserError, match=r"row_weights=verified needs the column verified.*leave row_weights out"):
        verified(VOTES, 0, 4)
    with pytest.raises(UserError, match="row_weights=high_votes_last needs the column votes"):
        high_votes_last(CHECKED, 0, 4)


@pytest.mark.parametrize("header", ["fname,label,manually_verified", "fname,label"])
def test_freesounds_table_says_whose_label_was_checked(tmp_path: Path, header: str) -> None:
    (tmp_path / "audio_train").mkdir()
    rows = ["a.wav,Meow,1", "b.wav,Bark,0", "c.wav,Bark,1"]
    fields = header.count(",") + 1
    lines = [header, *(",".join(row.split(",")[:fields]) for row in rows)]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    for name in "abc":
        soundfile.write(tmp_path / f"audio_train/{name}.wav", np.ones(50, np.int16), 44_100)
    table = Freesound(tmp_path).table("train")
    if fields == 3:
        assert table["verified"].tolist() == [True, False, True]
        assert "weight" not in table
    else:
        assert "verified" not in table
