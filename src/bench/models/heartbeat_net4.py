"""Net4 of the heartbeat write-up: convolutions, then an LSTM that reads the beat part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bench.models.parts import at_least, dense, refuse_below_one
from bench.spec import InputSpec, UserError

SHORTEST = 11  # samples that the dilated convolution needs
POOLED = 4  # steps of time in a part that the LSTM reads at once
UNITS = 1024  # of the LSTM, and of what it reads: 4 steps of 256 filters


class HeartbeatNet4(nn.Module):
    """Logits (B, K) from signals (B, C, T).

    As Net3 with a wider and a dilated kernel; the time is max-pooled to four steps for each of ``parts``, an LSTM
    reads part after part, and its last answer goes through layers of ``hidden`` units. 9,773,958 parameters for one
    channel and four classes, whatever the length and ``parts``.

    Source: the heartbeat write-up (168 points), which does not run as printed. Changed: ``self.relu``, which does not
    exist, is the LeakyReLU that was made; the head reads the LSTM's 1024 answers, not 3072; and the LSTM, which was
    given (batch, 1024) and so took a batch's rows for the steps of time (a row's prediction hung on its neighbours),
    reads the time of each row alone. The printed pool leaves one part, which an LSTM meets with an empty memory: its
    recurrent weights would never be used. So the signal is read in four parts by default; ``parts=1`` has the printed
    sizes throughout. Also: the loss owns the softmax, any channel count goes in, and a signal shorter than 11 samples
    gets zeros at its end.
    """

    takes: ClassVar[str] = "sequence"

    def __init__(
        self, spec: InputSpec, hidden: Sequence[int] = (1024, 128), dropout: float = 0.1, parts: int = 4
    ) -> None:
        super().__init__()
        refuse_below_one(hidden=hidden)
        if parts < 1:
            raise UserError(f"model.parts={parts} leaves nothing to read; give 1 or more")
        self.parts = parts
        self.layers = nn.Sequential(
            nn.BatchNorm1d(spec.channels),
            *(nn.Conv1d(spec.channels, 32, 11, padding=5), nn.LeakyReLU(), nn.BatchNorm1d(32)),
            *(nn.Conv1d(32, 64, 11, padding=5, dilation=2), nn.LeakyReLU()),
            *(nn.AdaptiveMaxPool1d(POOLED * parts), nn.BatchNorm1d(64)),
            *(nn.Conv1d(64, 128, 9, padding=5), nn.LeakyReLU(), nn.BatchNorm1d(128)),
            *(nn.Conv1d(128, 256, 3, padding=1), nn.LeakyReLU()),
            *(nn.AdaptiveMaxPool1d(POOLED * parts), nn.Dropout(dropout)),
        )
        self.lstm = nn.LSTM(256 * POOLED, UNITS, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(dropout), dense((UNITS, *hidden, spec.n_classes), nn.LeakyReLU))

    def forward(self, x_bct: Tensor) -> Tensor:
        x_bft = self.layers(at_least(x_bct, SHORTEST))
        # (B, 256, parts × 4) → (B, parts, 256 × 4): within a part filter by filter, as the printed flatten does
        parts = x_bft.unflatten(2, (self.parts, POOLED)).transpose(1, 2).flatten(2)
        answers, _ = self.lstm(parts)
        out: Tensor = self.head(answers[:, -1])
        return out
