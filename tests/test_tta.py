"""Views of a row at test time: which there are, that their mean is predicted, and that one view stands beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from bench.augment.gaussian_noise import GaussianNoise
from bench.augment.mixup import Mixup
from bench.crossval.run import cross_validate
from bench.data.batches import Batches
from bench.data.joined import InMemory
from bench.features.device.cast import ToFloat32
from bench.features.heartbeat_spectrogram import HeartbeatSpectrogram
from bench.features.heartbeat_waveform import HeartbeatWaveform
from bench.spec import UserError
from bench.training.inference import averaged, logits, probabilities
from bench.training.tta import PLAIN, Crops, Flips, Random, View
from conftest import Composed

SEQUENCE, IMAGE = HeartbeatWaveform(), HeartbeatSpectrogram()


class Sided(HeartbeatSpectrogram):
    """Features whose channels are sides."""

    def mirrored(self, x: Tensor) -> Tensor:
        return x.roll(1, dims=1)


class Head(nn.Module):
    """Logits that any change of the input shows in."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return torch.stack([flat @ torch.arange(flat.shape[1]).float(), flat[:, 0]], 1) / 10


def rows(shape: tuple[int, ...]) -> Batches:
    torch.manual_seed(0)
    x = torch.randn(5, *shape).numpy()
    return Batches(InMemory(x), np.arange(5), np.zeros((5, 2), np.float32), None, torch.device("cpu"))


def predicted(side: Batches, view: View) -> np.ndarray:
    return probabilities(logits(Head(), ToFloat32(), side, 2, "float32", view))


def test_two_flips_make_four_views_of_which_the_first_is_plain() -> None:
    side = rows((1, 4, 6))
    views = Flips(["vertical", "horizontal"]).views(IMAGE, [])
    each = [predicted(side, view) for view in views]
    assert len(each) == 4
    np.testing.assert_array_equal(each[0], predicted(side, PLAIN))
    x = torch.from_numpy(side.store.gather(np.arange(5)))
    for one, flipped in zip(each, (x, x.flip(-1), x.flip(-2), x.flip(-2, -1)), strict=True):
        np.testing.assert_allclose(one, probabilities(Head()(flipped)), rtol=1e-4)
    mean = averaged(Head(), ToFloat32(), side, 2, "float32", views, lambda view: view)
    np.testing.assert_allclose(mean, np.mean(each, axis=0))


def test_the_sides_are_swapped_in_what_is_stored() -> None:
    side = rows((2, 4, 6))
    views = Flips(["left_right"]).views(Sided(), [])
    x = torch.from_numpy(side.store.gather(np.arange(5)))
    np.testing.assert_allclose(predicted(side, views[1]), probabilities(Head()(x.roll(1, dims=1))), rtol=1e-4)


def test_random_views_differ_by_seed_alone_and_mix_no_rows() -> None:
    side = rows((1, 30))
    views = Random(n=3).views(SEQUENCE, [GaussianNoise(p=1.0), Mixup()])
    assert [len(view.changes) for view in views] == [1, 1, 1]

    def mean(first: int) -> np.ndarray:
        return averaged(Head(), ToFloat32(), side, 2, "float32", views, lambda view: first + view)

    np.testing.assert_array_equal(mean(1), mean(1))
    assert not np.array_equal(mean(1), mean(2))
    assert not np.array_equal(mean(1), predicted(side, PLAIN))


def test_crops_lie_evenly_and_inside() -> None:
    shares = [view.share for view in Crops(n=4).views(SEQUENCE, [])]
    assert shares == [0.125, 0.375, 0.625, 0.875]
    assert [view.share for view in Crops(n=3).views(SEQUENCE, [])][1] == PLAIN.share


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Flips([]), "must name some of vertical, horizontal, left_right"),
        (lambda: Flips(["up"]), "must name some of"),
        (lambda: Flips(["left_right"]).views(IMAGE, []), "features that know the sides of a head"),
        (lambda: Flips(["vertical"]).views(SEQUENCE, []), "vertical is for images"),
        (lambda: Crops(n=1), "must be 2 or more"),
        (lambda: Random(n=2).views(IMAGE, [Mixup()]), "which changes no row; name some in augment="),
    ],
)
def test_views_that_there_are_not_are_refused(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make()


@pytest.mark.usefixtures("one_process")
@pytest.mark.slow
def test_the_score_of_one_view_stands_beside_that_of_many(small: Callable[..., Composed], tmp_path: Path) -> None:
    one = cross_validate(*small())
    many = cross_validate(*small("tta=flips"))
    assert one.scores is not None
    assert many.scores is not None
    assert one.scores.without_tta is None
    assert many.scores.without_tta is not None
    assert many.scores.without_tta.oof == one.scores.oof  # the training was the same
    assert many.scores.without_tta.folds == one.scores.folds
    assert many.scores.oof != one.scores.oof
    frames = [pd.read_parquet(outcome.run.folder / "oof.parquet") for outcome in (one, many)]
    columns = [c for c in frames[1] if c.startswith("plain_")]
    np.testing.assert_array_equal(frames[1][columns], frames[0][[c.replace("plain", "pred") for c in columns]])


@pytest.mark.usefixtures("one_process")
@pytest.mark.slow
def test_two_seeds_that_predict_the_same_bits_are_named(
    small: Callable[..., Composed], capsys: pytest.CaptureFixture[str]
) -> None:
    still = ["optimizer.lr=0", "train.epochs=1", "init_from={}"]
    source = cross_validate(*small("train.epochs=1")).run.folder
    first = cross_validate(*small(*(o.format(source) for o in still), "seed=1"))
    assert "predicts the same" not in capsys.readouterr().err
    second = cross_validate(*small(*(o.format(source) for o in still), "seed=2"))
    assert f"{first.run.folder} predicts the same to the last bit with another seed" in capsys.readouterr().err
    assert first.scores is not None
    assert second.scores is not None
    assert first.scores.group == second.scores.group
    assert first.run.folder != second.run.folder
