"""Test-time augmentation: several views of the same rows, whose probabilities are averaged.

The plain prediction is always made beside it, and both are scored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from torch import Tensor

from bench.augment.base import Augment
from bench.data.batches import Batch
from bench.spec import UserError

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class View:
    """One way to look at the rows.

    ``share`` places the window in examples of open length: 0 at their beginning, towards 1 at their end. ``stored``
    changes the gathered batch, ``seen`` what the model gets; ``by_chance`` are augmentations that follow them.
    """

    share: float = 0.5
    stored: Change | None = None
    seen: Change | None = None
    by_chance: tuple[Augment, ...] = ()

    def before(self, batch: Batch) -> Tensor:
        """What the device half gets."""
        x = batch.x if self.stored is None else self.stored(batch.x)
        return self._changed(x, batch, on_stored=True)

    def after(self, x: Tensor, batch: Batch) -> Tensor:
        """What the model gets."""
        return self._changed(x if self.seen is None else self.seen(x), batch, on_stored=False)

    def _changed(self, x: Tensor, batch: Batch, on_stored: bool) -> Tensor:
        for part in self.by_chance:
            if getattr(part, "on_stored", False) == on_stored:
                x, _ = part(x, batch, 0.0)
        return x


PLAIN = View()


class Views(ABC):
    """What a choice in conf/tta is: from the run's features and augmentation to the views."""

    @abstractmethod
    def views(self, features: Any, augment: Sequence[Augment]) -> list[View]: ...


FLIPS: dict[str, Change] = {"vertical": lambda x: x.flip(-2), "horizontal": lambda x: x.flip(-1)}


class Flips(Views):
    """Every combination of ``flips``: one gives two views, two give four."""

    def __init__(self, flips: Sequence[str]) -> None:
        if not flips or not set(flips) <= {*FLIPS, "left_right"} or len(set(flips)) < len(flips):
            raise UserError(f"tta.flips={list(flips)} must name some of {', '.join(FLIPS)}, left_right, each once")
        self.flips = list(flips)

    def views(self, features: Any, augment: Sequence[Augment]) -> list[View]:
        if "left_right" in self.flips and getattr(features, "mirrored", None) is None:
            raise UserError("tta.flips: left_right is for features that know the sides of a head; choose another flip")
        if "vertical" in self.flips and features.kind != "image":
            raise UserError("tta.flips: vertical is for images; a sequence has no rows to flip")
        return [self._view(features, chosen) for chosen in product(*((False, True) for _ in self.flips))]

    def _view(self, features: Any, chosen: Sequence[bool]) -> View:
        names = [name for name, taken in zip(self.flips, chosen, strict=True) if taken]
        changes = [FLIPS[name] for name in names if name in FLIPS]

        def seen(x: Tensor) -> Tensor:
            for change in changes:
                x = change(x)
            return x

        return View(stored=features.mirrored if "left_right" in names else None, seen=seen if changes else None)


class Crops(Views):
    """``n`` windows, evenly spread over an example that is longer than one."""

    def __init__(self, n: int = 5) -> None:
        if n < 2:
            raise UserError(f"tta.n={n} must be 2 or more; tta=none is one window, in the middle")
        self.n = n

    def views(self, features: Any, augment: Sequence[Augment]) -> list[View]:
        return [View(share=(i + 0.5) / self.n) for i in range(self.n)]


class Random(Views):
    """``n`` times the recipe's own augmentation, without what mixes rows. Source: 59th place at SETI, n = 16."""

    def __init__(self, n: int = 16) -> None:
        if n < 1:
            raise UserError(f"tta.n={n} must be 1 or more")
        self.n = n

    def views(self, features: Any, augment: Sequence[Augment]) -> list[View]:
        kept = [part for part in augment if not getattr(part, "mixes", False)]
        if not kept:
            raise UserError("tta=random repeats the recipe's augmentation, which changes no row; name some in augment=")
        return [View(by_chance=tuple(kept))] * self.n
