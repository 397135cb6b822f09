"""Sound files as soundfile reads them, to their true ends: a header may leave a length open, guess it, or promise more.

What a file's length is taken from:

- the header, where it counts samples (most files), held against what the container holds;
- decoding, where the format only estimates (MP3), where a stream's header leaves it open (FLAC), or where a format can
  not be counted otherwise;
- the file's end, for a WAV file whose writer died before it wrote a length, or wrote a placeholder into a pipe.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from bench.datasets.base import MEND
from bench.spec import UserError

PLACEHOLDER = 0x7F000000
"""Bytes from which a length beyond the file's end stands for "unknown": writers into pipes put 0x7ffff000, 0x80000000,
0x7fffffdb or 0xffffffff there. What is announced below it and is not there was cut off."""
COUNTED = 1 << 36
"""Samples from which a length is no count: FLAC's has 36 bits, and an open one is given as the largest number."""
AT_ONCE = 1 << 24
"""Samples read at a time where the length is not known, or is announced to be larger."""
LONGER = 64
"""How many times longer than it is an MP3 is said to be. Its length is estimated from its first frame's bit rate, and
the ratio of the highest to the lowest is 40."""
LOUDEST = 2.0
"""Peak of floats, in full scales, up to which a file is taken for loud; one above it was written in other units."""

GLANCED_AT = 8
"""Files whose scale is looked at before all are read."""

SIZES = re.compile(r"^ *+(?!RIFF|RIFX|FORM|Riff).*: (\d+) \(should be (\d+)\)", re.MULTILINE)
COUNTS = re.compile(r"Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
WVE = re.compile(r"Data length (\d+) should be (\d+)")
FRAMES = {
    "AVR": re.compile(r"^ *Frames +: (\d+)", re.MULTILINE),
    "MPC2K": re.compile(r"^ *Frames +: (\d+)", re.MULTILINE),
    "MAT5": re.compile(r"Cols : (\d+)\n.*\n.*wavedata"),
}
"""What libsndfile's log of a file's header says of lengths that the file does not have."""
SDS = {"PCM_S8": 60, "PCM_16": 40, "PCM_24": 30}
"""Samples in each of an SDS file's packets of 127 bytes, which follow 21 bytes of header."""


class OtherUnitsError(UserError):
    """Floats beyond full scale."""


@dataclass(frozen=True)
class Sound:
    """A decoded file: samples (N,) at ``rate`` Hz; times ``unit`` they are in [−1, 1]."""

    x_t: np.ndarray
    rate: int
    unit: float


def header(path: Path) -> tuple[int, int]:
    """(samples, rate in Hz) of a mono sound file; (0, 44100) for a file of 0 bytes. Decodes only what it must.

    Raises UserError naming the file.
    """
    with _opened(path) as file:
        if file is None:
            return 0, 44_100
        if _is_counted(path, file):
            return file.frames, file.samplerate
        return sum(len(block) for block in _blocks(path, file, "int16")), file.samplerate


def read_sound(
    path: Path, sample_rate: int | None = None, full_scale: float = 1.0, settled: bool = False
) -> np.ndarray:
    """(samples,) float32 of a mono file in [−1, 1], at ``sample_rate`` Hz or its own.

    Floats are divided by ``full_scale``, which is ``settled`` where a run was trained with it. Those that then reach up
    to twice full scale are made quieter until they fit; a file of louder ones is in other units. Resampling is soxr's
    HQ; n samples become ceil(n · new / old). Raises UserError naming a file that can't be decoded whole, isn't mono,
    holds NaN or is in other units.
    """
    with _opened(path) as file:
        if file is None:
            return np.zeros(0, np.float32)
        sound = _decoded(path, file, full_scale, settled)
    x_t, unit = sound.x_t, np.float32(sound.unit)
    if sample_rate is None or sample_rate == sound.rate or len(x_t) == 0:
        x_t *= unit
        return x_t
    import soxr

    y_t = soxr.resample(x_t, sound.rate, sample_rate, quality="HQ")  # as long, to the nearest sample
    y_t *= unit  # a power of two: resampling first gives the same bits, and fewer are multiplied
    shortfall = resampled(len(x_t), sound.rate, sample_rate) - len(y_t)
    return np.pad(y_t, (0, shortfall)) if shortfall > 0 else y_t[: len(y_t) + shortfall]


def refuse_other_units(files: Sequence[Path], full_scale: float, settled: bool) -> None:
    """Looks at the first files, and refuses floats in other units where most of them hold some.

    Files that can't be read, and a few among others, are left to those who name all of them.
    """
    problems, files = [], files[:GLANCED_AT]
    for path in files:
        try:
            with _opened(path) as file:
                if file is not None and file.subtype in ("FLOAT", "DOUBLE"):
                    _decoded(path, file, full_scale, settled)
        except OtherUnitsError as error:
            problems.append(error)
        except UserError:
            continue
    if 2 * len(problems) > len(files):
        raise UserError(f"{len(problems)} of the first {len(files)} sounds are in other units: {problems[0]}")


def resampled(n: int, rate: int, sample_rate: int) -> int:
    """Samples that n become at another rate: all that is heard, the last one in part (as librosa counts)."""
    return -(-n * sample_rate // rate)


class _Stream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read from its beginning to its end: without the seeking that some formats can't do."""

    def seekable(self) -> bool:
        return False


class _Longer(io.BytesIO):
    """An MP3's bytes that say that they are more: libsndfile stops where it estimates the end to be."""

    longer = False

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.longer = whence == io.SEEK_END and offset == 0
        super().seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return super().tell() * (LONGER if self.longer else 1)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile | None]:
    """A mono file that holds what its header says, None for one of 0 bytes; what can't be read is a UserError."""
    try:
        size = path.stat().st_size
        if size == 0:
            yield None
            return
        with _Stream(_source(path, size)) as file:
            if file.channels != 1:
                stereo = " (stereo)" if file.channels == 2 else ""
                raise UserError(f"{path} has {file.channels} channels{stereo}, expected mono; mix it down, or take one")
            if _is_cut_short(path, size, file):
                raise UserError(f"{path} is cut short: it ends before its header says; {MEND}")
            if file.frames == 0 and file.format not in ("WAV", "WAVEX") and size > 4096:
                raise UserError(
                    f"{path} announces no samples and holds {size} bytes, so its writer did not finish it; convert it "
                    f"to WAV with a program that repairs it, or {MEND}"
                )
            yield file
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
        raise UserError(f"{path} can't be read as sound ({reason}); convert it to WAV or FLAC, or {MEND}") from error


def _source(path: Path, size: int) -> Any:
    """What to open: the path, or the bytes of a WAV file whose header lacks the length that its samples have."""
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return io.BytesIO(start + file.read()) if _is_mp3(start) else path  # a path's neighbours may be looked at
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                begin = file.tell()
                if length or size - begin < 8 or _chunks_end(file, size):
                    return path
                file.seek(0)
                data = bytearray(file.read())
                data[begin - 4 : begin] = min(size - begin, 0xFFFFFFFF).to_bytes(4, "little")
                return io.BytesIO(data)
            file.seek(length + length % 2, 1)
    return path


def _chunks_end(file: Any, size: int) -> bool:
    """Whether chunks follow, one after the other, to the very end of the file."""
    while file.tell() < size:
        chunk = file.read(8)
        length = int.from_bytes(chunk[4:], "little")
        if len(chunk) < 8 or not chunk[:4].isalnum() or file.tell() + length > size:
            return False
        file.seek(length + length % 2, 1)
    return True


def _is_mp3(start: bytes) -> bool:
    return start[:3] == b"ID3" or (start[:1] == b"\xff" and start[1] & 0xE0 == 0xE0)


def _is_cut_short(path: Path, size: int, file: soundfile.SoundFile) -> bool:
    """Whether a container lacks the end of what it announces: libsndfile would read the rest, and says so in its log.

    Formats that announce no length (IRCAM, PAF, PVF, XI) can't be told.
    """
    if file.format == "OGG":
        return not _has_last_page(path, size)
    if file.format == "SDS":
        return bool(size < 21 + -(-file.frames // SDS[file.subtype]) * 127)
    log = file.extra_info
    if "File seems to be truncated" in log or "Seems to be a truncated file" in log:
        return True
    sizes = [(int(a), int(b)) for a, b in SIZES.findall(log) + WVE.findall(log)]
    counts = [(int(announced), int(decoded)) for decoded, announced in COUNTS.findall(log)]
    if pattern := FRAMES.get(file.format):
        counts += [(int(announced), file.frames) for announced in pattern.findall(log)]
    if file.format == "NIST":
        with path.open("rb") as stream:
            counts += [(int(n), file.frames) for n in re.findall(rb"sample_count -i (\d+)", stream.read(1024))]
    return any(present < announced < PLACEHOLDER for announced, present in sizes + counts)


def _has_last_page(path: Path, size: int) -> bool:
    """Whether an Ogg file's last page is marked as the last."""
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - 64))  # a page has at most 64 KiB
        tail = file.read()
    page = tail.rfind(b"OggS")
    return page >= 0 and len(tail) >= page + 6 and bool(tail[page + 5] & 4)


def _is_counted(path: Path, file: soundfile.SoundFile) -> bool:
    """Whether ``frames`` is the number of samples, rather than an estimate or a sign that nobody knows."""
    return file.frames < COUNTED and (file.format != "MP3" or _has_frame_count(path))


def _blocks(path: Path, file: soundfile.SoundFile, dtype: str) -> Iterator[np.ndarray]:
    """The samples of a file whose length is not known, down to its end."""
    if file.format == "MP3":
        with _Stream(_Longer(path.read_bytes())) as longer:
            try:
                while len(block := longer.read(AT_ONCE, dtype=dtype)):
                    yield block
            except soundfile.LibsndfileError:
                advice = f"convert it to WAV or FLAC with a program that repairs it, or {MEND}"
                raise UserError(f"{path} is cut short: its frames are not whole to the end; {advice}") from None
        return
    while len(block := file.read(AT_ONCE, dtype=dtype)):
        yield block


def _has_frame_count(path: Path) -> bool:
    """Whether an MP3 says how many frames it has, in a first one without sound."""
    with path.open("rb") as file:
        tag = file.read(10)
        if tag[:3] == b"ID3":
            file.seek(sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)), 1)
        else:
            file.seek(0)
        start = file.read(200)
    at = max(start.find(b"Xing"), start.find(b"Info"))
    return at >= 0 and bool(start[at + 7 : at + 8]) and bool(start[at + 7] & 1)


def _decoded(path: Path, file: soundfile.SoundFile, full_scale: float, settled: bool) -> Sound:
    """All samples of an opened file; those of 16 bits as such, in a third of the time that floats would take."""
    sixteen = file.subtype == "PCM_16"
    dtype = "int16" if sixteen else "float32"
    counted = _is_counted(path, file)
    if counted and file.frames <= AT_ONCE:
        x_t = file.read(file.frames, dtype=dtype)
    else:
        blocks = list(_blocks(path, file, dtype))
        x_t = np.concatenate(blocks) if blocks else np.zeros(0, dtype)
    if counted and len(x_t) != file.frames:
        raise UserError(f"{path} holds {len(x_t)} of the {file.frames} samples it announces; {MEND}")
    if sixteen:
        return Sound(x_t.astype(np.float32), file.samplerate, 2.0**-15)
    if not np.isfinite(x_t).all():
        raise UserError(f"{path} holds NaN or infinite samples; {MEND}")
    if file.subtype in ("FLOAT", "DOUBLE"):
        x_t = _within_full_scale(path, x_t, full_scale, settled)
    return Sound(x_t, file.samplerate, 1.0)


def _within_full_scale(path: Path, x_t: np.ndarray, full_scale: float, settled: bool) -> np.ndarray:
    """Floats in [−1, 1]; UserError where they are so large that they were written in other units."""
    if full_scale != 1:
        x_t /= np.float32(full_scale)
    peak = float(np.abs(x_t).max(initial=0))
    if peak > LOUDEST:
        unit = next((unit for unit in (1 << 7, 1 << 15, 1 << 23, 1 << 31) if peak * full_scale <= unit * 1.01), None)
        advice = f"set dataset.full_scale={unit}, or " if unit and not settled else ""
        raise OtherUnitsError(
            f"{path} holds floats up to {peak:.5g} times full scale, which is {full_scale:g}; {advice}write it again "
            "within full scale"
        )
    if peak > 1:
        x_t /= np.float32(peak)
    return x_t
