"""Sound files whose headers leave lengths open, guess or promise them; formats that can't be sought; loud floats."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import miniaudio
import numpy as np
import pytest
import soundfile

from bench.data.store import open_or_build
from bench.datasets.freesound import Freesound
from bench.datasets.sounds import header, read_sound
from bench.features.freesound_waveform import FreesoundWaveform
from bench.spec import UserError

RATE = 16_000
SAMPLES = 40_000
NO_LENGTH = {"IRCAM", "PAF", "PVF", "XI"}
"""Formats that announce no length: who cuts them makes a shorter file."""
NOT_HERE = {"RAW", "SD2"}
"""What has no header, or a second file."""


def wave(n: int = SAMPLES, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tone = np.sin(np.arange(n) / 9) * np.exp(-((np.arange(n) % 8000) / 3000))
    return (0.4 * tone + 0.02 * rng.standard_normal(n)).astype(np.float32)


def encoded(container: str, subtype: str | None = None, n: int = SAMPLES, rate: int = RATE) -> bytearray:
    stream = io.BytesIO()
    soundfile.write(stream, wave(n), rate, subtype=subtype, format=container)
    return bytearray(stream.getvalue())


def put(path: Path, data: bytes | bytearray) -> Path:
    path.write_bytes(data)
    return path


def kinds() -> list[tuple[str, str]]:
    """Each container that soundfile writes, with each of its codings."""
    pairs = []
    for container in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(container):
            if container not in NOT_HERE:
                try:
                    encoded(container, subtype, 200)
                except (soundfile.LibsndfileError, ValueError):
                    continue
                pairs.append((container, subtype))
    return pairs


# ---------------------------------------------------------------- lengths


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)],
)
def test_a_second_decoder_finds_the_same_samples(container: str, subtype: str | None, tmp_path: Path) -> None:
    path = put(tmp_path / f"a.{container.lower()}", encoded(container, subtype, rate=44_100))
    other = miniaudio.decode_file(str(path), miniaudio.SampleFormat.FLOAT32, 1, 44_100)
    theirs = np.frombuffer(other.samples, np.float32)
    ours = read_sound(path)
    assert header(path) == (len(ours), 44_100)
    if container == "MP3":  # whether the codec's own delay is taken off is each decoder's affair
        assert abs(len(ours) - len(theirs)) <= 2 * 1152
    else:
        assert len(ours) == len(theirs) == SAMPLES
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def without_count(mp3: bytearray) -> bytearray:
    """An MP3 without its first frame, in which its writer counts the others."""
    at = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    assert at > 0
    return mp3[mp3.index(b"\xff", at + 40) :]


def variable_mp3(n: int) -> bytearray:
    """An MP3 that begins with loud noise and goes on with silence, so that its bit rate falls, without a count."""
    stream = io.BytesIO()
    x = np.zeros(n, np.float32)
    x[: n // 8] = np.random.default_rng(0).uniform(-0.9, 0.9, n // 8)
    soundfile.write(
        stream, x, 44_100, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.0
    )
    return without_count(bytearray(stream.getvalue()))


def test_an_mp3_whose_length_is_only_estimated_is_read_to_its_end(tmp_path: Path) -> None:
    path = put(tmp_path / "a.mp3", variable_mp3(132_000))
    with soundfile.SoundFile(path) as file:
        assert file.frames < 100_000  # what the library takes for its length
    theirs = miniaudio.decode_file(str(path), miniaudio.SampleFormat.FLOAT32, 1, 44_100).num_frames
    ours = read_sound(path)
    assert header(path) == (len(ours), 44_100)
    assert theirs == len(ours) > 132_000


def test_tags_around_an_mp3_change_nothing(tmp_path: Path) -> None:
    data, size = variable_mp3(132_000), 30_000
    length = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    tagged = b"ID3\x03\0\0" + length + bytes(size) + data + b"TAG".ljust(128, b"\0")
    plain, more = put(tmp_path / "a.mp3", data), put(tmp_path / "b.mp3", tagged)
    assert header(more) == header(plain)
    np.testing.assert_array_equal(read_sound(more), read_sound(plain))


def test_an_mp3_is_not_taken_for_what_lies_beside_it(tmp_path: Path) -> None:
    path = put(tmp_path / "a.mp3", variable_mp3(132_000))
    put(tmp_path / "._a.mp3", b"")  # which a Mac leaves, and libsndfile would read instead
    assert header(path)[0] > 132_000


def test_an_mp3_that_lacks_frames_which_it_counts_is_named(tmp_path: Path) -> None:
    data = encoded("MP3", rate=44_100)
    path = put(tmp_path / "a.mp3", data[: len(data) // 2])
    with pytest.raises(UserError, match=r"a\.mp3 holds \d+ of the 4\d+ samples it announces; put a whole copy"):
        read_sound(path)
    uncounted = variable_mp3(132_000)
    with pytest.raises(UserError, match=r"b\.mp3 is cut short: its frames are not whole"):
        header(put(tmp_path / "b.mp3", uncounted[: len(uncounted) // 2]))


def test_a_streamed_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    data = encoded("FLAC")
    whole = put(tmp_path / "whole.flac", data)
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path = put(tmp_path / "a.flac", data)
    assert header(path) == (SAMPLES, RATE)
    np.testing.assert_array_equal(read_sound(path), read_sound(whole))
    cut = put(tmp_path / "cut.flac", data[: len(data) // 2])
    with pytest.raises(UserError, match=r"cut\.flac can't be read as sound"):
        header(cut)


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x80000000, 0x7FFFFFDB, 0xFFFFFFFF, 0xFFFFFFFE])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_a_wav_without_a_length_is_read_to_the_files_end(length: int, subtype: str, tmp_path: Path) -> None:
    data = encoded("WAV", subtype)
    whole = put(tmp_path / "whole.wav", data)
    at = data.index(b"data")
    data[at + 4 : at + 8] = struct.pack("<I", length)
    path = put(tmp_path / "a.wav", data)
    assert header(path) == header(whole)
    np.testing.assert_array_equal(read_sound(path), read_sound(whole))


def test_a_wav_of_no_samples_is_empty_whatever_chunks_follow(tmp_path: Path) -> None:
    data = encoded("WAV", n=0)
    assert header(put(tmp_path / "a.wav", data))[0] == 0
    notes = b"LIST" + struct.pack("<I", 12) + b"INFOISFT" + bytes(4)
    assert header(put(tmp_path / "b.wav", data + notes))[0] == 0
    assert header(put(tmp_path / "c.wav", b""))[0] == 0


@pytest.mark.parametrize(("container", "at", "length"), [("AU", 8, 4), ("RF64", 28, 16)])
def test_other_files_without_a_length_are_named(container: str, at: int, length: int, tmp_path: Path) -> None:
    data = encoded(container)
    data[at : at + length] = bytes(length)
    with pytest.raises(UserError, match=r"a\.snd announces no samples and holds 80\d+ bytes.*convert it to WAV"):
        header(put(tmp_path / "a.snd", data))


def test_a_length_that_an_au_file_leaves_open_is_counted(tmp_path: Path) -> None:
    data = encoded("AU")
    data[8:12] = b"\xff" * 4
    assert header(put(tmp_path / "a.au", data)) == (SAMPLES, RATE)


# ---------------------------------------------------------------- every container


@pytest.mark.parametrize(("container", "subtype"), kinds())
def test_every_kind_of_file_is_read_whole_and_named_where_it_is_cut(
    container: str, subtype: str, tmp_path: Path
) -> None:
    data = encoded(container, subtype)
    path = put(tmp_path / f"a.{container.lower()}", data)
    frames, rate = header(path)
    assert rate == RATE or container in ("WVE", "XI", "VOC")  # which do not say it, or not exactly
    assert SAMPLES <= frames <= SAMPLES + 1152 * (container == "MP3") + 1100
    x_t = read_sound(path)
    assert len(x_t) == frames
    assert x_t.dtype == np.float32
    assert np.corrcoef(x_t[:SAMPLES], wave())[0, 1] > 0.9 or container == "MP3"
    cut = put(tmp_path / f"cut.{container.lower()}", data[: int(len(data) * 0.6)])
    if container in NO_LENGTH:
        assert len(read_sound(cut)) < SAMPLES
    else:
        with pytest.raises(UserError, match=r"cut\.\w+ (is cut short|can't be read as sound|holds \d+ of the)"):
            read_sound(cut)


# ---------------------------------------------------------------- floats


def test_floats_a_little_beyond_full_scale_are_made_quieter_and_not_clipped(tmp_path: Path) -> None:
    x = wave() * np.float32(1.7 / np.abs(wave()).max())
    soundfile.write(tmp_path / "a.wav", x, RATE, "FLOAT")
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav"), x / 1.7, atol=1e-6)


@pytest.mark.parametrize(("scale", "unit"), [(100, 128), (12_000, 32_768), (5e6, 2**23), (1e9, 2**31)])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_in_other_units_are_named_with_what_divides_them(
    scale: float, unit: int, subtype: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, wave() * scale, RATE, subtype)
    with pytest.raises(UserError, match=rf"a\.wav holds floats up to .*; set dataset\.full_scale={unit}, or write it"):
        read_sound(path)
    np.testing.assert_allclose(read_sound(path, None, unit), wave() * scale / unit, atol=1e-6)
    with pytest.raises(UserError, match="full scale, which is 1; write it again within full scale"):
        read_sound(path, settled=True)


def test_a_set_of_floats_in_other_units_trains_as_its_advice_says(tmp_path: Path) -> None:
    (tmp_path / "audio_train").mkdir()
    names = [f"{i}.wav" for i in range(4)]
    for name in names:
        soundfile.write(tmp_path / "audio_train" / name, wave(4000) * 20_000, RATE, "FLOAT")
    (tmp_path / "train.csv").write_text("fname,label\n" + "".join(f"{n},{'ab'[i % 2]}\n" for i, n in enumerate(names)))
    says = r"4 of the first 4 sounds are in other units: .*0\.wav holds .*; set dataset\.full_scale=32768, or write"
    with pytest.raises(UserError, match=says):
        open_or_build(Freesound(tmp_path), FreesoundWaveform(), "train", tmp_path / "store", 1)
    stored = open_or_build(Freesound(tmp_path, full_scale=32_768), FreesoundWaveform(), "train", tmp_path / "store", 1)
    expected = np.rint(wave(4000) * 20_000).astype(np.int16)
    np.testing.assert_array_equal(stored.windows(np.array([0]), np.array([0]), 4000)[0, 0], expected)
    with pytest.raises(UserError, match="full_scale=0"):
        Freesound(tmp_path, full_scale=0)
