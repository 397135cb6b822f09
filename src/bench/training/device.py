"""The one place that chooses a device."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from bench.spec import UserError

FORM = re.compile(r"auto|cpu|cuda(:\d+)?")


def choose(name: str) -> torch.device:
    """auto, cpu, cuda or cuda:<number> → the device; UserError for another name, or a GPU that is not here."""
    if not FORM.fullmatch(str(name)):
        raise UserError(f"device={name} is not one of auto, cpu, cuda or cuda:<number>")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name.startswith("cuda") and not count:
        raise UserError(f"device={name}, but torch sees no CUDA device here; use device=cpu or device=auto")
    if name.startswith("cuda:") and int(name[5:]) >= count:
        last = f"the last of {count} is cuda:{count - 1}" if count > 1 else "the only one is cuda:0"
        raise UserError(f"device={name} is not here: {last}")
    return torch.device(("cuda" if name == "auto" else name) if count and name != "cpu" else "cpu")


def several(names: str | Sequence[str]) -> list[str]:
    """The devices among which folds are spread, as named: one, or a list of GPUs; UserError as in ``choose``."""
    listed = [names] if isinstance(names, str) else [str(name) for name in names]
    if not listed:
        raise UserError("device=[] names no device; use device=auto, or a list of GPUs as device=[cuda:0,cuda:1]")
    for name in listed:
        if len(listed) > 1 and not name.startswith("cuda:"):
            raise UserError(f"device=[…,{name},…]: a list names GPUs, as device=[cuda:0,cuda:1]")
        choose(name)
    return listed


def least_busy(devices: Sequence[str], taken: Iterable[str]) -> list[str]:
    """The devices in the order of the folds on them, the fewest first; of equals as they are named."""
    folds = Counter(taken)
    return sorted(devices, key=lambda name: folds[name])


def mixed_precision(device: torch.device) -> Literal["float32", "bf16", "fp16"]:
    """What ``train.precision=auto`` is: a processor without bf16 would be slower with it."""
    if device.type != "cuda":
        return "float32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def refuse_precision(precision: str, device: torch.device) -> None:
    """UserError where the device can't train in a precision, or not in a useful time."""
    if precision == "fp16" and device.type != "cuda":
        raise UserError("train.precision=fp16 needs a GPU; use train.precision=bf16 or float32 on a processor")
    if precision == "bf16" and device.type == "cuda" and mixed_precision(device) != "bf16":
        raise UserError(f"{torch.cuda.get_device_name(device)} has no bf16; use train.precision=fp16 or float32")


def graphed(how: str | None, device: torch.device) -> tuple[bool, str | None]:
    """Whether ``compile=graph`` captures the training step, and a sentence where it was asked for and can't be."""
    if how != "graph" or device.type == "cuda":
        return how == "graph", None
    return False, "compile=graph needs a GPU; the model trains as it is"
