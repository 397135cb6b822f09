"""A small Squeezeformer: strided convolutions to some hundred steps, then attention and convolution in turn.

Letters in tensor names: b batch, c channel, t time, n step of time after the stem, d width, h head, e width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.parts import refuse_below_one
from bench.spec import InputSpec, UserError


class Squeezeformer1D(nn.Module):
    """Logits (B, K) from signals (B, C, T) of any length.

    The stem divides the time by the product of ``strides`` (attention costs its square: raise it for long signals);
    then ``blocks`` blocks of attention, perceptron, convolution over ``kernel_size`` steps, perceptron; the mean over
    time; one linear layer. 1.5 million parameters as set.

    Source: Kim et al., "Squeezeformer", 2022 (arXiv 2206.00888): the order of modules, normalisation after each
    addition with a learned scale and shift before each module, SiLU instead of gates. Changed: rotary positions (Su et
    al., arXiv 2104.09864) instead of relative ones, which needs no table for a longest signal; the temporal U-Net and
    the separable convolution of its stem, made for speech of 20 s, are left out; a head for one answer.
    """

    takes: ClassVar[str] = "sequence"

    def __init__(
        self,
        spec: InputSpec,
        width: int = 128,
        blocks: int = 4,
        heads: int = 4,
        strides: Sequence[int] = (2, 2, 2),
        kernel_size: int = 15,
        expansion: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        refuse_below_one(width=width, blocks=blocks, heads=heads, strides=strides, expansion=expansion)
        if width % (2 * heads) or kernel_size % 2 == 0:
            raise UserError(
                f"squeezeformer1d got width {width}, heads {heads} and kernel_size {kernel_size}: "
                "give a width that twice the heads divide, and an odd kernel size"
            )
        stem: list[nn.Module] = []
        channels = spec.channels
        for stride in strides:  # a kernel of 2 strides + 1 sees every sample twice; ⌈T / stride⌉ steps come out
            stem.append(nn.Conv1d(channels, width, 2 * stride + 1, stride, padding=stride, bias=False))
            stem += [nn.BatchNorm1d(width), nn.SiLU()]
            channels = width
        self.stem = nn.Sequential(*stem)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    Scaled(Attention(width, heads), width, dropout),
                    Scaled(perceptron(width, expansion, dropout), width, dropout),
                    Scaled(Convolution(width, kernel_size), width, dropout),
                    Scaled(perceptron(width, expansion, dropout), width, dropout),
                )
                for _ in range(blocks)
            )
        )
        self.head = nn.Linear(width, spec.n_classes)

    def forward(self, x_bct: Tensor) -> Tensor:
        x_bnd = self.stem(x_bct).transpose(1, 2)
        out: Tensor = self.head(self.blocks(x_bnd).mean(1))
        return out


class Scaled(nn.Module):
    """x → LayerNorm(x + module(scale · x + shift)): how a Squeezeformer wraps each of its modules."""

    def __init__(self, module: Callable[[Tensor], Tensor], width: int, dropout: float) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.module = module
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x_bnd: Tensor) -> Tensor:
        out: Tensor = self.norm(x_bnd + self.dropout(self.module(x_bnd * self.scale + self.shift)))
        return out


class Attention(nn.Module):
    """Every step looks at all others; positions turn queries and keys (rotary), so only their distance counts."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_bnd: Tensor) -> Tensor:
        q, k, v = self.qkv(x_bnd).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each b h n e
        cos_ne, sin_ne = rotary(q)
        mixed = F.scaled_dot_product_attention(turned(q, cos_ne, sin_ne), turned(k, cos_ne, sin_ne), v)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Convolution(nn.Module):
    """Pointwise, depthwise over time, pointwise."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv1d(width, width, 1), nn.SiLU()),
            nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width, bias=False),
            *(nn.BatchNorm1d(width), nn.SiLU()),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x_bnd: Tensor) -> Tensor:
        out: Tensor = self.layers(x_bnd.transpose(1, 2)).transpose(1, 2)
        return out


def perceptron(width: int, expansion: int, dropout: float) -> nn.Sequential:
    inner = width * expansion
    return nn.Sequential(nn.Linear(width, inner), nn.SiLU(), nn.Dropout(dropout), nn.Linear(inner, width))


def rotary(like_bhne: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (n, e) of position × frequency, frequencies falling from 1 to about 1/10,000."""
    n, e = like_bhne.shape[-2:]
    half = torch.arange(e // 2, device=like_bhne.device, dtype=torch.float32)
    time = torch.arange(n, device=like_bhne.device, dtype=torch.float32)
    angle_ne = torch.outer(time, 10_000.0 ** (-2 * half / e)).repeat(1, 2)
    return angle_ne.cos().to(like_bhne.dtype), angle_ne.sin().to(like_bhne.dtype)


def turned(x_bhne: Tensor, cos_ne: Tensor, sin_ne: Tensor) -> Tensor:
    """Entries i and i + e/2 of a head are a point in a plane; each is turned by its step's angle."""
    first, second = x_bhne.chunk(2, dim=-1)
    return x_bhne * cos_ne + torch.cat((-second, first), dim=-1) * sin_ne
