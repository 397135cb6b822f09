"""Test-time augmentation: several views of the same rows, whose probabilities are averaged.

The plain prediction is always made beside it, and both are scored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, product

from bench.augment.base import Augmentation
from bench.augment.horizontal_flip import HorizontalFlip
from bench.augment.left_right import LeftRight
from bench.augment.vertical_flip import VerticalFlip
from bench.features.base import Features
from bench.spec import UserError


@dataclass(frozen=True)
class View:
    """One way to look at the rows.

    ``share`` places the window in examples of open length: 0 at their beginning, towards 1 at their end. ``changes``
    are augmentations, made as in training.
    """

    share: float = 0.5
    changes: tuple[Augmentation, ...] = ()


PLAIN = View()


class Views(ABC):
    """What a choice in conf/tta is: from the run's features and augmentation to the views."""

    @abstractmethod
    def views(self, features: Features, augment: Sequence[Augmentation]) -> list[View]: ...


FLIPS = ("vertical", "horizontal", "left_right")


class Flips(Views):
    """Every combination of ``flips``: one gives two views, two give four."""

    def __init__(self, flips: Sequence[str]) -> None:
        if not flips or not set(flips) <= set(FLIPS) or len(set(flips)) < len(flips):
            raise UserError(f"tta.flips={list(flips)} must name some of {', '.join(FLIPS)}, each once")
        self.flips = list(flips)

    def views(self, features: Features, augment: Sequence[Augmentation]) -> list[View]:
        if "left_right" in self.flips and features.mirrored is None:
            raise UserError("tta.flips: left_right is for features that know the sides of a head; choose another flip")
        if "vertical" in self.flips and features.kind != "image":
            raise UserError("tta.flips: vertical is for images; a sequence has no rows to flip")
        changes = [self._surely(name, features) for name in self.flips]
        return [View(changes=tuple(compress(changes, taken))) for taken in product(*((False, True) for _ in changes))]

    def _surely(self, name: str, features: Features) -> Augmentation:
        if name == "left_right":
            return LeftRight(features, p=1.0)
        return VerticalFlip(p=1.0) if name == "vertical" else HorizontalFlip(p=1.0)


class Crops(Views):
    """``n`` windows, evenly spread over an example that is longer than one."""

    def __init__(self, n: int = 5) -> None:
        if n < 2:
            raise UserError(f"tta.n={n} must be 2 or more; tta=none is one window, in the middle")
        self.n = n

    def views(self, features: Features, augment: Sequence[Augmentation]) -> list[View]:
        return [View(share=(i + 0.5) / self.n) for i in range(self.n)]


class Random(Views):
    """``n`` times the recipe's own augmentation, without what mixes rows. Source: 59th place at SETI, n = 16."""

    def __init__(self, n: int = 16) -> None:
        if n < 1:
            raise UserError(f"tta.n={n} must be 1 or more")
        self.n = n

    def views(self, features: Features, augment: Sequence[Augmentation]) -> list[View]:
        kept = [part for part in augment if not part.mixes]
        if not kept:
            raise UserError("tta=random repeats the recipe's augmentation, which changes no row; name some in augment=")
        return [View(changes=tuple(kept))] * self.n
