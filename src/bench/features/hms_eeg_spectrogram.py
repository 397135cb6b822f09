"""HMS: spectrograms of the EEG's own 50 s, finer in time than the competition's, as an image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from bench.features.hms_regions import CHAINS, HMSRegions, Layout
from bench.features.hms_spectrogram import to_bytes
from bench.features.hms_waveform import SAMPLE_RATE, WINDOW, window_of
from bench.signal.spectrograms import bands, hann_power, mean_decibels, weighted
from bench.spec import UserError

N_FFT, HOP, N_MELS, TOP = 1000, 40, 128, 20
"""5 s a window, a frame every 0.2 s, 128 bands up to 20 Hz."""

DEPTH = 80.0
"""Decibels from black (0) to each difference's loudest place (255): (x + 40) / 40 from −1 to 1, as bytes."""

LINKS = {region: tuple(pairwise(chain)) for region, chain in CHAINS.items()}
"""Four differences of neighbours a chain."""


class HMSEEGSpectrogram(HMSRegions):
    """128 mel bands from 0 to 20 Hz × 226 frames a region: an example's 50 s, a window of 5 s every 0.2 s.

    A region is the mean of its chain's four differences' mel spectrograms in decibels, each relative to its own
    maximum and cut off 80 below it (C. Deotte's "How To Make Spectrogram from EEG" with the 16th place's sizes:
    n_fft 1000, hop 40, not centred). Missing values take the difference's mean. A difference without any signal,
    which would be white there, is left out of the mean; a region without any is black. Stacked (1, 512, 226),
    regions (4, 128, 226).
    """

    reads: ClassVar[dict[str, Any]] = {"columns": list(dict.fromkeys(name for c in CHAINS.values() for name in c))}
    size: ClassVar[tuple[int, int]] = (N_MELS, 1 + (WINDOW - N_FFT) // HOP)

    def __init__(self, layout: Layout = "stacked") -> None:
        from bench.signal.mel import mel_filters

        super().__init__(layout)
        # the first bins of a spectrogram of everything up to 100 Hz are those of one that ends at 20 Hz
        bins = 2 * TOP * N_FFT // SAMPLE_RATE
        self._bins, self._filters = bins // 2 + 1, bands(mel_filters(2 * TOP, bins, N_MELS))

    def region_size(self, dataset: Any) -> tuple[int, int]:
        return N_MELS, frames(dataset)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """(rows, 16) float32 µV in the order of ``reads`` → (4, 128, 226) uint8 of 10,000 rows.

        Raises ValueError where there is an infinite value or no number at all.
        """
        refuse_infinite(raw)
        if np.isnan(raw).all():
            raise ValueError(f"NaN everywhere in the {len(raw)} rows of its {raw.shape[1]} electrodes")
        return to_bytes(self.regions(raw, self.reads["columns"]))

    def regions(self, x_tc: np.ndarray, columns: Sequence[str]) -> np.ndarray:
        """(10000, C) µV of the named ``columns`` → (4, 128, 226) float32 in [0, 1]."""
        regions_rmf = np.empty((len(CHAINS), N_MELS, 1 + (len(x_tc) - N_FFT) // HOP), np.float32)
        for region_mf, links in zip(regions_rmf, LINKS.values(), strict=True):  # one at a time stays in the cache
            region_mf[:] = self._region(differences(x_tc, columns, links)).T
        return regions_rmf

    def _region(self, x_ct: np.ndarray) -> np.ndarray:
        """(4, 10000) differences, overwritten → (226, 128), their mean picture."""
        for c in np.flatnonzero(np.isnan(x_ct.sum(axis=1))):
            gap_t = np.isnan(x_ct[c])
            x_ct[c, gap_t] = 0 if gap_t.all() else x_ct[c, ~gap_t].mean()
        power_cfk = hann_power(x_ct, N_FFT, HOP, self._bins)
        return mean_decibels(weighted(power_cfk, self._filters), DEPTH)


def frames(dataset: Any) -> int:
    """Columns of a region's picture; UserError where a data set's examples are shorter than one of its windows."""
    window = window_of(dataset)
    if window < N_FFT:
        raise UserError(
            f"dataset.seconds={window / SAMPLE_RATE:g}: an EEG's spectrogram looks at {N_FFT // SAMPLE_RATE} s at a "
            f"time; set dataset.seconds={N_FFT // SAMPLE_RATE} or more, or choose a sequence model"
        )
    return 1 + (window - N_FFT) // HOP


def refuse_infinite(x_tc: np.ndarray) -> None:
    """ValueError where there are infinities among an example's rows."""
    if np.isinf(x_tc).any():
        raise ValueError(f"{np.count_nonzero(np.isinf(x_tc))} infinite values in its {len(x_tc)} rows")


def differences(x_tc: np.ndarray, columns: Sequence[str], pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """(T, C) of the named ``columns`` → (pairs, T) float32, first minus second, each contiguous."""
    x_ct = np.empty((len(pairs), len(x_tc)), np.float32)
    for row, (a, b) in zip(x_ct, pairs, strict=True):
        np.subtract(x_tc[:, columns.index(a)], x_tc[:, columns.index(b)], out=row)
    return x_ct
