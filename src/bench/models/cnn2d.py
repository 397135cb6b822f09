"""The MFCC network of the Freesound write-up: four wide convolutions, each halving the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.models.parts import at_least, glorot, refuse_below_one
from bench.models.resizer import in_front
from bench.spec import InputSpec, UserError

POOLED = (2, 10)  # what four halvings leave of 40 × 173: the grid that the head sees, whatever the image's size


class CNN2D(nn.Module):
    """Logits (B, K) from images (B, C, H, W).

    Each of ``filters``: a convolution over ``kernel_size`` (height, width) that keeps the size, batch normalisation,
    ReLU, the maximum of 2 × 2. Then one normalised ReLU layer of ``hidden`` units on the flattened grid. 168,361
    trainable parameters at 1 × 40 × 173 and 41 classes.

    Source: the Freesound beginner's write-up (Keras), its initialisation included. Changed: the loss owns the
    softmax; the last grid is max-pooled to 2 × 10, which leaves 40 × 173 as it was; images that four halvings would
    use up get zeros below and to the right. ``norm_eps`` is added to variances (Keras: 1e-3), ``norm_momentum`` is a
    batch's share of the running averages (Keras: 0.01, which takes some hundreds of steps to forget its start). A batch
    of one cannot be trained on (normalisation of the head), only predicted.
    """

    takes: ClassVar[str] = "image"

    def __init__(
        self,
        spec: InputSpec,
        filters: Sequence[int] = (32, 32, 32, 32),
        kernel_size: tuple[int, int] = (4, 10),
        hidden: int = 64,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        resizer: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        refuse_below_one(filters=filters, kernel_size=kernel_size, hidden=hidden)
        if len(kernel_size) != 2:
            raise UserError(
                f"model.kernel_size={list(kernel_size)} is not (rows, columns); give two numbers, as [4,10]"
            )
        if not (norm_eps > 0 and 0 < norm_momentum <= 1):
            raise UserError(
                f"model.norm_eps={norm_eps:g} must be above 0, and model.norm_momentum={norm_momentum:g} above 0 and "
                "at most 1; leave them out for the model's own"
            )
        self.resizer, spec = in_front(spec, resizer)
        norm: dict[str, Any] = {"eps": norm_eps, "momentum": norm_momentum}
        rows, columns = kernel_size
        height, width = rows - 1, columns - 1
        # Keras' 'same': of an odd number of zeros the larger half goes below and to the right
        same = (width // 2, width - width // 2, height // 2, height - height // 2)
        stages: list[nn.Module] = []
        channels = spec.channels
        for n in filters:
            stages += [
                nn.ZeroPad2d(same),
                nn.Conv2d(channels, n, (rows, columns)),
                nn.BatchNorm2d(n, **norm),
                nn.ReLU(),
            ]
            stages.append(nn.MaxPool2d(2))
            channels = n
        self.smallest = 2 ** len(filters)
        self.stages = nn.Sequential(*stages, nn.AdaptiveMaxPool2d(POOLED), nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(channels * POOLED[0] * POOLED[1], hidden),
            nn.BatchNorm1d(hidden, **norm),
            nn.ReLU(),
            nn.Linear(hidden, spec.n_classes),
        )
        glorot(self.stages)
        glorot(self.head)

    def forward(self, x_bchw: Tensor) -> Tensor:
        x_bchw = self.resizer(x_bchw)
        out: Tensor = self.head(self.stages(at_least(x_bchw, self.smallest, self.smallest)))
        return out
