from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.signal import butter, lfilter
from torch import nn

from bench.features import hms_image
from bench.features.device import screen
from bench.features.device.screen import Screen
from bench.features.hms_eeg_spectrogram import LINKS, HMSEEGSpectrogram
from bench.features.hms_image import KEPT, TRACES, HMSImage, central
from bench.features.hms_sides import ACROSS
from bench.features.hms_spectrogram import HMSSpectrogram
from bench.features.hms_waveform import HMSWaveform
from bench.signal.spectrograms import hann_power, resized
from bench.signal.traces import bridged, spans, without_mains
from bench.simulators.hms import simulate
from bench.spec import InputSpec, UserError
from bench.training import inference, parts
from tiny import node

CENTRAL = central(10_000)

COLUMNS = HMSImage.reads["columns"]
DATASET = SimpleNamespace(classes=("a", "b"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """An EEG and its spectrogram as ``HMS.read`` gives them, from the simulator's files."""
    root = tmp_path_factory.mktemp("hms")
    simulate(root, n_eegs=1, n_patients=1, n_test=0, seed=5)
    return {
        "eeg": matrix(next(root.glob("train_eegs/*")), COLUMNS)[:10_000],
        "spectrogram": matrix(next(root.glob("train_spectrograms/*")))[:300],
    }


def matrix(path: Path, columns: list[str] | None = None) -> np.ndarray:
    table = pq.read_table(path, columns=columns)
    names = columns or [name for name in table.column_names if name != "time"]
    return np.stack([table[name].to_numpy().astype(np.float32) for name in names]).T


def with_holes(raw: dict[str, np.ndarray], **holes: slice) -> dict[str, np.ndarray]:
    eeg = raw["eeg"].copy(order="F")
    for name, where in holes.items():
        eeg[where, COLUMNS.index(name)] = np.nan
    return raw | {"eeg": eeg}


def columns_of(feature: Any, raw: dict[str, np.ndarray]) -> np.ndarray:
    return np.asfortranarray(raw["eeg"][:, [COLUMNS.index(name) for name in feature.reads["columns"]]])


# ---------------------------------------------------------------- the competition's spectrogram


@pytest.mark.parametrize("holes", [False, True])
def test_the_spectrogram_is_scaled_as_written_up(raw: dict[str, np.ndarray], holes: bool) -> None:
    power = raw["spectrogram"].copy()
    if holes:
        power[20:24] = np.nan
    expected = np.log10(np.nan_to_num(power.astype(np.float64)) + 1e-6)
    low, high = np.quantile(expected, 0.01), np.quantile(expected, 0.99)
    expected = (np.clip(expected, low, high) - low) / (high - low)
    stored = HMSSpectrogram().store(power)
    assert (stored.dtype, stored.shape) == (np.uint8, (4, 100, 300))
    assert np.abs(stored.reshape(400, 300) / 255 - expected.T).max() < 1 / 510 + 1e-4


def test_a_spectrogram_of_nothing_is_black_and_a_broken_one_is_refused() -> None:
    assert not HMSSpectrogram().store(np.full((300, 400), np.nan, np.float32)).any()
    assert not HMSSpectrogram().store(np.full((300, 400), 3, np.float32)).any()
    with pytest.raises(ValueError, match=r"\(299, 400\), expected \(300, 400\)"):
        HMSSpectrogram().store(np.zeros((299, 400), np.float32))
    infinite = np.ones((300, 400), np.float32)
    infinite[4, 4] = np.inf
    with pytest.raises(ValueError, match="1 infinite value"):
        HMSSpectrogram().store(infinite)


@pytest.mark.parametrize(("kind", "frequencies", "frames"), [(HMSSpectrogram, 100, 300), (HMSEEGSpectrogram, 128, 226)])
def test_regions_lie_below_each_other_or_become_channels(kind: Any, frequencies: int, frames: int) -> None:
    stacked, regions = kind(), kind(layout="regions")
    assert stacked.spec(DATASET).shape == (1, 4 * frequencies, frames)
    assert regions.spec(DATASET).shape == (4, frequencies, frames)
    assert stacked.settings() == regions.settings()  # so that they share a store
    shape = stacked.stored_shape(DATASET)
    batch = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    channels, one = regions.device_half()(batch), stacked.device_half()(batch)
    assert channels.dtype == torch.float32
    torch.testing.assert_close(channels, batch / 255)
    torch.testing.assert_close(one[:, 0, frequencies : 2 * frequencies], channels[:, 1])
    assert one.shape[1:] == stacked.spec(DATASET).shape
    with pytest.raises(UserError, match=r"features\.layout=tall"):
        kind(layout="tall")


# ---------------------------------------------------------------- the EEG's own spectrogram


def with_librosa(eeg: np.ndarray, names: list[str]) -> np.ndarray:
    """(4, 128, 226) in [0, 1], a difference at a time; a difference without any number is not counted."""
    import librosa

    regions = []
    for links in LINKS.values():
        pictures = []
        for a, b in links:
            x = eeg[:, names.index(a)] - eeg[:, names.index(b)]
            if np.isnan(x).all():
                continue
            x = np.where(np.isnan(x), np.nanmean(x), x)
            mel = librosa.feature.melspectrogram(
                y=x, sr=200, n_fft=1000, hop_length=40, n_mels=128, fmin=0, fmax=20, center=False
            )
            pictures.append((librosa.power_to_db(mel, ref=np.max) + 40) / 40)
        regions.append((np.mean(pictures, axis=0) + 1) / 2 if pictures else np.zeros((128, 226)))
    return np.stack(regions)


@pytest.mark.parametrize("holes", [{}, {"T3": slice(4_000, 4_500), "F4": slice(None)}], ids=["whole", "holes"])
def test_the_eeg_spectrogram_is_librosas(raw: dict[str, np.ndarray], holes: dict[str, slice]) -> None:
    feature = HMSEEGSpectrogram()
    eeg = columns_of(feature, with_holes(raw, **holes))
    eeg += 500  # an electrode's own offset
    stored = feature.store(eeg)
    assert (stored.dtype, stored.shape) == (np.uint8, feature.stored_shape(DATASET))
    expected = with_librosa(eeg, feature.reads["columns"])
    assert np.abs(stored / 255 - expected).max() < 1 / 510 + 2e-3


def test_a_region_without_any_electrode_is_black_and_an_empty_eeg_is_refused(raw: dict[str, np.ndarray]) -> None:
    feature = HMSEEGSpectrogram()
    stored = feature.store(columns_of(feature, with_holes(raw, F3=slice(None), C3=slice(None), P3=slice(None))))
    assert not stored[2].any()
    assert stored[0].max() > 200
    with pytest.raises(ValueError, match="NaN everywhere"):
        feature.store(np.full((10_000, 16), np.nan, np.float32))
    with pytest.raises(ValueError, match="160000 infinite values"):
        feature.store(np.full((10_000, 16), np.inf, np.float32))


def test_windows_that_do_not_tile_are_refused() -> None:
    for n_fft, hop, bins in ((1000, 30, 10), (4000, 40, 10), (1000, 40, 501)):
        with pytest.raises(ValueError, match="don't fit"):
            hann_power(np.zeros((1, 2000), np.float32), n_fft, hop, bins)


@pytest.mark.parametrize(("height", "width"), [(320, 320), (37, 200), (800, 301)])
def test_resizing_is_torchs_antialiased_one(height: int, width: int) -> None:
    x = np.random.default_rng(0).random((400, 300), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(x)[None, None], (height, width), mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(resized(x, height, width), expected[0, 0], atol=1e-4)


# ---------------------------------------------------------------- traces


def test_the_filters_are_the_write_ups(raw: dict[str, np.ndarray]) -> None:
    x_ct = raw["eeg"][CENTRAL].T + np.linspace(-300, 300, 20, dtype=np.float32)[:, None]
    x_ct[3, 900:] += 900  # a loose electrode
    expected = lfilter(*butter(5, (59, 61), btype="bandstop", fs=200), x_ct.astype(np.float64))
    expected = lfilter(*butter(5, (1, 70), btype="bandpass", fs=200), expected)
    assert np.abs(without_mains(x_ct, 200) - expected).max() <= 1e-7 * np.abs(expected).max()
    with pytest.raises(ValueError, match="above 140"):
        without_mains(x_ct, 100)


def test_a_gap_is_bridged_straight_and_an_end_held() -> None:
    x = np.array([[np.nan, 2, np.nan, np.nan, 8, np.nan], [np.nan] * 6, [1, 2, 3, 4, 5, 6]], np.float32)
    filled, gaps = bridged(x.copy())
    np.testing.assert_array_equal(filled, [[2, 2, 4, 6, 8, 8], [0] * 6, [1, 2, 3, 4, 5, 6]])
    np.testing.assert_array_equal(gaps, np.isnan(x))
    assert bridged(x[2:])[1] is None


def drawn_pixel_by_pixel(y: np.ndarray, width: int, rows: int, gaps: np.ndarray) -> np.ndarray:
    """(rows, width) bool: the pixels that a polyline through the samples passes, each asked of each join."""
    t = len(y)
    picture = np.zeros((rows, width), bool)
    place = (np.arange(t) + 0.5) * width / t
    joins = [(i, i) for i in range(t) if not gaps[i]] + [p for p in pairwise(range(t)) if not gaps[list(p)].any()]
    for a, b in joins:
        for column in range(width):
            left, right = max(place[a], column), min(place[b], column + 1)
            if left > right or place[a] >= column + 1:  # what begins on an edge belongs to the column after it
                continue
            ends = np.interp([left, right], [place[a], place[b]], [y[a], y[b]]) if b > a else y[[a, a]]
            ends = np.clip((1 - ends) * rows / 2, 0, rows - 1e-9)
            picture[int(ends.min()) : int(ends.max()) + 1, column] = True
    return picture


@pytest.mark.parametrize(("samples", "width"), [(60, 24), (61, 24), (50, 50), (97, 7)])
@pytest.mark.parametrize("holes", [False, True])
def test_a_span_is_exactly_what_the_line_passes_in_its_column(samples: int, width: int, holes: bool) -> None:
    rng = np.random.default_rng(samples)
    y = np.cumsum(rng.standard_normal((3, samples)), axis=1) / 4  # part of it beyond ±1
    gaps = np.zeros(y.shape, bool)
    if holes:
        gaps[0, 10:31] = gaps[1] = gaps[2, [3, 5, 8, 11]] = True  # a pause, nothing at all, samples between gaps
    first, last = spans(y, width, 16, gaps if holes else None)
    row = np.arange(16)[:, None]
    for i in range(3):
        drawn = (first[i] <= row) & (row <= last[i])
        np.testing.assert_array_equal(drawn, drawn_pixel_by_pixel(y[i], width, 16, gaps[i]))


def test_neighbouring_columns_touch(raw: dict[str, np.ndarray]) -> None:
    first, last = spans(raw["eeg"][CENTRAL].T / 100.0, 1600, 64).astype(int)
    assert (first[:, 1:] <= last[:, :-1]).all()
    assert (first[:, :-1] <= last[:, 1:]).all()


def test_more_columns_than_samples_or_rows_than_a_byte_are_refused() -> None:
    with pytest.raises(ValueError, match="11 columns for 10 samples"):
        spans(np.zeros((1, 10)), 11, 8)
    with pytest.raises(ValueError, match="255 rows"):
        spans(np.zeros((1, 10)), 10, 255)


# ---------------------------------------------------------------- the whole image


def painted(feature: HMSImage, raw: dict[str, np.ndarray]) -> np.ndarray:
    """The picture, a pixel of a line at a time."""
    left, pitch, n = feature.left, feature.pitch, feature.height * feature.left
    vector, lines = feature.store(raw), feature.lines(raw["eeg"][CENTRAL])
    picture = np.zeros((feature.height, feature.width), np.float32)
    picture[:, :left] = vector[:n].reshape(feature.height, left) * np.float32(1 / 255)
    for i, (first, last) in enumerate(lines[:, : len(TRACES)].swapaxes(0, 1)):
        edges = (pitch // 2 if i == 0 else 0, 2 * pitch - 1 - (pitch // 2 if i == len(TRACES) - 1 else 0))
        for column, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            for row in range(np.clip(a, *edges), np.clip(b, *edges) + 1):
                if a == b == 255:
                    continue
                picture[i * pitch - pitch // 2 + row, left + column] = 1
    return picture


@pytest.mark.parametrize("size", [{}, {"height": 80, "width": 96}, {"height": 200, "width": 594}], ids=str)
def test_the_picture_is_what_the_spans_say(raw: dict[str, np.ndarray], size: dict[str, int]) -> None:
    feature = HMSImage(**size)
    examples = [raw, with_holes(raw, O1=slice(None), Cz=slice(4_000, 4_700), Fp1=slice(6_990, None))]
    stored = np.stack([feature.store(x) for x in examples])
    assert stored.dtype == np.uint8
    assert stored.shape[1:] == feature.stored_shape(DATASET)
    pictures = feature.device_half()(torch.from_numpy(stored))
    assert pictures.dtype == torch.float32
    assert pictures.shape[1:] == feature.spec(DATASET).shape
    for example, picture in zip(examples, pictures, strict=True):
        np.testing.assert_array_equal(picture[0], painted(feature, example))


def test_a_picture_does_not_depend_on_its_batch(raw: dict[str, np.ndarray]) -> None:
    feature = HMSImage(80, 96)
    vectors = torch.from_numpy(np.stack([feature.store(raw | {"eeg": raw["eeg"] * g}) for g in (0.1, 1, 3, 9, 20)]))
    half = feature.device_half()
    together = half(vectors)
    assert len(together) == 5
    for i in range(5):
        torch.testing.assert_close(half(vectors[i : i + 1])[0], together[i], rtol=0, atol=0)
    assert half(vectors[:0]).shape == (0, 1, 80, 96)


def test_the_spectrograms_lie_on_the_left(raw: dict[str, np.ndarray]) -> None:
    image = HMSImage()
    left = HMSImage().device_half()(torch.from_numpy(image.store(raw))[None])[0, 0, :, :320]
    upper = HMSSpectrogram().store(raw["spectrogram"]).reshape(400, 300) / np.float32(255)
    feature = HMSEEGSpectrogram()
    lower = feature.store(columns_of(feature, raw)).reshape(512, 226) / np.float32(255)
    for half, picture in ((left[:320], upper), (left[320:], lower)):
        np.testing.assert_allclose(half, resized(picture, 320, 320), atol=1.1 / 255)


def test_a_scale_is_a_quarter_of_a_slot_and_positive_is_up() -> None:
    time = np.arange(10_000) / 200
    eeg = np.zeros((10_000, 20), np.float32)
    eeg[:, COLUMNS.index("Cz")] = TRACES[17][2] * np.sin(2 * np.pi * 10 * time)  # Fz−Cz, and Cz−Pz
    eeg[:, COLUMNS.index("EKG")] = 1e6 * (time > 25)  # a step, beyond its clip
    first, last = HMSImage().lines(eeg[CENTRAL])
    settled = slice(400, None)
    # at ±½ of the way to the slot's edges, to within a row and the filters' ripple
    assert abs(int(first[17, settled].min()) - 16) <= 1
    assert abs(int(last[17, settled].max()) - 47) <= 1
    assert set(first[18, :799]) == {32}
    assert first[18, 802] == 0
    assert set(first[0]) == set(last[0]) == {32}


def test_what_is_missing_is_not_drawn(raw: dict[str, np.ndarray]) -> None:
    gone = with_holes(raw, O1=slice(None), Pz=slice(5_000, 5_500))
    first, last = HMSImage().lines(gone["eeg"][CENTRAL])
    for trace, (a, b, _) in enumerate(KEPT):
        if "O1" in (a, b):
            assert (first[trace] == 255).all()
            assert (last[trace] == 255).all()
        elif "Pz" in (a, b):
            assert set(np.flatnonzero(first[trace] == 255)) == set(range(800, 1000))
        else:
            assert (last[trace] < 64).all()


@pytest.mark.parametrize(("slot", "electrodes"), [(0, ("Fp1", "F3")), (19, ("C3",))])
def test_the_outermost_traces_stay_in_the_picture(
    raw: dict[str, np.ndarray], slot: int, electrodes: tuple[str, ...]
) -> None:
    others = {name: slice(None) for name in COLUMNS if name not in electrodes}
    feature = HMSImage()
    loud = with_holes(raw | {"eeg": raw["eeg"] * np.float32(100)}, **others)
    first, last = feature.lines(loud["eeg"][CENTRAL])[:, slot]
    outside = last < 16 if slot == 0 else first > 47
    assert outside.sum() > 400
    lines = feature.device_half()(stored(feature, loud))[0, 0, :, 320:].numpy()
    assert lines.any(axis=0).all()
    edge = np.zeros(640)
    edge[0 if slot == 0 else 639] = 1
    np.testing.assert_array_equal(lines[:, outside], np.tile(edge[:, None], outside.sum()))


def test_an_eeg_of_nothing_leaves_the_traces_empty(raw: dict[str, np.ndarray]) -> None:
    vector = HMSImage(80, 96).store(raw | {"eeg": np.full((10_000, 20), np.nan, np.float32)})
    picture = HMSImage(80, 96).device_half()(torch.from_numpy(vector)[None])[0, 0]
    assert not picture[:, 16:].any()
    assert not picture[40:].any()
    assert picture[:40, :16].any()
    with pytest.raises(ValueError, match="infinite"):
        HMSImage(80, 96).store(raw | {"eeg": np.full((10_000, 20), -np.inf, np.float32)})


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ({"height": 650}, r"features\.height=650 must be a multiple of 40 from 80 to 2520; choose 640"),
        ({"height": 40}, "choose 80"),
        ({"height": 2560}, "choose 2520"),
        ({"width": 1000}, r"features\.width=1000 must be a multiple of 6 from 96 to 4800; choose 1002"),
        ({"width": 4806}, "choose 4800"),
        ({"width": 0}, "choose 96"),
    ],
)
def test_a_size_that_does_not_divide_is_refused_with_the_nearest_that_does(size: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        HMSImage(**size)


def test_the_largest_picture_can_be_drawn() -> None:
    feature = HMSImage(2520, 4800)
    assert feature.settings() != HMSImage().settings()
    lines = np.full((2, len(KEPT), 4000), 250, np.uint8)
    lines[1] += 1
    vector = np.concatenate([np.zeros(2520 * 800, np.uint8), feature.packed(lines)])
    assert vector.shape == feature.stored_shape(DATASET)
    picture = feature.device_half()(torch.from_numpy(vector)[None])[0, 0, :, 800:]
    assert picture.sum() == 4000 * (2 * 19 + 1)  # the last slot's rows 250 and 251 lie outside: held at the edge


@pytest.mark.parametrize("size", [(640, 1920), (80, 96)])
def test_looking_pixels_up_draws_what_computing_them_does(
    raw: dict[str, np.ndarray], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    feature = HMSImage(*size)
    vectors = torch.cat([stored(feature, raw | {"eeg": raw["eeg"] * gain}) for gain in (1, 4, 9, 16, 100)])
    half = feature.device_half()
    looked_up = half(vectors)
    monkeypatch.setattr(Screen, "_look_up", None)
    monkeypatch.setattr(screen, "BITS", 7 if size == (640, 1920) else 11)  # divides neither width
    torch.testing.assert_close(half(vectors), looked_up, rtol=0, atol=0)


@pytest.mark.parametrize("looked_up", [True, False])
def test_a_narrow_picture_is_what_mixed_precision_makes_of_it(
    raw: dict[str, np.ndarray], looked_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = HMSImage(80, 96).device_half()
    vectors = stored(HMSImage(80, 96), raw)
    if not looked_up:
        monkeypatch.setattr(screen, "BITS", 11)  # divides no width
    wide = half(vectors)
    half.narrow = True
    narrow = half(vectors)
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(narrow, wide.bfloat16())


@pytest.mark.parametrize("name", ["cnn2d", "panns", "timm_backbone", "tinyvit", "efficientnetv2"])
def test_a_picture_is_narrow_where_a_convolution_takes_it_first(name: str) -> None:
    options = node("model", name)
    model = parts.model(options, InputSpec(1, (64, 64), ("a", "b"), None)).eval()
    took = list[nn.Module]()
    for layer in model.modules():
        if not list(layer.children()) and not isinstance(layer, nn.Identity):
            layer.register_forward_hook(lambda layer, inputs, answer: took.append(layer))
    picture = torch.rand(2, 1, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wide = model(picture)
        if inference.rounds_at_once(model):
            assert isinstance(took[0], nn.Conv2d)
            assert torch.equal(model(picture.bfloat16()), wide)
        else:
            assert options.get("resizer") or not isinstance(took[0], nn.Conv2d)


# ---------------------------------------------------------------- left and right


def sides_exchanged(raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The recording of a mirrored head: electrodes and the spectrogram's regions LL, RL, LP, RP change places."""
    other = dict(ACROSS) | {b: a for a, b in ACROSS}
    eeg = np.asfortranarray(raw["eeg"][:, [COLUMNS.index(other.get(name, name)) for name in COLUMNS]])
    ll, rl, lp, rp = np.split(raw["spectrogram"], 4, axis=1)
    return {"eeg": eeg, "spectrogram": np.concatenate([rl, ll, rp, lp], axis=1)}


def stored(feature: Any, raw: dict[str, np.ndarray]) -> torch.Tensor:
    """(1, *stored shape)"""
    if isinstance(feature, HMSSpectrogram):
        return torch.from_numpy(feature.store(raw["spectrogram"]))[None]
    return torch.from_numpy(feature.store(raw if isinstance(feature, HMSImage) else columns_of(feature, raw)))[None]


@pytest.fixture(params=[{}, {"T3": slice(4_000, 4_500), "C4": slice(3_500, None)}], ids=["whole", "holes"])
def head(raw: dict[str, np.ndarray], request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    return with_holes(raw, **request.param)


@pytest.mark.parametrize("kind", [HMSWaveform, HMSSpectrogram, HMSEEGSpectrogram])
def test_mirrored_is_what_storing_the_mirrored_recording_gives(head: dict[str, np.ndarray], kind: Any) -> None:
    feature = kind()
    x, expected = stored(feature, head), stored(feature, sides_exchanged(head))
    assert not torch.equal(x, expected)
    # a matrix product's last rows may be summed in another order: the waveform's float16 can round to its neighbour
    rtol, atol = (2**-10, 1e-6) if kind is HMSWaveform else (0, 0)
    torch.testing.assert_close(feature.mirrored(x), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("size", [{}, {"height": 80, "width": 96}, {"height": 200, "width": 594}], ids=str)
def test_a_mirrored_image_differs_in_its_scales_and_where_regions_meet_alone(
    head: dict[str, np.ndarray], size: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    feature = HMSImage(**size)
    x = stored(feature, head)
    scale = {(a, b): scale for a, b, scale in KEPT}
    other = dict(ACROSS) | {b: a for a, b in ACROSS}
    taken_along = [(a, b, scale[other.get(a, a), b and other.get(b, b)]) for a, b, _ in KEPT]
    monkeypatch.setattr(hms_image, "KEPT", tuple(taken_along))
    expected, mirrored = stored(feature, sides_exchanged(head))[0], feature.mirrored(x)[0]
    n, region = feature.height * feature.left, feature.height // 8
    torch.testing.assert_close(mirrored[n:], expected[n:], rtol=0, atol=0)
    assert not torch.equal(mirrored[n:], x[0, n:])
    pictures = torch.stack([mirrored[:n], expected[:n]]).view(2, 8, region, feature.left).int()
    difference = (pictures[0] - pictures[1]).abs()
    assert difference.max() <= 255 / 8 + 1
    assert difference[:, 1:-1].max() <= 1  # a product's rounding, where a level just ends
    assert difference[:, 1:-1].count_nonzero() <= 1e-3 * n


@pytest.mark.parametrize("kind", [HMSWaveform, HMSSpectrogram, HMSEEGSpectrogram, HMSImage])
def test_mirrored_twice_is_the_same_and_leaves_what_it_is_given(kind: Any) -> None:
    feature = kind()
    for dtype in (torch.float32, getattr(torch, feature.stored_dtype)):
        x = torch.randint(0, 256, (3, *feature.stored_shape(DATASET))).to(dtype)
        before = x.clone()
        once = feature.mirrored(x)
        assert (once.dtype, once.shape) == (x.dtype, x.shape)
        assert torch.equal(x, before)
        assert not torch.equal(once, x)
        assert torch.equal(feature.mirrored(once), x)
    assert feature.mirrored(x[:0]).shape == x[:0].shape


def test_a_mirrored_image_shows_c4_in_the_place_of_c3(raw: dict[str, np.ndarray]) -> None:
    feature = HMSImage()
    alone = with_holes(raw, **{name: slice(None) for name in COLUMNS if name != "C4"})
    x, half = stored(feature, alone), feature.device_half()
    assert not half(x)[..., 320:].any()
    assert half(feature.mirrored(x))[0, 0, 592:, 320:].any(0).all()
