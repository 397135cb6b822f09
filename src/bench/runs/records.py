"""Frozen dataclasses in a run's files: every key is checked on reading; they are written as plain containers."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from bench import build
from bench.atomic import read_json
from bench.spec import UserError

Record = TypeVar("Record")

AGAIN = "the command that made the run writes the file again"


@lru_cache
def _hints(kind: type[Any]) -> Mapping[str, Any]:
    """The types of a record's keys, looked up once: it takes longer than reading a file."""
    return typing.get_type_hints(kind)


def from_json(kind: type[Record], path: Path) -> Record:
    """The record in a JSON file; UserError naming the file, and the key that is missing or of a wrong type."""
    return parse(kind, read(path, read_json), str(path))


def read(path: Path, reader: Callable[[Path], Any]) -> Any:
    """What ``reader`` reads of a file; UserError where the file is not there."""
    try:
        return reader(path)
    except FileNotFoundError:
        raise UserError(f"{path} is not there; {AGAIN}") from None


def parse(kind: type[Record], content: Any, source: str | None, above: str = "") -> Record:
    """A dataclass from plain containers; ``source`` names the file in errors, None a command; ``above`` are keys above.

    A key that is absent takes the field's default: files of earlier versions lack some. Keys that the dataclass does
    not have are left out: files of later versions may have more.
    """
    if not isinstance(content, Mapping):
        raise _wrong(source, above.rstrip("."), content, "is no mapping of keys to values")
    hints, values = _hints(kind), {}  # type: ignore[arg-type]
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in content:
            values[field.name] = _value(hints[field.name], content[field.name], source, above + field.name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            missing = f"{above}{field.name}"
            raise UserError(f"{source} has no {missing}; {AGAIN}" if source else f"{missing} has no value; give it one")
    return kind(**values)


def plain(value: Any) -> Any:
    """The same in dicts and lists, which JSON and YAML take."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def _value(hint: Any, value: Any, source: str | None, key: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        if len(kinds) == 1:
            return _value(kinds[0], value, source, key)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return parse(hint, value, source, f"{key}.")
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], v, source, f"{key}.{at}") for at, v in enumerate(value))
    if origin is Mapping and isinstance(value, Mapping):
        return {str(k): _value(arguments[1], v, source, f"{key}.{k}") for k, v in value.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        if value in list(hint):
            return hint(value)
        raise _wrong(source, key, value, f"is not one of {', '.join(hint)}")
    if hint is Any or (origin not in (tuple, Mapping) and build.fits(value, hint)):
        return value
    if origin is typing.Literal:
        raise _wrong(source, key, value, f"is not one of {', '.join(map(str, arguments))}")
    raise _wrong(source, key, value, "is of a wrong type")


def _wrong(source: str | None, key: str, value: Any, what: str) -> UserError:
    if source is None:
        return UserError(f"{key}={value} {what}")
    return UserError(f"{source}: {key or 'its content'} {what} ({value!r:.80}); {AGAIN}")
