"""The one place that predicts: validation, out-of-fold and test rows alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from bench.augment.base import prepared
from bench.data.batches import Batches
from bench.training.tta import PLAIN, View

MIXED = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Mixed precision where asked for; float32 is left alone (a disabled autocast still costs a step 10 %)."""
    from contextlib import nullcontext

    return torch.autocast(device.type, MIXED[precision]) if precision in MIXED else nullcontext()


def rounds_at_once(model: nn.Module) -> bool:
    """Whether an image is rounded by mixed precision as the first thing that happens: a convolution takes it, alone."""
    if not isinstance(getattr(model, "resizer", None), nn.Identity):
        return False
    layers = (layer for layer in model.modules() if not isinstance(layer, nn.Identity) and not list(layer.children()))
    return isinstance(next(layers, None), nn.Conv2d)


@torch.inference_mode()
def logits(
    model: nn.Module,
    device_half: nn.Module,
    rows: Batches,
    batch_size: int,
    precision: str,
    view: View = PLAIN,
) -> Tensor:
    """(N, K) float32 logits on the device, in the order of ``rows``, in evaluation mode, of one view of them."""
    was_training = model.training
    model.eval()
    device_half.eval()
    # one tensor for all answers: small ones kept between large ones freed would leave holes that nothing fits into
    answers = torch.empty(rows.target.shape, device=rows.device)
    done = 0
    for batch in rows.in_order(batch_size, view.share):
        batch = prepared(batch, device_half, view.changes, progress=0.0)
        with autocast(rows.device, precision):
            answers[done : done + len(batch)] = model(batch.x)
        done += len(batch)
    model.train(was_training)
    device_half.train(was_training)
    return answers


def averaged(
    model: nn.Module,
    device_half: nn.Module,
    rows: Batches,
    batch_size: int,
    precision: str,
    views: Sequence[View],
    seed: Callable[[int], int],
) -> np.ndarray:
    """(N, K) float64: the views' mean probability; ``seed`` gives the seed of what is random in each."""
    total = np.zeros(tuple(rows.target.shape))
    for number, view in enumerate(views):
        torch.manual_seed(seed(number))
        total += probabilities(logits(model, device_half, rows, batch_size, precision, view))
    return total / len(views)


def probabilities(logits_nk: Tensor) -> np.ndarray:
    """(N, K) float64 rows that sum to 1."""
    return logits_nk.double().softmax(-1).cpu().numpy()
