"""The jobs' networks in plain PyTorch, as a competitor writes them from the write-ups; logits out.

They have as many parameters as ours, start alike (Keras' initialisation where the write-up is Keras), and none of
our code. Shape suffixes: b batch, c channels, t time, s signals, k classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(channels: int, length: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * length, 64), nn.ReLU(), nn.Linear(64, classes))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(inputs, middle, 1),
            nn.BatchNorm1d(middle),
            nn.LeakyReLU(),
            nn.Conv1d(middle, middle, 3, padding=1),
            nn.BatchNorm1d(middle),
            nn.LeakyReLU(),
            nn.Conv1d(middle, outputs, 1),
            nn.BatchNorm1d(outputs),
            nn.LeakyReLU(),
        )
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x_bct: Tensor) -> Tensor:
        out: Tensor = self.layers(x_bct) + self.skip(x_bct)
        return out


def resnet1d(channels: int, length: int, classes: int) -> nn.Module:
    """The heartbeat write-up's ResNet."""
    return nn.Sequential(
        nn.Conv1d(channels, 64, 11, padding=5),
        nn.MaxPool1d(3, 2, 1),
        Bottleneck(64, 64, 256),
        Bottleneck(256, 64, 256),
        Bottleneck(256, 64, 256),
        nn.AdaptiveAvgPool1d(4),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.Linear(1024, 1024),
        nn.BatchNorm1d(1024),
        nn.LeakyReLU(),
        nn.Linear(1024, 256),
        nn.BatchNorm1d(256),
        nn.LeakyReLU(),
        nn.Linear(256, classes),
    )


def cnn2d(channels: int, length: int, classes: int) -> nn.Module:
    """The second write-up's network on (B, 1, 40, 173)."""
    layers: list[nn.Module] = []
    inputs = channels
    for _ in range(4):
        layers += [nn.ZeroPad2d((4, 5, 1, 2)), nn.Conv2d(inputs, 32, (4, 10)), nn.BatchNorm2d(32, eps=1e-3)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        inputs = 32
    layers += [
        nn.Flatten(),
        nn.Linear(32 * 2 * 10, 64),
        nn.BatchNorm1d(64, eps=1e-3),
        nn.ReLU(),
        nn.Linear(64, classes),
    ]
    return started(nn.Sequential(*layers))


class WaveBlock(nn.Module):
    def __init__(self, inputs: int, filters: int, layers: int) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(inputs, filters, 1)
        rates = [2**i for i in range(layers)]
        self.filter, self.gate = (
            nn.ModuleList(nn.Conv1d(filters, filters, 3, padding=d, dilation=d) for d in rates) for _ in range(2)
        )
        self.mixer = nn.ModuleList(nn.Conv1d(filters, filters, 1) for _ in rates)

    def forward(self, x_sct: Tensor) -> Tensor:
        x_sct = self.inlet(x_sct)
        total = x_sct
        for one, gate, mixer in zip(self.filter, self.gate, self.mixer, strict=True):
            x_sct = mixer(torch.tanh(one(x_sct)) * torch.sigmoid(gate(x_sct)))
            total = total + x_sct
        return total


class WaveNet(nn.Module):
    """The first write-up's network: one extractor for eight signals, the mean of both of a chain, two layers.

    The signals go through it one after another, as in the write-up: all at once is slower on a processor.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        sizes = [(1, 8, 12), (8, 16, 8), (16, 32, 4), (32, 64, 1)]
        self.extractor = nn.Sequential(*(WaveBlock(*size) for size in sizes))
        self.head = nn.Sequential(nn.Linear(channels // 2 * 64, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, x_bct: Tensor) -> Tensor:
        features = torch.stack([self.extractor(x_b1t).mean(2) for x_b1t in x_bct.split(1, dim=1)], dim=1)
        out: Tensor = self.head(features.unflatten(1, (-1, 2)).mean(2).flatten(1))
        return out


def wavenet(channels: int, length: int, classes: int) -> nn.Module:
    return started(WaveNet(channels, classes))


def started(model: nn.Module) -> nn.Module:
    """Keras' start: Glorot-uniform weights, zero biases."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) and layer.bias is not None:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def build(name: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network of a job for examples of ``shape`` (C, …, T)."""
    makers: dict[str, Callable[[int, int, int], nn.Module]] = {
        "mlp": mlp, "resnet1d": resnet1d, "cnn2d": cnn2d, "wavenet": wavenet
    }  # fmt: skip
    return makers[name](shape[0], shape[-1], classes)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def soft_loss(name: str, logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy or Kullback-Leibler divergence against shares (B, K), mean over rows."""
    if name == "ce":
        return F.cross_entropy(logits, target)
    return F.kl_div(torch.log_softmax(logits, 1), target, reduction="batchmean")
