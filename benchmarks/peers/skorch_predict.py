"""(c) skorch with scikit-learn's ``cross_val_predict``: the network as an estimator, X and y as arrays.

MFCC are computed once of one window of each sound, since X is an array; they are standardised within a pipeline, so
on the training side alone. ``cross_val_predict`` keeps no model: the submission comes from one more fit on all rows.

    python -m benchmarks.peers.skorch_predict <job> <raw files> <folder to write to>
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import Tensor, nn

from benchmarks.peers import files, networks
from benchmarks.peers.jobs import EVAL_BATCH, FOLDS, Job
from benchmarks.peers.leaving import asked, leave


class Standardised(TransformerMixin, BaseEstimator):
    """(N, 1, H, W): each row H to mean 0 and spread 1 over examples and frames."""

    def fit(self, x: np.ndarray, y: Any = None) -> Standardised:
        self.mean_, self.std_ = x.mean((0, 1, 3))[:, None], x.std((0, 1, 3))[:, None]
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean_) / self.std_


class KL(nn.Module):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return networks.soft_loss("kl", logits, target)


def estimator(job: Job, shape: tuple[int, ...], classes: int) -> Any:
    common = {
        "module__name": job.network, "module__shape": shape, "module__classes": classes,
        "optimizer": torch.optim.Adam, "lr": job.lr, "optimizer__eps": job.eps, "max_epochs": job.epochs,
        "batch_size": job.batch_size, "iterator_train__shuffle": True, "iterator_valid__batch_size": EVAL_BATCH,
        "train_split": None, "verbose": 0,
    }  # fmt: skip
    if job.loss == "kl":  # targets are shares, which no classifier of scikit-learn takes
        return NeuralNetRegressor(networks.build, criterion=KL, **common)
    return NeuralNetClassifier(networks.build, criterion=nn.CrossEntropyLoss, **common)


def images(sounds: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(N, 1, 40, 173)"""
    rows = [files.mfcc(files.window(sound, rng))[None] for sound in sounds]
    return np.stack(rows) if rows else np.zeros((0, 1, 40, 173), np.float32)


def main() -> None:
    job, root, out, seed = asked()
    torch.manual_seed(seed)
    data = files.read(job.files, root, FOLDS)
    x, x_test = data.x, data.x_test
    if job.files == "freesound":
        rng = np.random.default_rng(seed)
        x, x_test = images(x, rng), images(x_test, rng)
    net = estimator(job, x.shape[1:], len(data.classes))
    model = make_pipeline(Standardised(), net) if job.files == "freesound" else net
    split, y = PredefinedSplit(data.fold), data.label if job.loss == "ce" else data.target
    method = "predict_proba" if job.loss == "ce" else "predict"
    oof, test = cross_val_predict(model, x, y, cv=split, method=method), np.zeros((0, len(data.classes)))
    if len(x_test):
        test = getattr(model.fit(x, y), method)(x_test)
    if job.loss == "kl":
        oof, test = (torch.softmax(torch.from_numpy(logits), 1).numpy() for logits in (oof, test))
    size = networks.parameters(networks.build(job.network, x.shape[1:], len(data.classes)))
    leave(out, data, oof, test, size)


if __name__ == "__main__":
    main()
