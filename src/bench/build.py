"""Builds objects from config nodes: the one place that turns a ``_target_`` into a call.

Hydra's ``instantiate`` would call anything; here a target must be what its group takes (``targets``: a run's folder may
come from somebody else), its keys must be the callee's own, and a wrong type is a sentence instead of a traceback.
"""

from __future__ import annotations

import collections.abc
import difflib
import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from bench import extensions, targets
from bench.spec import UserError


def locate(node: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """The class or function that ``node._target_`` names; ``where`` is the node's key in the config.

    UserError where it is not what the group of that key takes (``targets``); by the name alone nothing is imported.
    """
    path = node.get("_target_") if isinstance(node, Mapping) else None
    if not isinstance(path, str):
        group = targets.group_of(where)
        names = targets.options(group)
        choose = f"choose {group}= one of {', '.join(names)}" if names else "name one, or leave the key out"
        raise UserError(f"{where} has no _target_; {choose}")
    path = targets.current(path)
    targets.refuse_name(path, where)
    module, _, name = path.rpartition(".")
    try:
        target: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{where}._target_={path} can't be found ({error})") from error
    targets.refuse_kind(target, path, where)
    return target


def build(node: Mapping[str, Any], where: str, *args: Any, **keywords: Any) -> Any:
    """Calls the node's target with ``args``, ``keywords`` and the node's other keys, checked first."""
    target = locate(node, where)
    return target(*args, **keywords, **check(target, node, where, len(args), keywords))


def each(nodes: Mapping[str, Any], where: str, **offered: Any) -> list[Any]:
    """The objects of a group whose options are composed by list, in their order; none for an empty one.

    What is ``offered`` goes to those that have a parameter of that name. A node's ``parts`` are nodes themselves.
    """
    return list(_named(nodes, where, offered).values())


def _named(nodes: Mapping[str, Any], where: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    parts = {}
    for name, node in nodes.items():
        if not isinstance(node, Mapping):
            raise UserError(f"{where}.{name} would do nothing: compose {where}'s parts by list, as {where}=[mixup]")
        key_path = f"{where}.{name}"
        taken = inspect.signature(locate(node, key_path)).parameters
        keywords = {key: value for key, value in offered.items() if key in taken}
        if "parts" in node and isinstance(node["parts"], Mapping):
            keywords["parts"] = _named(node["parts"], f"{key_path}.parts", offered)
            node = {key: value for key, value in node.items() if key != "parts"}
        parts[name] = build(node, key_path, **keywords)
    return parts


def partial(node: Mapping[str, Any], where: str, n_args: int, later: tuple[str, ...] = ()) -> Callable[..., Any]:
    """The node's target with its other keys bound; ``n_args`` arguments and ``later`` are to come."""
    target = locate(node, where)
    return functools.partial(target, **check(target, node, where, n_args, dict.fromkeys(later)))


def check(
    target: Callable[..., Any], node: Mapping[str, Any], where: str, n_args: int, supplied: Mapping[str, Any]
) -> dict[str, Any]:
    """The node's keys without ``_target_``; UserError where one is unknown, already given or of a wrong type."""
    keys = {k: v for k, v in node.items() if k != "_target_"}
    parameters = list(inspect.signature(target).parameters.values())
    taken = {p.name for p in parameters[:n_args]} | set(supplied)
    named = {p.name: p for p in parameters[n_args:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    name = getattr(target, "__name__", str(target))
    hints = _hints(target)
    for key, value in keys.items():
        if key in taken:
            raise UserError(f"{where}.{key} is decided by the data and can't be set; leave it out")
        if key not in named and not open_ended:
            raise UserError(_unknown(node, where, key, name, [n for n in named if n not in taken]))
        if key in hints and not fits(value, hints[key]):
            raise UserError(f"{where}.{key}={value!r} is not of the type that {name} takes: {_name(hints[key])}")
    missing = [n for n, p in named.items() if p.default is p.empty and n not in keys and n not in supplied]
    if missing:
        raise UserError(f"{name} needs {', '.join(f'{where}.{n}' for n in missing)}; set it on the command line")
    return keys


def _unknown(node: Mapping[str, Any], where: str, key: str, name: str, options: list[str]) -> str:
    """The sentence on a key that the target does not take: what it takes, what is near, and whose the key is."""
    sentence = f"{where}.{key} is not an option of {name}; it takes {', '.join(options) or 'none'}"
    if near := difflib.get_close_matches(key, options, 1, 0.7):
        return f"{sentence}. Did you mean {where}.{near[0]}?"
    target = targets.current(str(node.get("_target_")))
    paths = {option: extensions.option(where, option) for option in targets.options(where)}
    files = {option: path.read_text(encoding="utf-8") for option, path in paths.items() if path.exists()}
    mine = [option for option, text in files.items() if f"_target_: {target}\n" in text]
    others = [f"{where}={option}" for option, text in files.items() if f"\n{key}:" in text and option not in mine]
    if others:
        sentence += f" ({', '.join(others[:3])} {'has' if len(others) == 1 else 'have'} {key})"
    if not others:
        return sentence
    # The target may have been replaced, and the keys be those of another option.
    return f"{sentence}; {where}={mine[0]} has keys that fit" if mine else f"{sentence}; ~{where}.{key} leaves it out"


def fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value is of an annotated type; annotations that YAML can't express fit everything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, a) for a in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin in (list, tuple, collections.abc.Sequence):
        inner = [a for a in arguments if a is not Ellipsis]
        return isinstance(value, list | tuple) and all(any(fits(v, a) for a in inner) for v in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if hint is type(None):
        return value is None
    return not (isinstance(hint, type) and hint.__module__.startswith("torch"))


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if isinstance(target, type) else target)  # type: ignore[misc]
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        return {}


def _name(hint: Any) -> str:
    """An annotation in words, without what YAML can't express."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_name(a) for a in arguments if not getattr(a, "__module__", "").startswith("torch"))
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (list, tuple, collections.abc.Sequence):
        return "a list of " + " and ".join(dict.fromkeys(_name(a) for a in arguments if a is not Ellipsis))
    return "null" if hint is type(None) else getattr(hint, "__name__", str(hint))
