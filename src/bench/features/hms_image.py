"""HMS: what the experts saw, as one image: two spectrograms on the left, twenty traces on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bench.features.base import Features
from bench.features.hms_eeg_spectrogram import HMSEEGSpectrogram, differences, middle
from bench.features.hms_spectrogram import brightness, to_bytes
from bench.features.hms_waveform import SAMPLE_RATE
from bench.signal.spectrograms import resized
from bench.signal.traces import MOST_ROWS, NOTHING, bridged, spans, without_mains
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from torch import nn

TRACES = (
    ("Fp1", "F3", 116.34481), ("F3", "C3", 102.60141), ("C3", "P3", 87.55995), ("P3", "O1", 110.57861),
    ("Fp2", "F4", 109.53565), ("F4", "C4", 101.4466), ("C4", "P4", 98.31189), ("P4", "O2", 122.75707),
    ("Fp1", "F7", 100.77059), ("F7", "T3", 100.71571), ("T3", "T5", 101.946915), ("T5", "O1", 98.06077),
    ("Fp2", "F8", 109.903534), ("F8", "T4", 88.95162), ("T4", "T6", 92.10137), ("T6", "O2", 113.432465),
    ("Fz", "Cz", 89.53329), ("Cz", "Pz", 98.25634), ("EKG", None, 575.77045), ("C3", None, 192.73958),
)  # fmt: skip
"""From the top: the electrode, the one taken off it, and the trace's scale in µV (M. Kotyushev, HMS 16th place)."""

CENTRAL = slice(3000, 7000)
"""Of the middle 10,000 rows: the 20 s that are drawn."""

CLIP = 2
"""Scales from the middle of a slot to its edge."""

LEFT = 6
"""One of so many shares of the width is the spectrograms'."""

SMALLEST = 80, 96
"""Pixels below which a slot has under eight rows, a spectrogram under sixteen columns."""


class HMSImage(Features):
    """The third HMS write-up's input (M. Kotyushev, Kaggle, 16th place): (1, 640, 1920) float32 in [0, 1].

    Left sixth: the competition's 10-minute spectrogram (``hms_spectrogram``) over the EEG's own of 50 s
    (``hms_eeg_spectrogram``), each with its regions LL, RL, LP, RP from the top, shrunk to 320 × 320. The rest:
    18 differences of electrodes, EKG and C3, the central 20 s, time to the right and positive up; band-stop 59–61 Hz,
    then band-pass 1–70 Hz, causal from rest; ±2 scales fill a slot of 64 rows, and slots stand 32 rows apart,
    so that neighbours overlap. Background 0, line 1, as ``bench.signal.traces.spans`` draws it.

    Missing samples are bridged by a straight line for the filters (which would ring at a step to 0) and not drawn;
    an electrode without any number leaves its slots empty. The outermost slots reach 16 rows out of the picture: their
    lines are held at its edge. Unlike there, all slots have one scale, and a trace is not pinned to
    its slot's corners at both ends, which only served a drawing routine that scales to the extremes.

    ``height`` and ``width`` change the picture and everything in proportion. Stored are two pictures of bytes and, for
    every trace and column, the first and last row of its line: 269 kB at 640 × 1920.
    """

    kind: ClassVar[Kind] = "image"
    datasets: ClassVar[tuple[str, ...]] = ("hms",)
    stored_dtype: ClassVar[str] = "uint8"
    reads: ClassVar[dict[str, Any]] = {
        "columns": [
            "Fp1", "F3", "C3", "P3", "F7", "T3", "T5", "O1", "Fz", "Cz", "Pz",
            "Fp2", "F4", "C4", "P4", "F8", "T4", "T6", "O2", "EKG",
        ],
        "spectrogram": True,
    }  # fmt: skip

    def __init__(self, height: int = 640, width: int = 1920) -> None:
        step = 2 * len(TRACES)
        tallest, widest = MOST_ROWS // 4 * step, (CENTRAL.stop - CENTRAL.start) * LEFT // (LEFT - 1)
        for key, value, unit, least, most in (
            ("height", height, step, SMALLEST[0], tallest),
            ("width", width, LEFT, SMALLEST[1], widest),
        ):
            if value % unit or not least <= value <= most:
                best = int(np.clip(round(value / unit) * unit, least, most))
                raise UserError(
                    f"features.{key}={value} must be a multiple of {unit} from {least} to {most}; choose {best}"
                )
        self.height, self.width = height, width
        self._eeg_spectrogram = HMSEEGSpectrogram()

    @property
    def left(self) -> int:
        """Columns of the spectrograms."""
        return self.width // LEFT

    @property
    def pitch(self) -> int:
        """Rows from one slot to the next; a slot has twice as many."""
        return self.height // len(TRACES)

    def spec(self, dataset: Any) -> InputSpec:
        return InputSpec(1, (self.height, self.width), dataset.classes)

    def stored_shape(self, dataset: Any) -> tuple[int, ...]:
        return (self.height * self.left + 2 * len(TRACES) * (self.width - self.left),)

    def store(self, raw: Any) -> np.ndarray:
        """{"eeg": (rows, 20) µV in the order of ``reads``, "spectrogram": (300, 400)} → flat uint8.

        The spectrogram's picture, the EEG spectrogram's, first rows (20, columns), last rows (20, columns). Raises
        ValueError for fewer than 10,000 rows, another shape of spectrogram, and infinities.
        """
        eeg_tc = middle(raw["eeg"])
        columns = self.reads["columns"]
        upper = brightness(raw["spectrogram"])
        regions = self._eeg_spectrogram.regions(eeg_tc, columns)
        pictures = [resized(x, self.height // 2, self.left) for x in (upper, regions.reshape(-1, regions.shape[-1]))]
        drawn = self.lines(eeg_tc[CENTRAL])
        return np.concatenate([*(to_bytes(picture).ravel() for picture in pictures), drawn.ravel()])

    def settings(self) -> dict[str, Any]:
        return {"version": 1, "height": self.height, "width": self.width}

    def device_half(self) -> nn.Module:
        from bench.features.screen import Screen

        return Screen(self.height, self.left, self.width - self.left, len(TRACES))

    def lines(self, x_tc: np.ndarray) -> np.ndarray:
        """(4000, 20) µV in the order of ``reads`` → (2, 20, columns of the traces) uint8: first and last rows."""
        columns = self.reads["columns"]
        pairs = [(a, b) for a, b, _ in TRACES if b is not None]
        alone = [columns.index(a) for a, b, _ in TRACES if b is None]
        x_ct = np.concatenate([differences(x_tc, columns, pairs), x_tc[:, alone].T])
        x_ct, gaps_ct = bridged(x_ct)
        y_ct = without_mains(x_ct, SAMPLE_RATE)
        y_ct /= CLIP * np.array([[scale] for _, _, scale in TRACES])
        lines = spans(y_ct, self.width - self.left, 2 * self.pitch, gaps_ct)
        return inside(lines, self.pitch)


def inside(lines: np.ndarray, pitch: int) -> np.ndarray:
    """Holds the lines of the first and last slot at the picture's edge, half a pitch inside of the slots; in place."""
    for slot, first, last in ((0, pitch // 2, 2 * pitch - 1), (-1, 0, 2 * pitch - 1 - pitch // 2)):
        drawn = lines[:, slot] != NOTHING
        lines[:, slot] = np.where(drawn, np.clip(lines[:, slot], first, last), NOTHING)
    return lines
