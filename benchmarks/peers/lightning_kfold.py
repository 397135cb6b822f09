"""(b) PyTorch Lightning with a loop over folds, as users of the Lightning-Hydra template write it.

The template's pieces (a LightningModule with torchmetrics, a LightningDataModule, a ModelCheckpoint, a CSV logger), a
Trainer a fold; without Hydra, bars and summaries, which would only add. Sounds give MFCC of a new window in every
epoch, by librosa in the Dataset, in as many workers as there are cores; other data lies in memory and needs none,
which is the template's default.

    python -m benchmarks.peers.lightning_kfold <job> <raw files> <folder to write to>
"""

from __future__ import annotations

import os
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from benchmarks.peers import files, networks
from benchmarks.peers.files import Data
from benchmarks.peers.jobs import EVAL_BATCH, FOLDS, Job
from benchmarks.peers.leaving import asked, leave


class Sounds(Dataset):
    """Standardised MFCC of a window of each sound: at a random place in training, else in the middle."""

    def __init__(
        self, sounds: list[np.ndarray], target: Tensor, scale: tuple[np.ndarray, np.ndarray], train: bool
    ) -> None:
        self.sounds, self.target, self.train = sounds, target, train
        self.mean, self.std = scale

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**31, ()))) if self.train else None
        x = (files.mfcc(files.window(self.sounds[i], rng)) - self.mean) / self.std
        return torch.from_numpy(x[None]), self.target[i]


class KFoldData(L.LightningDataModule):
    def __init__(self, job: Job, data: Data, fold: int) -> None:
        super().__init__()
        self.job, self.data = job, data
        self.rows = np.flatnonzero(data.fold != fold), np.flatnonzero(data.fold == fold)
        self.workers = (os.cpu_count() or 1) if job.files == "freesound" else 0

    def setup(self, stage: str | None = None) -> None:
        data, target = self.data, torch.from_numpy(self.data.target)
        none = torch.zeros(len(data.test_ids), len(data.classes))
        train, valid = self.rows
        if self.job.files != "freesound":
            whole = TensorDataset(torch.from_numpy(data.x), target)
            self.train: Dataset = Subset(whole, train.tolist())
            self.valid: Dataset = Subset(whole, valid.tolist())
            self.test: Dataset = TensorDataset(torch.from_numpy(data.x_test), none)
            return
        x = np.stack([files.mfcc(files.window(data.x[i], None)) for i in train])
        scale = x.mean((0, 2))[:, None], x.std((0, 2))[:, None]
        self.train, self.valid = (
            Sounds([data.x[i] for i in rows], target[rows], scale, rows is train) for rows in self.rows
        )
        self.test = Sounds(data.x_test, none, scale, False)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, self.job.batch_size, shuffle=True, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.valid, EVAL_BATCH, num_workers=self.workers)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test, EVAL_BATCH, num_workers=self.workers)


class Net(L.LightningModule):
    def __init__(self, job: Job, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.job, self.net = job, networks.build(job.network, shape, classes)
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.train_acc, self.val_acc = MulticlassAccuracy(classes), MulticlassAccuracy(classes)

    def model_step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        x, y = batch
        logits = self.net(x)
        return networks.soft_loss(self.job.loss, logits, y), logits.argmax(1), y.argmax(1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, preds, targets = self.model_step(batch)
        self.train_loss(loss)
        self.train_acc(preds, targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        loss, preds, targets = self.model_step(batch)
        self.val_loss(loss)
        self.val_acc(preds, targets)
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True)
        self.log("val/acc", self.val_acc, on_step=False, on_epoch=True)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return torch.softmax(self.net(batch[0]), 1)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.job.lr, eps=self.job.eps)


def main() -> None:
    job, root, out, seed = asked()
    data = files.read(job.files, root, FOLDS)
    oof = np.zeros(data.target.shape, np.float32)
    test = np.zeros((len(data.test_ids), len(data.classes)), np.float32)
    shape = (1, 40, 173) if job.files == "freesound" else data.x.shape[1:]
    for fold in range(FOLDS):
        L.seed_everything(seed + fold, workers=True, verbose=False)
        rows, model = KFoldData(job, data, fold), Net(job, shape, len(data.classes))
        trainer = L.Trainer(
            max_epochs=job.epochs,
            accelerator="cpu",
            logger=CSVLogger(out, name=f"fold{fold}"),
            callbacks=[ModelCheckpoint(out / f"fold{fold}", monitor="val/loss", save_last=True)],
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, rows)
        oof[data.fold == fold] = torch.cat(trainer.predict(model, rows.val_dataloader())).numpy()
        if len(test):
            test += torch.cat(trainer.predict(model, rows.test_dataloader())).numpy() / FOLDS
    leave(out, data, oof, test, networks.parameters(model.net))


if __name__ == "__main__":
    main()
