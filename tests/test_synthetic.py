"""Rows made up of training rows: deterministic, of their class, no more than asked for, and told apart in a picture."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.atomic import write_json
from bench.metrics import KL
from bench.report import figures, plots
from bench.spec import UserError
from bench.synthetic import base
from bench.synthetic.base import Way, by_class, examples
from bench.synthetic.gan import Discriminator, Gan, Generator
from bench.synthetic.smote import Smote
from fake_run import write_run

QUICK = {"epochs": 2, "batch_size": 8}
WAYS: dict[str, Callable[[], Way]] = {"smote": Smote, "gan": lambda: Gan(**QUICK)}
SIZES = (40, 12, 5)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def beats(sizes: tuple[int, ...] = SIZES, length: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 1, length) in [0, 1], a bump a class at a place of its own, in mixed order; one-hot targets."""
    rng = np.random.default_rng(seed)
    of = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    at = (of + 0.5) * length / len(sizes) + rng.normal(0, 0.5, len(of))
    x = np.exp(-0.1 * (np.arange(length) - at[:, None]) ** 2) * rng.uniform(0.6, 1, len(of))[:, None]
    return x[:, None].astype(np.float32), np.eye(len(sizes), dtype=np.float32)[of]


def counts(target: np.ndarray) -> list[int]:
    assert set(np.unique(target)) <= {0, 1}
    np.testing.assert_array_equal(target.sum(1), 1)
    return [int(n) for n in target.sum(0)]


@pytest.mark.parametrize("way", WAYS)
def test_the_seed_decides_what_is_made_and_the_callers_random_state_stays(way: str) -> None:
    x, target = beats()
    before = x.copy(), target.copy(), torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    (a, a_of), (b, b_of), (c, _) = (WAYS[way]()(x, target, seed) for seed in (1 << 62, 1 << 62, 7))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a_of, b_of)
    assert not np.array_equal(a, c)
    assert torch.equal(before[2], torch.get_rng_state())
    np.testing.assert_array_equal(before[3], np.random.get_state()[1])  # type: ignore[index] # noqa: NPY002
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(target, before[1])
    torch.manual_seed(123)  # nor does it decide anything
    np.testing.assert_array_equal(WAYS[way]()(x, target, 7)[0], c)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(20,), (1, 20), (4, 5), (2, 2, 5)])
def test_rows_of_any_shape_come_back_in_it(way: str, shape: tuple[int, ...]) -> None:
    x, target = beats()
    made, of = WAYS[way]()(x.reshape(-1, *shape), target, 0)
    assert made.shape[1:] == shape
    assert made.dtype == of.dtype == np.float32
    assert len(made) == len(of) > 0
    np.testing.assert_array_equal(made.reshape(len(made), 20), WAYS[way]()(x, target, 0)[0].reshape(len(made), 20))


@pytest.mark.parametrize("way", WAYS)
def test_a_row_that_says_nothing_clearly_is_not_used(way: str) -> None:
    """Its numbers are all 1, which none of the others' comes near in most places: whatever it touched would show."""
    x, target = beats()
    more = np.concatenate([x, np.ones((3, 1, 20), np.float32)])
    unsure = np.concatenate([target, np.full((3, 3), 1 / 3, np.float32)])
    np.testing.assert_array_equal(WAYS[way]()(more, unsure, 4)[0], WAYS[way]()(x, target, 4)[0])


@pytest.mark.parametrize("way", WAYS)
def test_no_rows_at_all_make_none(way: str) -> None:
    x, target = beats()
    made, of = WAYS[way]()(x[:0], target[:0], 0)
    assert made.shape == (0, 1, 20)
    assert of.shape == (0, 3)
    made, of = WAYS[way]()(x, np.full_like(target, 0.3), 0)
    assert len(made) == len(of) == 0


# SMOTE


@pytest.mark.parametrize(("share", "new"), [(1.0, [0, 28, 35]), (0.5, [0, 8, 15]), (0.2, [0, 0, 3])])
def test_smote_fills_every_class_up_to_a_share_of_the_largest(share: float, new: list[int]) -> None:
    way = Smote(share=share)
    assert counts(way(*beats(), 0)[1]) == new
    assert way.notes == []


def test_a_smote_row_lies_between_two_neighbours_of_its_class() -> None:
    x, target = beats()
    made, of = Smote(k_neighbors=3)(x, target, 1)
    for row, k in zip(made.reshape(len(made), -1).astype(np.float64), of.argmax(1), strict=True):
        own = x[target.argmax(1) == k].reshape(-1, 20).astype(np.float64)
        apart = np.linalg.norm(own[:, None] - own[None], axis=-1)
        detour = np.linalg.norm(own - row, axis=1)[:, None] + np.linalg.norm(own - row, axis=1)[None] - apart
        np.fill_diagonal(detour, np.inf)
        near = np.argsort(apart, axis=1)[:, 1:4]
        assert min(detour[a, b] for a in range(len(own)) for b in near[a]) < 1e-5


def test_a_class_of_few_rows_takes_the_neighbours_it_has_and_one_of_a_single_row_is_named() -> None:
    x, target = beats((30, 3, 2, 1))
    way = Smote()
    made, of = way(x, target, 0)
    assert counts(of) == [0, 27, 28, 0]
    assert way.notes == ["SMOTE made none of class 3 (from 0): a single row has no neighbour"]
    pair = x[target.argmax(1) == 2][:, 0]
    line = made[of.argmax(1) == 2][:, 0]
    assert (line >= pair.min(0) - 1e-6).all()
    assert (line <= pair.max(0) + 1e-6).all()
    way(*beats(), 0)
    assert way.notes == []  # of the last call alone


# GAN


def test_generator_and_discriminator_have_the_write_ups_parameters() -> None:
    def size(net: torch.nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    # Linear layers 64 → 128 → 256 → 512 → 1024 → 205 and two numbers a normalised feature; 205 → 512 → 256 → 1.
    assert size(Generator(64, 205)) == 8_320 + 33_024 + 131_584 + 525_312 + 210_125 + 2 * (256 + 512 + 1024) == 911_949
    assert size(Discriminator(205)) == 105_472 + 131_328 + 257 == 237_057
    assert {m.eps for m in Generator(64, 205).modules() if isinstance(m, torch.nn.BatchNorm1d)} == {0.8}


@pytest.mark.parametrize(("share", "new"), [(0.5, [20, 6, 2]), (0.1, [4, 1, 0]), (2.0, [80, 24, 10])])
def test_a_gan_makes_a_share_of_every_class(share: float, new: list[int]) -> None:
    way = Gan(share=share, **QUICK)
    assert counts(way(*beats(), 0)[1]) == new


def test_a_class_too_small_for_a_gan_is_named_and_one_row_left_over_does_not_end_it() -> None:
    way = Gan(share=1.0, epochs=1, batch_size=4)
    made, of = way(*beats((9, 4, 3)), 0)  # nine rows: batches of 4, 4 and 1
    assert counts(of) == [9, 4, 0]
    assert way.notes == ["GAN made none of class 2 (from 0): 3 rows are too few to learn"]
    assert np.isfinite(made).all()


def test_a_gan_works_in_the_units_of_its_rows() -> None:
    """A map of all rows onto [-1, 1] and back: rows ten thousand times as large give the same, as much larger."""
    x, target = beats()
    plain = Gan(**QUICK)(2 * (x - x.min()) / (x.max() - x.min()) - 1, target, 3)[0]
    large = Gan(**QUICK)(1e4 * x + 500, target, 3)[0]
    low, high = 1e4 * x.min() + 500, 1e4 * x.max() + 500
    np.testing.assert_allclose(2 * (large - low) / (high - low) - 1, plain, atol=1e-2)
    assert large.max() > 2000
    np.testing.assert_array_equal(Gan(**QUICK)(np.full_like(x, 7), target, 0)[0], 7)


def test_a_gan_learns_where_its_classes_lie() -> None:
    x, target = beats((120, 120), length=16)
    made, of = Gan(epochs=25, share=0.5)(x, target, 0)
    means = np.stack([x[target[:, k] == 1].mean(0) for k in range(2)])
    away = np.linalg.norm((made[:, None] - means[None]).reshape(len(made), 2, -1), axis=-1)
    assert (away.argmin(1) == of.argmax(1)).mean() > 0.9
    assert not np.array_equal(made[0], made[1])


def test_a_rate_that_ends_in_nan_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"made NaN of class 0 .* smaller synthetic\.lr"):
        Gan(epochs=3, batch_size=8, lr=1e38)(*beats(), 0)


# Both


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Smote(k_neighbors=0), r"synthetic\.k_neighbors=0 must be 1"),
        (lambda: Smote(share=0), r"synthetic\.share=0 must be above 0"),
        (lambda: Smote(share=1.5), r"synthetic\.share=1\.5 must be above 0 and at most 1"),
        (lambda: Gan(epochs=0), r"synthetic\.epochs=0 must be 1"),
        (lambda: Gan(batch_size=1), r"synthetic\.batch_size=1 must be 2"),
        (lambda: Gan(latent=0), r"synthetic\.latent=0 must be 1"),
        (lambda: Gan(lr=0), r"synthetic\.lr=0 must be above 0"),
        (lambda: Gan(share=-1), r"synthetic\.share=-1 must be above 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(make: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()


@pytest.mark.parametrize("way", [*WAYS])
def test_rows_that_would_fill_the_memory_are_refused_before_they_are_copied(way: str) -> None:
    x = np.broadcast_to(np.float32(0), (60, 6, 1 << 22))  # 6 GB as float32, and four bytes here
    target = np.eye(2, dtype=np.float32)[(np.arange(60) < 20).astype(int)]
    with pytest.raises(UserError, match=f"synthetic={way} would hold .* more than 4 GB; leave synthetic out"):
        WAYS[way]()(x, target, 0)


def test_rows_made_count_among_what_has_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    x, target = beats()
    monkeypatch.setattr(base, "MOST", 4 * 20 * 119)
    with pytest.raises(UserError, match="would hold 120 rows of 20 numbers"):
        Smote()(x, target, 0)
    monkeypatch.setattr(base, "MOST", 4 * 20 * 120)
    assert len(Smote()(x, target, 0)[0]) == 63


def test_a_class_is_its_rows_of_half_and_more() -> None:
    target = np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]], np.float32)
    assert {k: rows.tolist() for k, rows in by_class(target).items()} == {0: [0], 1: [2], 2: [3]}


def test_examples_show_what_was_made_beside_what_is_real() -> None:
    x, target = beats((40, 12, 5))
    made, of = Smote(share=0.5)(x, target, 0)
    shown, names = examples(x, target, made, of, ("a", "b", "c"))
    assert names == ["b", "c"]
    assert shown.shape == (2, 2, 8, 1, 20)
    real = {row.tobytes() for row in x[target.argmax(1) == 1]}
    new = {row.tobytes() for row in made[of.argmax(1) == 1]}
    assert len({row.tobytes() for row in shown[0, 0]} & real) == 8
    assert {row.tobytes() for row in shown[0, 1]} <= new
    assert np.isfinite(shown[1, 0, :5]).all()  # class c has five
    assert np.isnan(shown[1, 0, 5:]).all()


def test_of_many_classes_those_are_shown_of_which_most_was_made() -> None:
    x, target = beats((30, *range(3, 13)))
    made, of = Smote()(x, target, 0)
    shown, names = examples(x, target, made, of, tuple("abcdefghijk"))
    assert names == list("bcdefghi")
    assert len(shown) == 8


def test_nothing_made_is_nothing_to_show(tmp_path: Path) -> None:
    x, target = beats((5, 5))
    way: Way = Smote()
    shown, names = examples(x, target, *way(x, target, 0), ("a", "b"))
    assert names == []
    assert drawn(tmp_path, shown, names) == []


def drawn(folder: Path, shown: np.ndarray, names: list[str], **more: Any) -> list[Path]:
    """The pictures of a run whose second fold has such examples."""
    run = write_run(folder, finished=0, epochs=1, **more)  # nothing else to draw
    run.fold(1).folder.mkdir(exist_ok=True)
    np.save(run.fold(1).folder / "synthetic_examples.npy", shown)
    write_json(run.fold(1).folder / "synthetic_examples.json", {"classes": names, "way": "smote"})
    return figures.save(plots.drawings(run, KL, None), run.folder / "plots", plots.title(run), run.inputs.simulated)


@pytest.mark.parametrize("shape", [(300,), (1, 20), (8, 50), (40, 50), (3, 20, 30)])
def test_a_run_has_a_picture_of_sequences_and_of_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    shown = np.random.default_rng(0).normal(size=(2, 2, 3, *shape)).astype(np.float32)
    shown[1, 1, 2:] = np.nan
    shown[0, 0] = 1  # all one number
    (picture,) = drawn(tmp_path, shown, ["$x_1", "日本語" * 9])
    assert picture.name == "synthetic.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_simulated_rows_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    saved: list[Figure] = []
    monkeypatch.setattr(figures, "replacing", contextlib.nullcontext)
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: saved.append(self))
    drawn(tmp_path, np.zeros((1, 2, 8, 1, 20), np.float32), ["a"], simulated=True)
    assert "simulated data" in [text.get_text() for text in saved[0].texts]
    assert saved[0].get_supxlabel() == "Rows made by smote below real ones, fold 1"
    drawn(tmp_path, np.zeros((1, 2, 8, 1, 20), np.float32), ["a"], identity="ab" * 6)
    assert "simulated data" not in [text.get_text() for text in saved[1].texts]


def test_a_gan_makes_a_fixed_number_of_rows_of_every_class_that_it_can_learn() -> None:
    x, target = beats((40, 12, 3))
    _, made = Gan(**QUICK, rows=17)(x, target, 0)
    assert counts(made) == [17, 17, 0]
    with pytest.raises(UserError, match=r"synthetic.rows=0 must be 1 or more"):
        Gan(rows=0)
