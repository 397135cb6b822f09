"""The two sides of the head swapped."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from importlib import import_module
from inspect import isabstract
from typing import Any, ClassVar

from torch import Tensor

import bench.features
from bench.augment.base import changed, within
from bench.data.batches import Batch
from bench.features.base import Features
from bench.spec import UserError


class LeftRight:
    """What was recorded on the left becomes the right's and the other way round, with probability ``p`` an example.

    The features know what that means for what they store (``mirrored``): it is done there, before their device half,
    so that filters and pictures come out as if the electrodes had been swapped. Source: the HMS write-up (M. Kotyushev,
    Kaggle, 16th place), which swaps EEG and spectrogram.
    """

    on_stored: ClassVar[bool] = True

    def __init__(self, features: Any, p: float = 0.5) -> None:
        within("left_right", 0, 1, p=p)
        if getattr(features, "mirrored", None) is None:
            raise UserError(
                f"augment=left_right needs features that know left from right ({', '.join(sided()) or 'none yet'}), "
                f"and {type(features).__name__} doesn't; choose one of them or leave left_right out"
            )
        self.features, self.p = features, p

    def __call__(self, x: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Batch]:
        """x is the gathered stored batch, (B, *stored shape), of any dtype."""
        x = changed(x, self.p, self.features.mirrored)
        return x, replace(batch, x=x)


def sided() -> list[str]:
    """The features that have a mirror image, by the names of their modules."""
    found = []
    for module in pkgutil.iter_modules(bench.features.__path__):
        for kind in vars(import_module(f"bench.features.{module.name}")).values():
            own = getattr(kind, "__module__", None) == f"bench.features.{module.name}"
            if own and isinstance(kind, type) and issubclass(kind, Features) and not isabstract(kind) and kind.mirrored:
                found.append(module.name)
    return found
