"""(d) A bare PyTorch script as a good competitor writes it: everything in memory, no loader, no logger, no frills.

Files are read by as many processes as there are cores. MFCC are computed in batches by torch, of a new window of each
sound in every epoch, as ours are.

    python -m benchmarks.peers.bare <job> <raw files> <folder to write to>
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers import files, networks
from benchmarks.peers.jobs import EVAL_BATCH, FOLDS, Job
from benchmarks.peers.leaving import asked, leave


class Sounds:
    """Windows of sounds → standardised MFCC (B, 1, 40, 173)."""

    def __init__(self) -> None:
        from librosa.filters import mel
        from scipy.fft import dct

        self.window = torch.hann_window(2048)
        self.mel = torch.from_numpy(mel(sr=files.RATE, n_fft=2048, n_mels=128))
        cosines = dct(np.eye(128), axis=0, norm="ortho")[: files.N_MFCC]
        self.cosines = torch.from_numpy(cosines.astype(np.float32))
        self.mean, self.std = torch.zeros(files.N_MFCC, 1), torch.ones(files.N_MFCC, 1)

    def __call__(self, sounds: list[np.ndarray], rng: np.random.Generator | None) -> Tensor:
        y = torch.from_numpy(np.stack([files.window(sound, rng) for sound in sounds]))
        z = torch.stft(y, 2048, 512, window=self.window, pad_mode="constant", return_complex=True)
        db = 10 * torch.log10((self.mel @ (z.real**2 + z.imag**2)).clamp_min(1e-10))
        db = torch.maximum(db, db.amax((1, 2), keepdim=True) - 80)
        return ((self.cosines @ db - self.mean) / self.std)[:, None]

    def fit(self, sounds: list[np.ndarray]) -> None:
        self.mean, self.std = torch.zeros(files.N_MFCC, 1), torch.ones(files.N_MFCC, 1)
        x = torch.cat([self(sounds[i : i + EVAL_BATCH], None) for i in range(0, len(sounds), EVAL_BATCH)])
        self.mean = x.mean((0, 1, 3))[:, None]
        self.std = x.std((0, 1, 3))[:, None]


def taken(
    x: Tensor | list[np.ndarray], rows: np.ndarray, sounds: Sounds | None, rng: np.random.Generator | None
) -> Tensor:
    """A batch: rows of a tensor, or of sounds."""
    if isinstance(x, Tensor):
        return x[torch.from_numpy(rows)]
    assert sounds is not None
    return sounds([x[i] for i in rows], rng)


def trained(
    model: nn.Module,
    job: Job,
    x: Tensor | list[np.ndarray],
    y: Tensor,
    rows: np.ndarray,
    sounds: Sounds | None,
    rng: np.random.Generator,
) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=job.lr, eps=job.eps, fused=True)
    model.train()
    for _ in range(job.epochs):
        order = rng.permutation(rows)
        for i in range(0, len(order), job.batch_size):
            batch = order[i : i + job.batch_size]
            loss = networks.soft_loss(job.loss, model(taken(x, batch, sounds, rng)), y[torch.from_numpy(batch)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.inference_mode()
def predicted(
    model: nn.Module, x: Tensor | list[np.ndarray], rows: np.ndarray, sounds: Sounds | None, classes: int
) -> np.ndarray:
    model.eval()
    batches = [rows[i : i + EVAL_BATCH] for i in range(0, len(rows), EVAL_BATCH)]
    answers = [torch.softmax(model(taken(x, batch, sounds, None)), 1) for batch in batches]
    return torch.cat([torch.zeros(0, classes), *answers]).numpy()


def main() -> None:
    job, root, out, seed = asked()
    data = files.read(job.files, root, FOLDS, os.cpu_count() or 1)
    sounds = Sounds() if job.files == "freesound" else None
    x: Tensor | list[np.ndarray] = data.x if sounds else torch.from_numpy(data.x)
    x_test: Tensor | list[np.ndarray] = data.x_test if sounds else torch.from_numpy(data.x_test)
    y, k = torch.from_numpy(data.target), len(data.classes)
    oof, test = np.zeros(data.target.shape, np.float32), np.zeros((len(data.test_ids), k), np.float32)
    shape = (1, 40, 173) if sounds else data.x.shape[1:]
    for fold in range(FOLDS):
        torch.manual_seed(seed + fold)
        rng = np.random.default_rng((seed, fold))
        train, valid = np.flatnonzero(data.fold != fold), np.flatnonzero(data.fold == fold)
        if sounds:
            sounds.fit([data.x[i] for i in train])
        model = networks.build(job.network, shape, k)
        trained(model, job, x, y, train, sounds, rng)
        oof[valid] = predicted(model, x, valid, sounds, k)
        test += predicted(model, x_test, np.arange(len(test)), sounds, k) / FOLDS
        torch.save(model.state_dict(), Path(out) / f"fold{fold}.pt")
    leave(out, data, oof, test, networks.parameters(model))


if __name__ == "__main__":
    main()
