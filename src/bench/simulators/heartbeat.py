"""Simulated heartbeats in the Tianchi competition's own files, for running and testing without its data.

A beat is a sum of Gaussian waves P, Q, R, S, T and the next beat's P and R, as in McSharry et al. 2003
("A dynamical model for generating synthetic electrocardiogram signals", IEEE TBME 50), with four ways to be:
0 normal, 1 ventricular (wide QRS, inverted T, no P), 2 supraventricular (no P, the next beat comes early),
3 raised ST segment.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.simulators import planted

SHARES = (0.64, 0.05, 0.14, 0.17)
"""Of the labels 0–3: 649, 46, 142 and 172 of 1,009 real rows."""

AMBIGUOUS = 0.06
"""Share of the beats that lie between two kinds: about 97 % accuracy is within reach, 100 % is not."""

FIRST_TEST_ID = 100_000
RATE = 170.0  # samples a second at the length 205, so that a beat and the start of the next one fit

# Seconds from the R peak, seconds of width (one standard deviation), height relative to R; a row a wave.
WAVES = ("P", "Q", "R", "S", "T", "ST", "next P", "next R")
NORMAL = [
    (-0.17, 0.022, 0.16),
    (-0.028, 0.009, -0.14),
    (0.0, 0.011, 1.0),
    (0.030, 0.010, -0.22),
    (0.27, 0.050, 0.30),
    (0.12, 0.050, 0.0),
    (0.63, 0.022, 0.16),
    (0.80, 0.011, 1.0),
]
VENTRICULAR = {
    "P": (-0.17, 0.022, 0.0),
    "Q": (-0.06, 0.020, -0.05),
    "R": (0.0, 0.034, 1.0),
    "S": (0.09, 0.032, -0.45),
    "T": (0.30, 0.060, -0.28),
}
SUPRAVENTRICULAR = {"P": (-0.13, 0.022, 0.0), "next P": (0.48, 0.022, 0.09), "next R": (0.63, 0.011, 0.95)}
RAISED_ST = {"S": (0.030, 0.010, -0.04), "ST": (0.12, 0.050, 0.24), "T": (0.26, 0.055, 0.36)}
CHANGES: tuple[dict[str, tuple[float, float, float]], ...] = ({}, VENTRICULAR, SUPRAVENTRICULAR, RAISED_ST)
KINDS = np.array([[c.get(w, n) for w, n in zip(WAVES, NORMAL, strict=True)] for c in CHANGES])  # (kinds, waves, 3)

FEW = {"n_train": 200, "n_test": 1}
"""Settings of ``simulate`` that soon have every class and the true lengths: the catalog's."""


def simulate(
    root: Path,
    n_train: int = 4000,
    n_test: int = 1000,
    length: int = 205,
    seed: int = 0,
    near_duplicates: int = 0,
) -> None:
    """Writes ``train.csv`` and ``testA.csv`` into the empty folder ``root``; same arguments, same bytes.

    ``length`` is the samples of a beat. The test labels are not written, as in the competition. The last
    ``near_duplicates`` training rows are copies of others, scaled or without their noise in turns, which
    ``near_duplicates.csv`` names.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    labels, x_nt, clean_nt = _beats(n_train, length, np.random.default_rng([seed, 0]))
    of = planted.originals(n_train, near_duplicates, seed)
    copies = np.arange(n_train - len(of), n_train)
    scale = np.random.default_rng([seed, 2]).uniform(0.5, 0.95, (len(of), 1))
    labels[copies] = labels[of]
    x_nt[copies] = np.where(np.arange(len(of))[:, None] % 2, clean_nt[of], np.round(scale * x_nt[of], 6))
    planted.write(copies.tolist(), of.tolist(), root)
    _write(root / "train.csv", 0, x_nt, labels)
    _, x_nt = beats(n_test, length, np.random.default_rng([seed, 1]))
    _write(root / "testA.csv", max(FIRST_TEST_ID, n_train), x_nt, None)


def beats(n: int, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``n`` labels (N,) int64 and beats (N, length) float64 in [0, 1] with a tail of zeros."""
    return _beats(n, length, rng)[:2]


def _beats(n: int, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``beats``, and the same beats without their noise."""
    labels = rng.choice(len(SHARES), n, p=SHARES)
    other = (labels + rng.integers(1, len(SHARES), n)) % len(SHARES)
    between = np.where(rng.random(n) < AMBIGUOUS, rng.uniform(0.4, 0.6, n), 0.0)[:, None, None]
    waves = (1 - between) * KINDS[labels] + between * KINDS[other]  # (N, waves, 3)
    spread = np.array([0.06, 0.12, 0.16])  # how much people differ in time, width and height
    waves = waves * np.exp(spread * rng.standard_normal(waves.shape))

    rate = RATE * length / 205 * np.exp(0.08 * rng.standard_normal((n, 1)))  # a slower heart stretches the beat
    start = rng.uniform(-0.30, -0.22, (n, 1))
    seconds = start + np.arange(length)[None] / rate
    x_nt = np.zeros((n, length))
    for wave in range(len(WAVES)):
        centre, width, height = (waves[:, wave, k][:, None] for k in range(3))
        x_nt += height * np.exp(-0.5 * ((seconds - centre) / width) ** 2)
    turns = rng.uniform(0.2, 0.6, (n, 1)) * seconds + rng.random((n, 1))  # of the breath that moves the baseline
    x_nt += rng.uniform(0, 0.08, (n, 1)) * np.sin(2 * np.pi * turns)
    clean_nt = x_nt.copy()
    x_nt += rng.uniform(0.004, 0.025, (n, 1)) * rng.standard_normal((n, length))

    # The file cuts a beat at a varying place and fills the rest with zeros.
    kept = rng.uniform(0.55, 1.05, (n, 1)) * length
    inside = np.arange(length)[None] < np.maximum(kept, 0.5 * length)
    low = np.where(inside, x_nt, np.inf).min(axis=1, keepdims=True)
    high = np.where(inside, x_nt, -np.inf).max(axis=1, keepdims=True)
    beat_nt, clean_nt = (np.where(inside, (x - low) / (high - low), 0.0) for x in (x_nt, clean_nt))
    return labels, beat_nt, clean_nt


def _write(path: Path, first_id: int, x_nt: np.ndarray, labels: np.ndarray | None) -> None:
    with path.open("w", encoding="ascii", newline="") as file:
        file.write("id,heartbeat_signals" + (",label\n" if labels is not None else "\n"))
        for i, beat in enumerate(x_nt):
            label = f",{float(labels[i])}" if labels is not None else ""
            file.write(f'{first_id + i},"{",".join(map(repr, beat.tolist()))}"{label}\n')
