"""The one place that predicts: validation, out-of-fold and test rows alike."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.batches import Batches


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """bf16 mixed precision where asked for; float32 is left alone (a disabled autocast still costs a step 10 %)."""
    from contextlib import nullcontext

    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


@torch.inference_mode()
def logits(model: nn.Module, device_half: nn.Module, rows: Batches, batch_size: int, precision: str) -> Tensor:
    """(N, K) float32 logits on the device, in the order of ``rows``, in evaluation mode."""
    was_training = model.training
    model.eval()
    device_half.eval()
    # one tensor for all answers: small ones kept between large ones freed would leave holes that nothing fits into
    answers = torch.empty(rows.target.shape, device=rows.device)
    done = 0
    for batch in rows.in_order(batch_size):
        with autocast(rows.device, precision):
            answers[done : done + len(batch.x)] = model(device_half(batch.x))
        done += len(batch.x)
    model.train(was_training)
    device_half.train(was_training)
    return answers


def probabilities(logits_nk: Tensor) -> np.ndarray:
    """(N, K) float64 rows that sum to 1."""
    return logits_nk.double().softmax(-1).cpu().numpy()
