"""Hydra's sweep syntax → Optuna's distributions: choice(), range(), interval(), glob(), and values with commas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from bench.mistake import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def parsed(words: Sequence[str], loader: Any = None) -> tuple[list[str], dict[str, BaseDistribution]]:
    """The words that every trial has, and the distributions of the keys that are searched; later words win.

    ``loader`` is Hydra's config loader, which ``glob()`` asks for options. UserError for what can't be searched.
    """
    try:
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    except HydraException as error:
        raise UserError(str(error)) from error
    fixed: dict[str, str] = {}
    space: dict[str, BaseDistribution] = {}
    for override in overrides:
        key = override.get_key_element()
        fixed.pop(key, None)
        space.pop(key, None)
        if override.is_sweep_override():
            space[key] = _distribution(key, override)
        else:
            fixed[key] = f"{key}={override.get_value_element_as_str()}"
    return list(fixed.values()), space


def _distribution(key: str, override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, RangeSweep):
        numbers = list(value.range())
        if not numbers:
            raise UserError(f"{key}: {override.input_line} has no value; the end of range(start,end,step) is left out")
        if all(isinstance(number, int) for number in numbers):
            return IntDistribution(int(numbers[0]), int(numbers[-1]), step=abs(int(value.step or 1)))
        return CategoricalDistribution([repr(float(number)) for number in numbers])
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        if low is None or high is None or not low < high:
            raise UserError(f"{key}: interval({low},{high}) is empty; give the smaller number first")
        if log and low <= 0:
            raise UserError(f"{key}: tag(log, interval({low},{high})) must begin above 0")
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def words(params: dict[str, Any]) -> list[str]:
    """A trial's parameters as words of a command."""
    return [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()]


def described(space: dict[str, BaseDistribution]) -> dict[str, str]:
    """The distributions as text, to tell whether two searches look in one space."""
    from optuna.distributions import distribution_to_json

    return {key: distribution_to_json(distribution) for key, distribution in sorted(space.items())}
