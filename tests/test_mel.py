"""Mel spectrogram and MFCC against librosa, and the fitted halves around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.features.device.scaling import MinMax, Standardised
from bench.signal.mel import MFCC, MelSpectrogram, mel_filters, n_frames

RATE, SAMPLES = 44_100, 88_200
T = np.arange(SAMPLES) / RATE
RNG = np.random.default_rng(0)
SIGNALS: dict[str, Callable[[], np.ndarray]] = {
    "noise": lambda: 0.1 * RNG.standard_normal(SAMPLES),
    "loud noise": lambda: np.clip(RNG.standard_normal(SAMPLES), -1, 1),
    "tone": lambda: 0.5 * np.sin(2 * np.pi * 440 * T),
    "chirp": lambda: 0.3 * np.sin(2 * np.pi * (100 * T + 2500 * T**2)),
    "clicks": lambda: (np.arange(SAMPLES) % 7000 == 0) * 0.9,
    "quiet": lambda: 1e-4 * RNG.standard_normal(SAMPLES),
    "short among zeros": lambda: np.pad(0.2 * RNG.standard_normal(9000), (30_000, SAMPLES - 39_000)),
    "fading": lambda: np.exp(-4 * T) * np.sin(2 * np.pi * 1200 * T) + 1e-3 * RNG.standard_normal(SAMPLES),
    "silence": lambda: np.zeros(SAMPLES),
}


@cache
def signals() -> np.ndarray:
    """(N, T) int16, as the store has them."""
    return np.stack([np.rint(make() * 32767).astype(np.int16) for make in SIGNALS.values()])


def mel(**options: float) -> MelSpectrogram:
    settings = {"sample_rate": RATE, "n_fft": 2048, "hop": 512, "n_mels": 128, "scale": 2.0**-15} | options
    return MelSpectrogram(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rate", "n_fft", "n_mels"), [(44_100, 2048, 128), (32_000, 1024, 64), (16_000, 2048, 40)])
def test_the_filters_are_slaneys_triangles(rate: int, n_fft: int, n_mels: int) -> None:
    top = rate / 2  # 200 / 3 Hz a mel below 1 kHz, 27 mels for a factor of 6.4 above
    steps = np.linspace(0.0, 15 + 27 * np.log(top / 1000) / np.log(6.4), n_mels + 2)
    edges = np.where(steps < 15, steps * 200 / 3, 1000 * np.exp((steps - 15) * np.log(6.4) / 27))
    bins = np.linspace(0.0, top, 1 + n_fft // 2)
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    expected = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    np.testing.assert_allclose(mel_filters(rate, n_fft, n_mels), expected, rtol=1e-9, atol=1e-15)


def test_a_band_narrower_than_a_bin_is_empty_and_nothing_is_said_of_it() -> None:
    assert not mel_filters(44_100, 512, 128).any(axis=1).all()  # warnings are errors


def test_mfcc_are_librosas_to_two_thousandths() -> None:
    import librosa

    ours = MFCC(mel(), 128, 40)(torch.from_numpy(signals())).numpy()
    assert ours.shape == (len(SIGNALS), 40, 173)
    for name, x_t, mfcc in zip(SIGNALS, signals(), ours, strict=True):
        expected = librosa.feature.mfcc(y=x_t.astype(np.float32) / 32768, sr=RATE, n_mfcc=40)
        assert np.abs(mfcc - expected).max() < 2e-3, name


@pytest.mark.parametrize(("rate", "n_fft", "hop", "n_mels"), [(32_000, 1024, 320, 64), (44_100, 4096, 441, 96)])
def test_decibels_are_librosas(rate: int, n_fft: int, hop: int, n_mels: int) -> None:
    import librosa

    part = signals()[:, :40_001]
    ours = mel(sample_rate=rate, n_fft=n_fft, hop=hop, n_mels=n_mels)(torch.from_numpy(part)).numpy()
    assert ours.shape[2] == n_frames(40_001, hop)
    power = librosa.feature.melspectrogram(
        y=part.astype(np.float32) / 32768, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels
    )
    for own, theirs in zip(ours, power, strict=True):
        np.testing.assert_allclose(own, librosa.power_to_db(theirs), atol=5e-3)


def test_an_example_alone_is_as_in_its_batch_and_a_window_may_be_shorter_than_a_transform() -> None:
    front = mel()
    x = torch.from_numpy(signals())
    torch.testing.assert_close(front(x)[5:6], front(x[5:6]), rtol=0, atol=1e-4)
    assert front(x[:2, :700]).shape == (2, 128, 2)


def test_mixed_precision_leaves_the_decibels_alone() -> None:
    front = MFCC(mel(), 128, 40)
    x = torch.from_numpy(signals()[:2])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = front(x)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, front(x))


def test_fitted_rows_have_mean_0_and_spread_1_and_what_was_fitted_is_saved() -> None:
    half = Standardised(MFCC(mel(), 128, 40), 40)
    x = torch.from_numpy(np.stack([s for s in signals() if s.any()]))[:, None]
    half.fit([x[:3], x[3:]])
    y = half(x)
    assert y.shape == (len(x), 1, 40, 173)
    torch.testing.assert_close(y.mean((0, 1, 3)), torch.zeros(40), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.std((0, 1, 3)), torch.ones(40), atol=1e-3, rtol=0)
    assert set(half.state_dict()) == {"mean", "std"}
    again = Standardised(MFCC(mel(), 128, 40), 40)
    again.load_state_dict(half.state_dict())
    torch.testing.assert_close(again(x), y)


def test_rows_that_never_change_are_not_blown_up() -> None:
    half = Standardised(mel(), 128)
    half.fit([torch.zeros(2, 1, 9000, dtype=torch.int16)])
    assert torch.equal(half(torch.zeros(1, 1, 9000, dtype=torch.int16)), torch.zeros(1, 1, 128, 18))


def test_extremes_go_to_one_half_as_the_write_up_has_it() -> None:
    def written_up(data: np.ndarray) -> np.ndarray:
        return (data - np.min(data)) / (np.max(data) - np.min(data) + 1e-6) - 0.5

    x = torch.from_numpy(signals())[:, None]
    kept = x.clone()
    y: Tensor = MinMax(2.0**-15)(x)
    assert torch.equal(x, kept)
    for own, x_t in zip(y[:, 0].numpy(), signals(), strict=True):
        np.testing.assert_allclose(own, written_up(x_t.astype(np.float64) / 32768), atol=1e-6)
    assert y.dtype == torch.float32
