"""HMS: what the experts saw, as one image: two spectrograms on the left, twenty traces on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bench.features.base import Features
from bench.features.hms_eeg_spectrogram import HMSEEGSpectrogram, differences, refuse_infinite
from bench.features.hms_regions import CHAINS
from bench.features.hms_sides import exchanged, reordered
from bench.features.hms_spectrogram import brightness, to_bytes
from bench.features.hms_waveform import SAMPLE_RATE, window_of
from bench.signal.spectrograms import resized
from bench.signal.traces import MOST_ROWS, bridged, spans, without_mains
from bench.spec import InputSpec, Kind, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from bench.features.device.base import DeviceHalf

TRACES = (
    ("Fp1", "F3", 116.34481), ("F3", "C3", 102.60141), ("C3", "P3", 87.55995), ("P3", "O1", 110.57861),
    ("Fp2", "F4", 109.53565), ("F4", "C4", 101.4466), ("C4", "P4", 98.31189), ("P4", "O2", 122.75707),
    ("Fp1", "F7", 100.77059), ("F7", "T3", 100.71571), ("T3", "T5", 101.946915), ("T5", "O1", 98.06077),
    ("Fp2", "F8", 109.903534), ("F8", "T4", 88.95162), ("T4", "T6", 92.10137), ("T6", "O2", 113.432465),
    ("Fz", "Cz", 89.53329), ("Cz", "Pz", 98.25634), ("EKG", None, 575.77045), ("C3", None, 192.73958),
)  # fmt: skip
"""From the top: the electrode, the one taken off it, and the trace's scale in µV (M. Kotyushev, HMS 16th place)."""

KEPT = (*TRACES, ("C4", None, 192.73958))
"""What is stored: one more, which takes C3's place in a mirrored picture, at the same scale, and is else not drawn."""

BLOCKS = (
    (CHAINS["LP"], 4), (CHAINS["RP"], 4), (CHAINS["LL"], 4), (CHAINS["RL"], 4), (("Fz", "Cz", "Pz", "EKG"), 3),
    (("C3",), 1), (("C4",), 1),
)  # fmt: skip
"""Their electrodes and how many traces: what changes places as a whole when the sides are exchanged."""

DRAWN = 4000
"""Rows in the middle of an example that are drawn: 20 s."""

CLIP = 2
"""Scales from the middle of a slot to its edge."""

LEFT = 6
"""One of so many shares of the width is the spectrograms'."""

SMALLEST = 80, 96
"""Pixels below which a slot has under eight rows, a spectrogram under sixteen columns."""


def central(rows: int) -> slice:
    """Of so many rows those that are drawn."""
    return slice((rows - DRAWN) // 2, (rows + DRAWN) // 2)


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

    ``height`` and ``width`` change the picture and everything in proportion. Stored are two pictures of bytes, and the
    lines as bits: 384 kB at 640 × 1920.
    """

    kind: ClassVar[Kind] = "image"
    datasets: ClassVar[tuple[str, ...]] = ("hms",)
    stored_dtype: ClassVar[str] = "uint8"
    between: ClassVar[bool] = False
    reads: ClassVar[dict[str, Any]] = {
        "columns": [
            "Fp1", "F3", "C3", "P3", "F7", "T3", "T5", "O1", "Fz", "Cz", "Pz",
            "Fp2", "F4", "C4", "P4", "F8", "T4", "T6", "O2", "EKG",
        ],
        "spectrogram": True,
    }  # fmt: skip

    def __init__(self, height: int = 640, width: int = 1920) -> None:
        step = 2 * len(TRACES)
        tallest, widest = MOST_ROWS // 4 * step, DRAWN * LEFT // (LEFT - 1)
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
        if (window := window_of(dataset)) < DRAWN:
            raise UserError(
                f"dataset.seconds={window / SAMPLE_RATE:g}: features=hms_image draws {DRAWN // SAMPLE_RATE} s; set "
                f"dataset.seconds={DRAWN // SAMPLE_RATE} or more, or choose features=hms_eeg_spectrogram"
            )
        return (self.height * self.left + sum(self._rows()) * -(-(self.width - self.left) // 8),)

    def _rows(self) -> list[int]:
        """Of each block: its traces' slots overlap with each other, half a pitch on either side with other blocks'."""
        return [(traces + 1) * self.pitch for _, traces in BLOCKS]

    def store(self, raw: Any) -> np.ndarray:
        """{"eeg": (rows, 20) µV in the order of ``reads``, "spectrogram": (300, 400)} → flat uint8.

        The spectrogram's picture, the EEG spectrogram's, and the lines ``packed``. Raises ValueError for another shape
        of spectrogram and for infinities.
        """
        eeg_tc = raw["eeg"]
        refuse_infinite(eeg_tc)
        columns = self.reads["columns"]
        upper = brightness(raw["spectrogram"])
        regions = self._eeg_spectrogram.regions(eeg_tc, columns)
        pictures = [resized(x, self.height // 2, self.left) for x in (upper, regions.reshape(-1, regions.shape[-1]))]
        lines = self.packed(self.lines(eeg_tc[central(len(eeg_tc))]))
        return np.concatenate([*(to_bytes(picture).ravel() for picture in pictures), lines])

    def settings(self) -> dict[str, Any]:
        return {"version": 3, "height": self.height, "width": self.width}

    def device_half(self) -> DeviceHalf:
        from bench.features.device.screen import Screen

        return Screen(self.height, self.left, self.width - self.left, len(TRACES), [n for _, n in BLOCKS])

    def mirrored(self, x: Tensor) -> Tensor:
        """(B, N) as stored → the same of the other side: regions of both pictures, and traces, change places.

        A trace takes its own scale along, which differs by up to 16 % from its opposite's. The rest is what storing
        the mirrored recording gives, save a region's first and last rows where it meets another: shrinking has mixed
        them with the old neighbour (8 of each picture's 320 rows, an eighth of their value at most); and a few bytes
        are one more or less, as a matrix product's place rounds them.
        """
        import torch

        n, regions = self.height * self.left, len(CHAINS)
        pictures = x[:, :n].unflatten(1, (2 * regions, n // (2 * regions)))
        region, block = exchanged(tuple(CHAINS.values())), exchanged([electrodes for electrodes, _ in BLOCKS])
        pictures = reordered(pictures, [*region, *(regions + i for i in region)])
        lines = x[:, n:].unflatten(1, (sum(self._rows()), -1)).split(self._rows(), 1)
        return torch.cat([pictures.flatten(1), *(lines[i].flatten(1) for i in block)], 1)

    def lines(self, x_tc: np.ndarray) -> np.ndarray:
        """(4000, 20) µV in the order of ``reads`` → (2, 21, traces' columns) uint8: first and last rows of ``KEPT``."""
        columns = self.reads["columns"]
        pairs = [(a, b) for a, b, _ in KEPT if b is not None]
        alone = [columns.index(a) for a, b, _ in KEPT if b is None]
        x_ct = np.concatenate([differences(x_tc, columns, pairs), x_tc[:, alone].T])
        x_ct, gaps_ct = bridged(x_ct)
        y_ct = without_mains(x_ct, SAMPLE_RATE)
        y_ct /= CLIP * np.array([[scale] for _, _, scale in KEPT])
        return spans(y_ct, self.width - self.left, 2 * self.pitch, gaps_ct)

    def packed(self, lines: np.ndarray) -> np.ndarray:
        """``lines`` → flat uint8, eight pixels a byte: of every block its rows, its traces' slots ``pitch`` apart."""
        row = np.arange(2 * self.pitch, dtype=np.uint8)[:, None]
        first, length = lines[0], lines[1] - lines[0]
        slots = np.packbits(row - first[:, None] <= length[:, None], axis=-1)  # above a line, bytes wrap around
        blocks, trace = [], 0
        for (_, traces), rows in zip(BLOCKS, self._rows(), strict=True):
            blocks.append(block := np.zeros((rows, slots.shape[-1]), np.uint8))
            for i in range(traces):
                block[i * self.pitch : (i + 2) * self.pitch] |= slots[trace + i]
            trace += traces
        return np.concatenate(blocks).ravel()
