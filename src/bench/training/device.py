"""The one place that chooses a device."""

from __future__ import annotations

import torch

from bench.spec import UserError

NAMES = ("auto", "cpu", "cuda")


def choose(name: str) -> torch.device:
    """auto, cpu or cuda → the device; UserError for another name, or where there is no GPU."""
    if name not in NAMES:
        raise UserError(f"device={name} is not one of {', '.join(NAMES)}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("device=cuda, but torch sees no CUDA device here; use device=cpu or device=auto")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
