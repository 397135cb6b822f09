"""The heartbeat's pictures: scalogram and spectrogram against plain computations, and what the edges do to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal as scipys

from bench.data import store
from bench.datasets.heartbeat import Heartbeat
from bench.features.heartbeat_scalogram import HeartbeatScalogram
from bench.features.heartbeat_spectrogram import HeartbeatSpectrogram
from bench.features.heartbeat_waveform import HeartbeatWaveform
from bench.signal.time_frequency import OMEGA_0, Scalogram, Spectrogram, frequencies, mirrored, quick_length
from bench.simulators.heartbeat import beats
from bench.spec import UserError

TOP_DB = 40.0
Image = type[HeartbeatScalogram] | type[HeartbeatSpectrogram]
IMAGES: list[Image] = [HeartbeatScalogram, HeartbeatSpectrogram]


class Beats:
    """As much of a data set as a feature asks for."""

    classes = ("0", "1")

    def __init__(self, length: int) -> None:
        self.length = length


def x_of(length: int, n: int = 4) -> torch.Tensor:
    """(N, T) simulated beats, their tails of zeros included."""
    return torch.from_numpy(beats(n, length, np.random.default_rng(length))[1].astype(np.float32))


def cut_off(magnitude: np.ndarray) -> np.ndarray:
    return np.maximum(20 * np.log10(np.maximum(magnitude / magnitude.max(), 1e-20)), -TOP_DB)


@pytest.mark.parametrize("length", [140, 205, 61])
def test_the_scalogram_is_a_convolution_with_morlet_wavelets(length: int) -> None:
    lowest, highest, n = 3.0, 0.25, 9
    ours = Scalogram(n, lowest, highest, TOP_DB)(x_of(length)).numpy()
    assert ours.shape == (4, n, length)
    period = quick_length(2 * length)
    for x, picture in zip(x_of(length).double(), ours, strict=True):
        # as many periods on both sides as the longest wavelet reaches
        around = np.tile(mirrored(x[None], period).numpy()[0], 9)
        rows = []
        for f in frequencies(length, n, lowest, highest):
            scale = OMEGA_0 / (2 * np.pi * f)
            t = np.arange(-int(8 * scale), int(8 * scale) + 1) / scale
            wavelet = 2 * np.exp(1j * OMEGA_0 * t - t**2 / 2) / (np.sqrt(2 * np.pi) * scale)
            rows.append(np.abs(scipys.fftconvolve(around, wavelet, "same"))[4 * period : 4 * period + length])
        np.testing.assert_allclose(picture, cut_off(np.array(rows)), atol=2e-3)


@pytest.mark.parametrize("row", [0, 10, 30, 50])
def test_a_sine_is_largest_and_one_at_its_own_frequency(row: int) -> None:
    length = 4000
    wave = torch.sin(2 * torch.pi * frequencies(length, 64, 40.0, 0.25)[row] * torch.arange(length))
    middle = Scalogram(64, 40.0, 0.25, TOP_DB).power(wave[None] + 3.0)[0, :, length // 2]
    assert int(middle.argmax()) == row
    assert float(middle[row]) == pytest.approx(1.0, abs=2e-3)  # of amplitude 1, whatever it rides on


@pytest.mark.parametrize(("window", "hop", "n_fft"), [(32, 2, 126), (16, 1, 16), (40, 7, 64)])
@pytest.mark.parametrize("length", [140, 205])
def test_the_spectrogram_is_scipys(length: int, window: int, hop: int, n_fft: int) -> None:
    ours = Spectrogram(window, hop, n_fft, TOP_DB)(x_of(length)).numpy()
    assert ours.shape == (4, 1 + n_fft // 2, 1 + length // hop)
    hann = scipys.get_window("hann", window)
    for x, picture in zip(x_of(length).numpy(), ours, strict=True):
        frames = np.lib.stride_tricks.sliding_window_view(np.pad(x, window // 2, mode="symmetric"), window)[::hop]
        expected = np.abs(np.fft.rfft(frames * hann, n_fft)).T[::-1]
        np.testing.assert_allclose(picture, cut_off(expected), atol=2e-3)


def test_a_period_of_the_mirror_is_quick_and_has_no_jump() -> None:
    x = torch.arange(1.0, 42.0)[None]
    whole = mirrored(x, quick_length(82))
    assert whole.shape == (1, 90)
    assert torch.equal(whole[:, :41], x)
    assert float((whole - whole.roll(1)).abs().max()) == 1.0
    assert [quick_length(n) for n in (1, 7, 280, 410, 432)] == [1, 8, 288, 432, 432]


@pytest.mark.parametrize("front", [Scalogram(8, 2.0, 0.25, TOP_DB), Spectrogram(16, 2, 32, TOP_DB)])
class TestEveryPicture:
    def test_gain_does_not_matter(self, front: torch.nn.Module) -> None:
        torch.testing.assert_close(front(x_of(100)), front(300 * x_of(100)), rtol=0, atol=1e-3)

    def test_a_beat_alone_is_as_in_its_batch(self, front: torch.nn.Module) -> None:
        whole = front(x_of(100, 20))
        torch.testing.assert_close(front(x_of(100, 20)[13:14]), whole[13:14], rtol=0, atol=1e-3)

    def test_zeros_are_the_lowest_value(self, front: torch.nn.Module) -> None:
        assert torch.equal(front(torch.zeros(2, 64)), torch.full_like(front(torch.zeros(2, 64)), -TOP_DB))

    def test_it_is_float32_of_any_type_also_under_autocast(self, front: torch.nn.Module) -> None:
        x = (1000 * x_of(100)).to(torch.int16)
        with torch.autocast("cpu", torch.bfloat16):
            ours = front(x)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, front(x.float()))


def test_a_beat_that_never_changes_has_no_scalogram() -> None:
    assert float(Scalogram(8, 2.0, 0.25, TOP_DB)(torch.full((1, 205), 0.7)).max()) < -30


@pytest.mark.parametrize("width", [20, 300])
def test_another_width_has_the_same_power_in_as_many_columns(width: int) -> None:
    own = Scalogram(8, 2.0, 0.25, TOP_DB).power(x_of(205))
    other = Scalogram(8, 2.0, 0.25, TOP_DB, width).power(x_of(205))
    assert other.shape == (4, 8, width)
    torch.testing.assert_close(other.mean(2), own.mean(2), rtol=0.05, atol=1e-6)


def test_the_scalogram_reads_every_sample_of_a_narrow_picture() -> None:
    x = x_of(205, 1).requires_grad_()
    (slope,) = torch.autograd.grad(Scalogram(8, 2.0, 0.25, TOP_DB, 10).power(x).sum(), x)
    assert (slope != 0).all()


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("length", [140, 205, 33])
def test_the_device_half_gives_what_the_spec_says_standardised(kind: Image, length: int) -> None:
    features = kind()
    spec = features.spec(Beats(length))
    half: Any = features.device_half()
    x = x_of(length, 30)[:, None]
    half.fit([x[:11], x[11:]])
    picture = half(x)
    assert picture.shape == (30, *spec.shape)
    assert spec.kind == kind.kind == "image"
    np.testing.assert_allclose(picture.mean((0, 1, 3)), 0, atol=1e-4)
    spread = picture.std((0, 1, 3), correction=0)
    # a row that is cut off everywhere has no spread to bring to 1
    assert all(abs(float(s) - 1) < 1e-3 or float(s) < 1e-3 for s in spread)
    assert float(spread.median()) == pytest.approx(1, abs=1e-3)


def test_all_pictures_share_the_waveforms_store(tmp_path: Path) -> None:
    from bench.simulators.heartbeat import simulate

    simulate(tmp_path / "raw", n_train=12, n_test=0, length=40)
    dataset = Heartbeat(tmp_path / "raw")
    kinds = (HeartbeatWaveform, HeartbeatScalogram, HeartbeatSpectrogram)
    folders = {store.open_or_build(dataset, kind(), "train", tmp_path / "store", 1).folder for kind in kinds}
    assert len(folders) == 1


@pytest.mark.parametrize(
    ("kind", "wrong", "sentence"),
    [
        (HeartbeatScalogram, {"n_scales": 1}, "n_scales=1 must be 2 or more"),
        (HeartbeatScalogram, {"width": 0}, "width=0 must be 1 or more"),
        (HeartbeatScalogram, {"lowest": 0.1}, "lowest=0.1 must be 0.5"),
        (HeartbeatScalogram, {"highest": 0.6}, "highest=0.6 must lie between"),
        (HeartbeatScalogram, {"top_db": 0.0}, "top_db=0 must be above 0"),
        (HeartbeatScalogram, {"lowest": 50.0}, "lowest=50 cycles in a beat of 140 samples"),
        (HeartbeatSpectrogram, {"window": 33}, "window=33 must be an even number"),
        (HeartbeatSpectrogram, {"window": 300, "n_fft": 300}, "window=300 is more than twice a beat's 140"),
        (HeartbeatSpectrogram, {"hop": 0}, "hop=0 must lie between 1 and window=32"),
        (HeartbeatSpectrogram, {"n_fft": 16}, "n_fft=16 must be window=32 or more"),
        (HeartbeatSpectrogram, {"top_db": -1.0}, "top_db=-1 must be above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_their_key(kind: Image, wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=f"features.{sentence}"):
        kind(**wrong).spec(Beats(140))
