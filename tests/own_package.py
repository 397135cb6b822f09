"""A person's own package: data set, feature, metric, model, loss and augmentation, each as small as it can be."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "__init__.py": "",
    "parts.py": '''
import numpy as np
import pandas as pd
import torch
from torch import nn

from bench.augment.mixup import Mixup
from bench.datasets.heartbeat import Heartbeat
from bench.features.heartbeat_waveform import HeartbeatWaveform
from bench.spec import Metric


def brier(target, probability):
    return float(np.square(target - probability).sum(1).mean())


class Pulses(Heartbeat):
    """Heartbeats under another name and metric."""

    name = "pulses"
    metric = Metric("brier", "min", brier)
    features = {"sequence": "pulses_wave"}


class PulsesWave(HeartbeatWaveform):
    """The beat, halved."""

    datasets = ("pulses",)

    def store(self, raw):
        return super().store(raw) / 2

    def settings(self):
        return {"version": 1, "halved": True}


class Linear(nn.Module):
    """One layer."""

    takes = "sequence"

    def __init__(self, spec, scale: float = 1.0):
        super().__init__()
        self.scale, self.head = scale, nn.Linear(spec.channels * spec.size[0], spec.n_classes)

    def forward(self, x):
        return self.head(x.flatten(1)) * self.scale


def squared(logits, target, weight=None, power: float = 2.0):
    return (torch.softmax(logits, -1) - target).abs().pow(power).sum(-1).mean()


class Blended(Mixup):
    """Mixup by another name."""


def helper(x):
    return x
''',
    "conf/dataset/pulses.yaml": """# @package _global_
# Heartbeats of one's own.
defaults:
  - /loss: squared
  - /split: stratified

dataset:
  _target_: my_signals.parts.Pulses
  root: null
""",
    "conf/features/pulses_wave.yaml": "# The beat, halved.\n_target_: my_signals.parts.PulsesWave\n",
    "conf/model/own_linear.yaml": "# One layer.\n_target_: my_signals.parts.Linear\nscale: 1.0\n",
    "conf/loss/squared.yaml": "# Squared differences.\n_target_: my_signals.parts.squared\npower: 2.0\n",
    "conf/augment/blended.yaml": "# Mixup.\nblended:\n  _target_: my_signals.parts.Blended\n  alpha: 0.4\n",
    "conf/recipe/pulses_own_linear.yaml": "# @package _global_\ntrain: {batch_size: 16}\n",
}


def write(folder: Path) -> Path:
    """The package ``my_signals`` in ``folder``."""
    for name, text in FILES.items():
        path = folder / "my_signals" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
