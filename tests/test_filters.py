from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, lfilter

from bench.signal import filters
from bench.signal.filters import lowpass_decimate


def reference(x: np.ndarray, cutoff: float, rate: float, order: int, factor: int) -> np.ndarray:
    return lfilter(*butter(order, cutoff, fs=rate), x)[..., ::factor]


def signals(t: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "square wave at the clip": 32 * np.sign(rng.normal(size=(8, t))),
        "noise": np.clip(20 * rng.normal(size=(8, t)), -32, 32),
        "constant at the clip": np.full((8, t), 32.0),
    }


@pytest.mark.parametrize("name", signals(1))
def test_equals_the_recursion_in_float64_on_the_write_ups_settings(name: str) -> None:
    x = signals(10_000)[name].astype(np.float32)
    y = lowpass_decimate(x, cutoff=20, rate=200, order=4, factor=5)
    assert y.dtype == np.float32
    assert y.shape == (8, 2000)
    assert np.abs(y - reference(x.astype(np.float64), 20, 200, 4, 5)).max() < 1e-5


@pytest.mark.parametrize("t", [1, 2, 5, 84, 85, 86, 170, 171, 9_999])
@pytest.mark.parametrize("factor", [1, 3, 5])
def test_any_length_and_factor_gives_every_factor_th_sample(t: int, factor: int) -> None:
    x = signals(t)["noise"].astype(np.float32)
    y = lowpass_decimate(x, 20, 200, 4, factor)
    assert y.shape == (8, -(-t // factor))
    assert np.abs(y - reference(x.astype(np.float64), 20, 200, 4, factor)).max() < 1e-5


@pytest.mark.parametrize(("cutoff", "order"), [(30, 4), (5, 4), (40, 2), (1, 4), (0.5, 4)])
def test_other_cutoffs_and_orders_agree_too(cutoff: float, order: int) -> None:
    x = signals(5_000)["noise"].astype(np.float32)
    y = lowpass_decimate(x, cutoff, 200, order, 5)
    assert np.abs(y - reference(x.astype(np.float64), cutoff, 200, order, 5)).max() < 1e-5


def test_a_filter_that_remembers_too_long_runs_as_a_recursion() -> None:
    assert filters._toeplitz(1.0, 200.0, 4, 5) is None
    assert filters._toeplitz(20.0, 200.0, 4, 5) is not None


def test_it_is_causal() -> None:
    x = signals(1_000)["noise"].astype(np.float32)
    later = x.copy()
    later[:, 500:] += 10
    before, after = (lowpass_decimate(v, 20, 200, 4, 5) for v in (x, later))
    assert np.array_equal(before[:, :100], after[:, :100])
    assert (before[:, 100:] != after[:, 100:]).any()


def test_the_input_is_left_as_it_was() -> None:
    x = signals(100)["noise"].astype(np.float32)
    kept = x.copy()
    lowpass_decimate(x, 20, 200, 4, 5)
    assert np.array_equal(x, kept)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cutoff": 100}, "half of the rate"),
        ({"cutoff": 0}, "between 0"),
        ({"order": 0}, "order=0"),
        ({"factor": 0}, "factor=0"),
    ],
)
def test_settings_that_make_no_filter_are_refused(change: dict[str, float], says: str) -> None:
    settings = {"cutoff": 20, "rate": 200, "order": 4, "factor": 5} | change
    with pytest.raises(ValueError, match=says):
        lowpass_decimate(np.zeros((1, 10), np.float32), **settings)  # type: ignore[arg-type]
