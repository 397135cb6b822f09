"""Simulated sounds in the Freesound competition's own files, for running and testing without its data.

Seven ways to make a sound, six or five timbres each, 41 in all: held tones, plucked strings, bells, frequency
modulation (J. Chowning, "The synthesis of complex audio spectra by means of frequency modulation", JAES 21, 1973),
glides, coloured noise, and clicks. A timbre is what stays (partials, envelope, rates); pitch, loudness, length, silence
before the sound and noise differ from clip to clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.simulators import planted
from bench.spec import UserError

RATE = 44_100
SHORTEST = 0.3  # seconds
VERIFIED = 0.39
"""Share of the training clips whose label was checked: 3,710 of the competition's 9,473."""
WRONG = 0.08
"""Share of the unchecked labels that are another class's."""
NEAR_EMPTY = 20
"""Samples of the test's shortest sound that is not empty."""

# partials' decline (power of their number), odd ones alone, vibrato in Hz and share of the pitch, pitch in Hz
TONES = [
    (0.6, False, 0.0, 0.0, 220),
    (1.0, True, 0.0, 0.0, 260),
    (1.4, False, 5.5, 0.012, 440),
    (2.0, False, 0.0, 0.0, 110),
    (2.5, True, 6.5, 0.02, 600),
    (0.3, False, 4.0, 0.008, 150),
]
# decline of the partials, seconds until a third is left, pitch
STRINGS = [(0.5, 0.15, 110), (1.0, 0.6, 196), (1.5, 0.08, 330), (0.8, 1.5, 82), (2.0, 0.3, 523), (0.3, 0.04, 147)]
# partials relative to the pitch, seconds until a third is left, pitch
BELLS = [
    ((1, 2.76, 5.40, 8.93), 0.5, 600),
    ((0.5, 1, 1.19, 1.5, 2), 2.0, 220),
    ((1, 1.59, 2.14, 2.30, 2.65), 0.12, 160),
    ((1, 4.0, 10.1), 0.25, 880),
    ((1, 1.48, 2.0, 3.36), 0.08, 540),
    ((1, 1.07, 2.93, 3.11, 6.3), 1.2, 330),
]
# modulator relative to the carrier, depth at the start and at the end, carrier
MODULATIONS = [(1.0, 5.0, 1.0, 300), (1.41, 8.0, 0.0, 200), (3.0, 2.0, 2.0, 250)]
MODULATIONS += [(0.25, 12.0, 6.0, 500), (7.0, 1.5, 0.2, 180), (2.0, 0.0, 6.0, 350)]
# pitch at the start and at the end, glides a second (0: one over the whole clip)
GLIDES = [(300, 2400, 0.0), (3000, 250, 0.0), (600, 1200, 3.0), (1500, 900, 8.0), (2500, 5000, 1.5)]
# centre in Hz, width in octaves, seconds until a third is left (0: held), bursts a second (0: none)
NOISES = [(400, 1.5, 0.0, 0.0), (6000, 0.5, 0.0, 0.0), (3000, 2.0, 0.1, 0.0), (8000, 1.0, 0.05, 6.0)]
NOISES += [(150, 0.8, 0.0, 2.0), (1200, 0.3, 0.4, 0.0)]
# clicks a second, how irregular (share of their distance), ring in Hz, seconds until a third of it is left
CLICKS = [(2.0, 0.1, 1000, 0.01), (8.0, 0.5, 2500, 0.005), (20.0, 0.8, 4000, 0.003)]
CLICKS += [(4.0, 0.0, 300, 0.04), (12.0, 0.2, 700, 0.01), (1.5, 0.6, 5500, 0.03)]

FEW = {"n_train": 123, "n_test": 1, "longest": 0.4}
"""Settings of ``simulate`` that soon have every class and the true lengths: the catalog's."""


def simulate(
    root: Path,
    n_train: int = 410,
    n_test: int = 41,
    n_classes: int = 41,
    longest: float = 10.0,
    seed: int = 0,
    near_duplicates: int = 0,
) -> None:
    """Writes train.csv, audio_train/, audio_test/ and sample_submission.csv into the empty folder ``root``.

    Clips have 0.3 to ``longest`` seconds. Same arguments, same bytes. Of three test files or more one is empty and
    another almost. The last ``near_duplicates`` training clips are cuts of others, at another loudness;
    ``near_duplicates.csv`` names them.
    """
    root = Path(root)
    rows = labels(n_train, n_classes, seed)
    of = planted.originals(n_train, near_duplicates, seed)
    copies = dict(zip(range(n_train - len(of), n_train), of.tolist(), strict=True))
    rows = rows.iloc[[copies.get(i, i) for i in range(n_train)]].reset_index(drop=True)
    names = _names(n_train + n_test, seed)
    train, test = sorted(names[:n_train]), sorted(names[n_train:])
    for part in ("train", "test"):
        (root / f"audio_{part}").mkdir(parents=True, exist_ok=True)
    for i, (name, true) in enumerate(zip(train, rows["true"], strict=True)):
        x_t = clip(true, np.random.default_rng([seed, 1, copies.get(i, i)]), longest)
        _write(root / "audio_train" / name, _cut(x_t, np.random.default_rng([seed, 1, i])) if i in copies else x_t)
    planted.write([train[i] for i in copies], [train[i] for i in copies.values()], root)
    table = pd.DataFrame({"fname": train, "label": rows["label"], "manually_verified": rows["manually_verified"]})
    table.to_csv(root / "train.csv", index=False)
    classes = timbres(n_classes)
    for i, name in enumerate(test):
        x_t = clip(classes[i % n_classes], np.random.default_rng([seed, 2, i]), longest)
        kept = {n_test - 1: 0, n_test - 2: NEAR_EMPTY}.get(i, len(x_t)) if n_test >= 3 else len(x_t)
        _write(root / "audio_test" / name, x_t[:kept])
    guess = " ".join(sorted(classes)[:3])
    pd.DataFrame({"fname": test, "label": guess}).to_csv(root / "sample_submission.csv", index=False)


def labels(n: int, n_classes: int, seed: int) -> pd.DataFrame:
    """``label`` as train.csv says it, ``true`` as it is, ``manually_verified`` 0 or 1, for ``n`` clips.

    As many clips a class as can be; ``WRONG`` of the unverified labels are another class's.
    """
    rng = np.random.default_rng([seed, 0])
    classes = np.array(timbres(n_classes))
    true = rng.permutation(np.arange(n) % n_classes)
    verified = rng.random(n) < VERIFIED
    unverified = np.flatnonzero(~verified)
    wrong = rng.choice(unverified, round(WRONG * len(unverified)), replace=False)
    label = true.copy()
    label[wrong] = (label[wrong] + rng.integers(1, n_classes, len(wrong))) % n_classes
    return pd.DataFrame({"label": classes[label], "true": classes[true], "manually_verified": verified.astype(int)})


def timbres(n: int = 41) -> list[str]:
    """The first ``n`` of the 41 timbres' names, of all families in turn."""
    longest = max(len(settings) for _, settings in FAMILIES.values())
    names = [f"{name}_{i + 1}" for i in range(longest) for name, (_, s) in FAMILIES.items() if i < len(s)]
    if not 2 <= n <= len(names):
        raise UserError(f"dataset.simulator.n_classes={n} must lie between 2 and {len(names)}, the timbres there are")
    return names[:n]


def clip(timbre: str, rng: np.random.Generator, longest: float = 10.0) -> np.ndarray:
    """(T,) int16 at 44.1 kHz, 0.3 to ``longest`` seconds, short ones more often."""
    family, _, number = timbre.rpartition("_")
    make, settings = FAMILIES[family]
    n = int(RATE * SHORTEST * (longest / SHORTEST) ** (rng.random() ** 1.5))
    silent = int(n * max(0.0, rng.uniform(-0.2, 0.2)))
    x_t = make(n - silent, rng, *settings[int(number) - 1])
    ramp = min(200, len(x_t) // 2)  # a sound that starts or stops at once would click
    x_t[:ramp] *= np.linspace(0, 1, ramp, dtype=np.float32)
    x_t[len(x_t) - ramp :] *= np.linspace(1, 0, ramp, dtype=np.float32)
    out_t = np.zeros(n, np.float32)
    out_t[silent:] = x_t * (rng.uniform(0.1, 0.95) / max(float(np.abs(x_t).max()), 1e-9))
    out_t += np.float32(10 ** rng.uniform(-4.5, -2.5)) * rng.standard_normal(n, np.float32)
    return np.clip(np.rint(out_t * 32767), -32768, 32767).astype(np.int16)


def _cut(x_t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Six to nine tenths of a clip (T,) int16, its beginning within the first tenth of it, as loud as a clip may be."""
    start, n = int(len(x_t) * rng.uniform(0, 0.1)), int(len(x_t) * rng.uniform(0.6, 0.9))
    cut_t = x_t[start : start + n]
    gain = 32767 * rng.uniform(0.1, 0.95) / max(int(np.abs(cut_t.astype(np.int32)).max()), 1)
    return np.clip(np.rint(cut_t * gain), -32768, 32767).astype(np.int16)


def _tone(
    n: int, rng: np.random.Generator, decline: float, odd: bool, vibrato: float, depth: float, pitch: float
) -> np.ndarray:
    t = _seconds(n)
    swing = depth * np.sin(2 * np.pi * vibrato * t + rng.uniform(0, 6)) / (2 * np.pi * vibrato) if vibrato else 0.0
    attack = np.minimum(1, t / rng.uniform(0.03, 0.15))
    return _partials(_varied(pitch, rng) * (t + swing), decline, 2 if odd else 1) * attack.astype(np.float32)


def _string(n: int, rng: np.random.Generator, decline: float, decay: float, pitch: float) -> np.ndarray:
    t = _seconds(n)
    return np.asarray(_partials(_varied(pitch, rng) * t, decline, 1) * _fading(t, _varied(decay, rng)))


def _bell(n: int, rng: np.random.Generator, ratios: tuple[float, ...], decay: float, pitch: float) -> np.ndarray:
    t, pitch, decay = _seconds(n), _varied(pitch, rng), _varied(decay, rng)
    x_t = np.zeros(n, np.float32)
    for ratio in ratios:
        x_t += _sine(pitch * ratio * t) * _fading(t, decay / ratio**0.5)
    return x_t


def _modulated(n: int, rng: np.random.Generator, ratio: float, start: float, end: float, pitch: float) -> np.ndarray:
    t, pitch = _seconds(n), _varied(pitch, rng)
    depth = start + (end - start) * np.minimum(1, t / _varied(0.6, rng))
    return _sine(pitch * t + depth * _sine(pitch * ratio * t) / (2 * np.pi))


def _glide(n: int, rng: np.random.Generator, start: float, end: float, rate: float) -> np.ndarray:
    t = _seconds(n)
    place = np.linspace(0, 1, n) if rate == 0 else 0.5 - 0.5 * np.cos(2 * np.pi * _varied(rate, rng) * t)
    return _sine(np.cumsum(_varied(1.0, rng) * start * (end / start) ** place) / RATE)


def _noise(n: int, rng: np.random.Generator, centre: float, width: float, decay: float, bursts: float) -> np.ndarray:
    size = 1 << (n - 1).bit_length()
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    octaves = np.log2(np.maximum(frequency, 1) / _varied(centre, rng))
    spectrum = np.fft.rfft(rng.standard_normal(size, np.float32)) * np.exp(-0.5 * (octaves / (width / 2)) ** 2)
    t = _seconds(n)
    since = t % (1 / _varied(bursts, rng)) if bursts else t
    envelope = _fading(since, decay or 0.12) if decay or bursts else np.float32(1)
    return np.fft.irfft(spectrum, size)[:n].astype(np.float32) * envelope


def _click(n: int, rng: np.random.Generator, rate: float, irregular: float, ring: float, decay: float) -> np.ndarray:
    t = _seconds(min(n, int(6 * decay * RATE)))
    grain_t = _sine(_varied(ring, rng) * t) * _fading(t, decay)
    gap = 1 / _varied(rate, rng)
    x_t = np.zeros(n + len(grain_t), np.float32)
    times = np.arange(0, n / RATE, gap) + gap * irregular * rng.uniform(-0.5, 0.5, len(np.arange(0, n / RATE, gap)))
    for start in (np.clip(times, 0, n / RATE) * RATE).astype(int):
        x_t[start : start + len(grain_t)] += grain_t * np.float32(rng.uniform(0.5, 1))
    return x_t[:n]


FAMILIES: dict[str, tuple[Callable[..., np.ndarray], Sequence[tuple[Any, ...]]]] = {
    "tone": (_tone, TONES),
    "string": (_string, STRINGS),
    "bell": (_bell, BELLS),
    "modulation": (_modulated, MODULATIONS),
    "noise": (_noise, NOISES),
    "click": (_click, CLICKS),
    "glide": (_glide, GLIDES),
}


def _seconds(n: int) -> np.ndarray:
    return np.arange(n) / RATE


def _varied(value: float, rng: np.random.Generator) -> float:
    """The value of one clip: a sixth more or less, as the players differ."""
    return value * float(np.exp(0.16 * rng.standard_normal()))


def _fading(t: np.ndarray, decay: float) -> np.ndarray:
    return np.exp(-t / decay).astype(np.float32)


def _sine(turns: np.ndarray) -> np.ndarray:
    """sin of whole turns, in float32: what matters of a long phase is its fraction."""
    return np.asarray(np.sin((2 * np.pi) * (turns % 1).astype(np.float32)))


def _partials(turns: np.ndarray, decline: float, step: int, n: int = 12) -> np.ndarray:
    """Partials 1, 1 + step, … as powers of one rotation: two products each, where a sine costs forty."""
    angle = (2 * np.pi) * (turns % 1).astype(np.float32)
    first = np.empty(len(turns), np.complex64)
    first.real, first.imag = np.cos(angle), np.sin(angle)
    rotation, jump = first.copy(), first**step if step > 1 else first
    out = np.zeros(len(turns), np.float32)
    for number in range(1, n * step, step):
        out += rotation.imag * np.float32(number**-decline)
        rotation *= jump
    return out


def _names(n: int, seed: int) -> list[str]:
    """Distinct file names such as the competition's 00044347.wav."""
    numbers = np.random.default_rng([seed, 3]).choice(1 << 32, n, replace=False)
    return [f"{number:08x}.wav" for number in numbers]


def _write(path: Path, x_t: np.ndarray) -> None:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(x_t.astype("<i2").tobytes())
