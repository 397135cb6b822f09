"""Simulated EEGs in HMS's own files, for running and testing without the competition's data.

A recording is a few sources, each with a place on the head, mixed onto 19 electrodes by distance: pink
background and alpha rhythm, one of six patterns in the terms of the ACNS critical-care EEG terminology
(Hirsch et al. 2021), and what disturbs a real recording: blinks, mains hum, muscle, loose electrodes, gaps.
Patients differ in amplitude, rhythm and the pattern they tend to, so that a split that parts a patient scores
too well. Experts' votes are the surer, the more the pattern stands out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.simulators import planted

RATE = 200  # Hz
CLASSES = ("seizure", "lpd", "gpd", "lrda", "grda", "other")
CONSENSUS = ("Seizure", "LPD", "GPD", "LRDA", "GRDA", "Other")
SHARES = (0.17, 0.15, 0.15, 0.13, 0.16, 0.24)
CONFUSED = (  # what an expert who is not sure takes a pattern (row) for (column)
    (0.30, 0.28, 0.14, 0.06, 0.06, 0.16),
    (0.14, 0.30, 0.26, 0.12, 0.02, 0.16),
    (0.12, 0.26, 0.30, 0.02, 0.12, 0.18),
    (0.06, 0.12, 0.02, 0.30, 0.28, 0.22),
    (0.04, 0.02, 0.10, 0.26, 0.32, 0.26),
    (0.07, 0.08, 0.06, 0.09, 0.12, 0.58),
)

ELECTRODES = {  # the 10-20 system seen from above: (right, front), in the files' order
    "Fp1": (-0.31, 0.95), "F3": (-0.40, 0.52), "C3": (-0.50, 0.00), "P3": (-0.40, -0.52), "F7": (-0.81, 0.59),
    "T3": (-1.00, 0.00), "T5": (-0.81, -0.59), "O1": (-0.31, -0.95), "Fz": (0.00, 0.50), "Cz": (0.00, 0.00),
    "Pz": (0.00, -0.50), "Fp2": (0.31, 0.95), "F4": (0.40, 0.52), "C4": (0.50, 0.00), "P4": (0.40, -0.52),
    "F8": (0.81, 0.59), "T4": (1.00, 0.00), "T6": (0.81, -0.59), "O2": (0.31, -0.95),
}  # fmt: skip
PLACES = np.array(list(ELECTRODES.values()))
NAMES = tuple(ELECTRODES)
EYES = np.exp(-0.5 * ((PLACES[:, 1] - 1.0) / 0.25) ** 2)  # a blink fades backwards
MUSCLES = np.where(np.isin(NAMES, ["T3", "T4", "F7", "F8", "Fp1", "Fp2"]), 1.0, 0.2).astype(np.float32)

CHAINS = {  # the spectrograms' regions in the files' order
    "LL": ("Fp1", "F7", "T3", "T5", "O1"),
    "RL": ("Fp2", "F8", "T4", "T6", "O2"),
    "LP": ("Fp1", "F3", "C3", "P3", "O1"),
    "RP": ("Fp2", "F4", "C4", "P4", "O2"),
}
N_FFT = 1024
BINS = np.arange(3, 103)  # 0.59 … 19.92 Hz
SPECTROGRAM_COLUMNS = [f"{region}_{k * RATE / N_FFT:.2f}" for region in CHAINS for k in BINS]
SPECTROGRAM_ROWS = 300  # 10 minutes, one row 2 s
MARGIN_ROWS = 138  # (600 − 50) / 2 / 2, up: the EEG's 50 s lie in the middle of the spectrogram's 10 minutes

Source = tuple[np.ndarray, np.ndarray]  # weights on the 19 electrodes, wave in µV

FEW = {"n_eegs": 2, "n_patients": 2, "n_test": 0}
"""Settings of ``simulate`` that soon have every class and the true lengths: the catalog's."""


@dataclass(frozen=True)
class Patient:
    id: int
    amplitude: float  # of everything that comes from the brain
    alpha: float  # Hz
    slope: float  # of the background's power, as 1 / f^slope
    pulse: float  # beats a second
    mains: float  # Hz: 50 or 60
    pattern: int  # the class that this patient's EEGs tend to


class Again:
    """A recording handed in twice: from some seconds later on, at another gain, under a number of its own."""

    def __init__(self, patient: Patient, index: int, rng: np.random.Generator) -> None:
        self.patient = replace(patient, id=500_000 + index)
        self.start, self.gain = RATE * int(rng.integers(1, 9)), float(rng.uniform(0.7, 1.3))

    def __call__(self, eeg_ct: np.ndarray) -> np.ndarray:
        """(20, T) µV → the same length; what comes after the recording's end is its end, backwards."""
        later = np.concatenate([eeg_ct[:, self.start :], eeg_ct[:, : -self.start - 1 : -1]], axis=1)
        return later * np.float32(self.gain)


def simulate(
    root: Path, n_eegs: int = 240, n_patients: int = 60, n_test: int = 24, seed: int = 0, near_duplicates: int = 0
) -> None:
    """Writes the competition's layout into the empty folder ``root``; the same arguments, the same bytes.

    An EEG depends on ``seed``, its own number and how many patients there are, not on the EEGs before it.
    Test EEGs come from patients who are not in train. One EEG has one spectrogram; the competition's share.
    The last ``near_duplicates`` training EEGs are others that begin some seconds later, at another gain, under a
    patient of their own, as if a recording had been handed in twice; ``near_duplicates.csv`` names them.
    """
    root = Path(root)
    n_patients = min(n_patients, n_eegs)
    patients = [_patient(seed, i) for i in range(n_patients)]
    strangers = [_patient(seed, 1_000_000 + i) for i in range(max(1, n_test // 4))]
    rows: dict[str, list[pd.DataFrame]] = {"train": [], "test": []}
    for part, n, group in (("train", n_eegs, patients), ("test", n_test, strangers)):
        (root / f"{part}_eegs").mkdir(parents=True, exist_ok=True)
        (root / f"{part}_spectrograms").mkdir(parents=True, exist_ok=True)
        of = planted.originals(n, near_duplicates if part == "train" else 0, seed)
        copies = dict(zip(range(n - len(of), n), of.tolist(), strict=True))
        for i in range(n):
            original = copies.get(i, i)
            rng = np.random.default_rng([seed, part == "test", original])
            patient = group[original if original < len(group) else int(rng.integers(len(group)))]
            again = Again(patient, i, np.random.default_rng([seed, 3, i])) if i in copies else None
            rows[part].append(_one_eeg(root, part, i, again.patient if again else patient, rng, again))
        ids = [int(one["eeg_id"].iloc[0]) for one in rows[part]]
        planted.write([ids[i] for i in copies], [ids[i] for i in copies.values()], root)
    pd.concat(rows["train"]).to_csv(root / "train.csv", index=False)
    if rows["test"]:
        columns = ["spectrogram_id", "eeg_id", "patient_id"]
        pd.concat(rows["test"]).to_csv(root / "test.csv", index=False, columns=columns)


def _patient(seed: int, index: int) -> Patient:
    rng = np.random.default_rng([seed, 2, index])
    amplitude = float(np.exp(0.3 * rng.standard_normal()))
    alpha, slope, pulse = (float(rng.uniform(low, high)) for low, high in ((7, 11), (0.9, 1.5), (0.9, 1.6)))
    pattern = int(rng.choice(len(CLASSES), p=SHARES))
    return Patient(1_000 + 7 * index, amplitude, alpha, slope, pulse, float(rng.choice([50, 60])), pattern)


def _one_eeg(
    root: Path, part: str, index: int, patient: Patient, rng: np.random.Generator, again: Again | None
) -> pd.DataFrame:
    """Writes an EEG and its spectrogram; its rows of ``train.csv``."""
    pattern = patient.pattern if rng.random() < 0.6 else int(rng.choice(len(CLASSES), p=SHARES))
    clarity = float(rng.beta(5.0, 1.0))
    n_subs = int(rng.choice([1, 2, 3, 4, 6], p=[0.4, 0.25, 0.15, 0.1, 0.1])) if part == "train" else 1
    offsets = np.concatenate([[0], np.cumsum(2 * rng.integers(1, 4, n_subs - 1))]).astype(np.float64)
    eeg_ct = record(pattern, clarity, 50 + int(offsets[-1]), patient, rng)
    spectrogram = _spectrogram(again(eeg_ct) if again else eeg_ct, rng)
    _punch_holes(eeg_ct, rng)
    eeg_ct = again(eeg_ct) if again else eeg_ct
    eeg_id = 10_000 * (index + 1) + int(rng.integers(9_000)) + (0 if part == "train" else 2_000_000_000)
    spectrogram_id = eeg_id // 3  # EEGs are at least 1,000 apart, so these are unique too
    _write_columns(root / f"{part}_eegs" / f"{eeg_id}.parquet", (*NAMES, "EKG"), eeg_ct)
    times = 2 * np.arange(spectrogram.shape[1], dtype=np.int64) + 1
    file = f"{part}_spectrograms/{spectrogram_id}.parquet"
    _write_columns(root / file, ("time", *SPECTROGRAM_COLUMNS), [times, *spectrogram])
    votes = _votes(pattern, clarity, n_subs, rng)
    frame = {
        "eeg_id": eeg_id,
        "eeg_sub_id": np.arange(n_subs),
        "eeg_label_offset_seconds": offsets,
        "spectrogram_id": spectrogram_id,
        "spectrogram_sub_id": np.arange(n_subs),
        "spectrogram_label_offset_seconds": offsets,
        "label_id": 10 * eeg_id + np.arange(n_subs),
        "patient_id": patient.id,
        "expert_consensus": [CONSENSUS[k] for k in votes.argmax(axis=1)],
    }
    return pd.DataFrame(frame | {f"{name}_vote": v for name, v in zip(CLASSES, votes.T, strict=True)})


def _votes(pattern: int, clarity: float, n_subs: int, rng: np.random.Generator) -> np.ndarray:
    """(sub-records, 6) counts of 3–20 experts, of whom one changes from one sub-record to the next."""
    n_experts = int(rng.integers(3, 8) if rng.random() < 0.5 else rng.integers(9, 21))
    sure = 0.1 + 0.8 * clarity
    share = (1 - sure) * np.array(CONFUSED[pattern])
    share[pattern] += sure
    constant = rng.multinomial(n_experts - 1, share)
    return np.asarray(constant + rng.multinomial(1, share, n_subs))


def record(pattern: int, clarity: float, seconds: int, who: Patient, rng: np.random.Generator) -> np.ndarray:
    """(20, T) float32 µV at 200 Hz: the 19 electrodes and EKG, without gaps.

    ``pattern`` is a position in ``CLASSES``; ``clarity`` in 0–1 says how far it stands out of the background.
    """
    t = seconds * RATE
    time = np.arange(t, dtype=np.float32) / RATE
    sources = _background(t, time, who, rng) + _pattern(pattern, clarity, time, rng)
    mixing, waves = (np.stack(x).astype(np.float32) for x in zip(*sources, strict=True))
    eeg_ct = np.empty((20, t), np.float32)
    np.matmul(mixing.T * np.float32(who.amplitude), waves, out=eeg_ct[:19])
    _disturb(eeg_ct, time, who, rng)
    return eeg_ct


def _spread(place: tuple[float, float], sigma: float) -> np.ndarray:
    return np.asarray(np.exp(-((PLACES - place) ** 2).sum(axis=1) / (2 * sigma**2)))


def _pink(n: int, t: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """(n, t) noise of power 1 / f^slope, standard deviation 1."""
    frequency = np.fft.rfftfreq(t, 1 / RATE).astype(np.float32)
    gain = np.zeros_like(frequency)
    gain[1:] = np.maximum(frequency[1:], 0.5) ** (-slope / 2)  # flat below: an amplifier's high-pass
    spectrum = rng.standard_normal((n, 2, len(frequency)), dtype=np.float32) * gain
    noise = np.fft.irfft(spectrum[:, 0] + 1j * spectrum[:, 1], t, axis=1)
    return np.asarray(noise / noise.std(axis=1, keepdims=True), np.float32)


def _background(t: int, time: np.ndarray, patient: Patient, rng: np.random.Generator) -> list[Source]:
    places = rng.uniform(-0.9, 0.9, (12, 2))
    noise = 22 * _pink(12, t, patient.slope, rng)
    sources = [(_spread((x, y), 0.45), wave) for (x, y), wave in zip(places, noise, strict=True)]
    waxing = 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.05, 0.2) * time + rng.uniform(0, 6))
    alpha = rng.uniform(3, 14) * waxing * np.sin(2 * np.pi * patient.alpha * time + rng.uniform(0, 6))
    return [*sources, (_spread((0, -1), 0.5), alpha)]


def _pattern(pattern: int, clarity: float, time: np.ndarray, rng: np.random.Generator) -> list[Source]:
    focus = (float(rng.choice([-1, 1])) * rng.uniform(0.5, 0.8), rng.uniform(-0.4, 0.5))
    lateral, general = _spread(focus, 0.42), _spread((0, rng.uniform(0.5, 0.9)), 0.85)
    height = 100 + 300 * clarity
    match CLASSES[pattern]:
        case "seizure":
            middle = time[-1] / 2
            onset, end = middle - rng.uniform(12, 24), middle + rng.uniform(8, 24)
            progress = np.clip((time - onset) / (end - onset), 0, 1)
            on = _smooth((time - onset) / 2) * _smooth((end - time) / 1)
            frequency = rng.uniform(5, 7) * (1 - progress) + rng.uniform(1.6, 2.6) * progress
            phase = 2 * np.pi * np.cumsum(frequency) / RATE
            wave = height * on * (0.5 + progress) * (np.sin(phase) + 0.45 * np.sin(2 * phase + 1))
            return [(lateral, wave), (general, wave * 0.9 * progress)]
        case "lpd":
            return [(lateral, height * 1.6 * _discharges(time, (0.6, 1.2), rng))]
        case "gpd":
            wave = height * 1.6 * _discharges(time, (1.0, 1.8), rng)
            lag = int(rng.integers(2, 12))  # samples: the wave travels from front to back
            return [(general, wave), (0.5 * _spread((0, -0.6), 0.6), np.roll(wave, lag))]
        case "lrda" | "grda" as name:
            return [(lateral if name == "lrda" else general, height * 0.8 * _rhythmic_delta(time, rng))]
        case _:  # nothing, or slow waves without a rhythm that may be taken for something
            slow = _pink(1, len(time), 2.5, rng)[0] * rng.uniform(0, 35)
            return [(lateral if rng.random() < 0.5 else general, slow)]


def _smooth(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, a smooth step between."""
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x))


def _discharges(time: np.ndarray, rate: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Periodic sharp waves at ``rate`` in Hz: a spike of ~70 ms and the slow wave after it."""
    period = float(1 / rng.uniform(*rate))
    gaps = period * (1 + 0.07 * rng.standard_normal(int(time[-1] / period) + 2).clip(-3, 3))
    at = (np.cumsum(gaps) * RATE).astype(int)
    at = at[at < len(time)]
    train = np.zeros(len(time), np.float32)
    train[at] = 1 + 0.2 * rng.standard_normal(len(at))
    lag = np.arange(-20, 120) / RATE
    width = rng.uniform(0.022, 0.04)
    kernel = 0.45 * np.exp(-0.5 * ((lag - 0.2) / 0.09) ** 2) - np.exp(-0.5 * (lag / width) ** 2)
    return np.convolve(train, kernel.astype(np.float32))[20 : 20 + len(time)]


def _rhythmic_delta(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A steady 1–2.5 Hz rhythm that waxes and wanes and drifts a little in frequency."""
    drift, waxing = (np.sin(rng.uniform(0.15, 0.6) * time + rng.uniform(0, 6)) for _ in range(2))
    phase = 2 * np.pi * np.cumsum(rng.uniform(1.0, 2.5) * (1 + 0.06 * drift)) / RATE
    return np.asarray((0.75 + 0.25 * waxing) * (np.sin(phase) + 0.2 * np.sin(2 * phase + 0.7)))


def _disturb(eeg_ct: np.ndarray, time: np.ndarray, patient: Patient, rng: np.random.Generator) -> None:
    """Adds, in place, what does not come from the brain."""
    t = len(time)
    electrodes_ct = eeg_ct[:19]
    electrodes_ct += 2 * rng.standard_normal((19, t), dtype=np.float32)

    blinks = np.zeros(t, np.float32)
    blinks[rng.integers(0, t, rng.poisson(t / RATE / rng.uniform(4, 20)))] = rng.uniform(60, 180)
    blinks = np.convolve(blinks, np.hanning(70).astype(np.float32))[:t]
    hum = np.sin(2 * np.pi * patient.mains * time) * rng.uniform(0, 12)
    beats = np.zeros(t, np.float32)
    beats[(np.arange(0.3, time[-1], 1 / patient.pulse) * RATE).astype(int)] = 1
    lag = np.arange(-15, 60) / RATE
    qrst = np.exp(-0.5 * (lag / 0.012) ** 2) + 0.25 * np.exp(-0.5 * ((lag - 0.22) / 0.04) ** 2)
    beats = np.convolve(beats, qrst.astype(np.float32))[15 : 15 + t]
    gains = np.stack([EYES, rng.uniform(0.2, 1.8, 19), rng.uniform(-4, 4, 19)], axis=1)
    electrodes_ct += gains.astype(np.float32) @ np.stack([blinks, hum, beats]).astype(np.float32)
    eeg_ct[19] = 600 * beats + 40 * _pink(1, t, 1.5, rng)[0] + 0.5 * hum

    for _ in range(rng.poisson(t / RATE / 15)):  # bursts of muscle, 0.5–4 s
        start, n = int(rng.integers(t)), int(rng.integers(RATE // 2, 4 * RATE))
        burst = np.diff(rng.standard_normal((19, min(n, t - start) + 1), dtype=np.float32), axis=1)
        electrodes_ct[:, start : start + n] += burst * np.float32(rng.uniform(4, 25)) * MUSCLES[:, None]
    if rng.random() < 0.15:  # a loose electrode: steps that settle
        at = int(rng.integers(t))
        electrodes_ct[rng.integers(19), at:] += rng.uniform(-900, 900) * np.exp(-(time[at:] - time[at]) / 0.8)


def _punch_holes(eeg_ct: np.ndarray, rng: np.random.Generator) -> None:
    """Gaps of NaN in place: a pause of the whole recording, and rarely an electrode that was never there."""
    if rng.random() < 0.15:
        start = int(rng.integers(eeg_ct.shape[1]))
        eeg_ct[:, start : start + int(rng.integers(RATE // 10, 4 * RATE))] = np.nan
    if rng.random() < 0.03:
        eeg_ct[rng.integers(20)] = np.nan


def _spectrogram(eeg_ct: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(400, rows) float32 power of the four chains, 2 s a row, at least 300 rows.

    Only the middle has a recording; the minutes around it are its own rows drawn again, with noise.
    """
    window = np.hanning(N_FFT).astype(np.float32)
    rows = []
    for chain in CHAINS.values():
        x_ct = np.diff(eeg_ct[[NAMES.index(n) for n in chain]], axis=0)
        frames = np.lib.stride_tricks.sliding_window_view(x_ct, N_FFT, axis=1)[:, :: 2 * RATE]
        power = np.abs(np.fft.rfft(frames * window, axis=2)[:, :, BINS]) ** 2
        rows.append(power.mean(axis=0).T / (N_FFT * RATE))
    middle = np.concatenate(rows)  # (400, frames)
    n_rows = SPECTROGRAM_ROWS + (eeg_ct.shape[1] // RATE - 50) // 2
    drawn = rng.integers(0, middle.shape[1], n_rows)
    extended = middle[:, drawn] * rng.gamma(4, 0.25, (1, n_rows)).astype(np.float32)
    extended[:, MARGIN_ROWS : MARGIN_ROWS + middle.shape[1]] = middle
    if rng.random() < 0.1:
        start = int(rng.integers(n_rows))
        extended[:, start : start + int(rng.integers(1, 20))] = np.nan
    return np.asarray(extended, np.float32)


def _write_columns(path: Path, names: tuple[str, ...], columns: list[np.ndarray] | np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # NaN becomes a missing value, which is what pandas writes for it.
    arrays = [pa.array(np.ascontiguousarray(c), from_pandas=True) for c in columns]
    table = pa.table(arrays, names=list(names))
    pq.write_table(table, path, compression="snappy", use_dictionary=False, write_statistics=False)
