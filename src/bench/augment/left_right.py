"""The two sides of the head swapped."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from inspect import getmembers, isabstract, isclass

from torch import Tensor

import bench.features
from bench.augment.base import ExampleChange
from bench.features.base import Features
from bench.spec import UserError


class LeftRight(ExampleChange):
    """What was recorded on the left becomes the right's and the other way round, with probability ``p`` an example.

    The features know what that means for what they store (``mirrored``): it is done there, before their device half,
    so that filters and pictures come out as if the electrodes had been swapped. Source: the HMS write-up (M. Kotyushev,
    Kaggle, 16th place), which swaps EEG and spectrogram.
    """

    on_stored = True

    def __init__(self, features: Features, p: float = 0.5) -> None:
        super().__init__(p)
        if features.mirrored is None:
            raise UserError(
                f"augment=left_right needs features that know left from right ({', '.join(sided()) or 'none yet'}), "
                f"and {type(features).__name__} doesn't; choose one of them or leave left_right out"
            )
        self.mirrored = features.mirrored

    def change(self, x: Tensor) -> Tensor:
        return self.mirrored(x)


def sided() -> list[str]:
    """The features that have a mirror image, by the names of their modules."""
    modules = [f"bench.features.{module.name}" for module in pkgutil.iter_modules(bench.features.__path__)]
    return [
        module.rpartition(".")[2]
        for module in modules
        for _, kind in getmembers(import_module(module), isclass)
        if kind.__module__ == module and issubclass(kind, Features) and not isabstract(kind) and kind.mirrored
    ]
