"""Errors as one sentence and an exit code each: a person's mistake, the system's, Hydra's and OmegaConf's.

Hydra's errors are told apart by their types, and by those of their causes. Where Hydra has one type for several
mistakes, the beginning of its text tells which.
"""

from __future__ import annotations

import difflib
import errno
import re
import sys
from collections.abc import Iterator

from bench.addresses import without_secrets
from bench.cli.command import Command
from bench.cli.keys import ADDED, groups_of, keys_of, plus
from bench.mistake import UserError
from bench.tell import visible

MISTAKE, FAILED, INTERRUPTED = 2, 1, 130
PLACEHOLDERS = ("default", "none")
"""Names of options that many groups have."""
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS)


def code_of(error: Exception) -> int:
    """MISTAKE for what a person can put right in the command or the files, else FAILED."""
    if isinstance(error, UserError) or _of_hydra(error):
        return MISTAKE
    return MISTAKE if isinstance(error, OSError) and error.errno in NOT_THERE else FAILED


def sentence(error: Exception, command: Command) -> str:
    """An error as one sentence that names the file or key and says what to do."""
    if isinstance(error, UserError):
        return str(error)
    if _of_hydra(error):
        return _hydra(error, command)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = error.filename or "the run's folder"
        return f"the disk is full ({where}); free some space, the same command goes on from here"
    if isinstance(error, OSError) and error.errno in NOT_THERE:
        return f"{error.filename}: {error.strerror}; check the paths given, and who may read and write there"
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows where)"


def say_mistake(text: str) -> None:
    print(f"bench: {visible(without_secrets(text))}", file=sys.stderr, flush=True)


def _of_hydra(error: BaseException) -> bool:
    """Whether it is Hydra's or OmegaConf's; without importing them, since nothing of theirs was raised before that."""
    return any(
        isinstance(error, getattr(sys.modules.get(module), name, ()))
        for module, name in (("hydra.errors", "HydraException"), ("omegaconf.errors", "OmegaConfBaseException"))
    )


def _hydra(error: BaseException, command: Command) -> str:
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
    from omegaconf.errors import (
        ConfigAttributeError,
        ConfigKeyError,
        InterpolationResolutionError,
        OmegaConfBaseException,
    )

    chain = list(_causes(error))
    for step in chain:
        if isinstance(step, OverrideParseException):
            return _not_read(step.override, command)
        if isinstance(step, MissingConfigException):
            return _no_option(step.missing_cfg_file or "", step.options or (), command)
        if isinstance(step, InterpolationResolutionError):
            return _interpolation(step)
    text = next((str(step) for step in chain if str(step).strip()), type(error).__name__)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    quoted = lines[0].split("'")[1] if lines[0].count("'") > 1 else ""
    cause = chain[-1]
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) or lines[0].startswith("Could not override"):
        return unknown_key(quoted, command)
    if isinstance(cause, OmegaConfBaseException) and isinstance(error, ConfigCompositionException):
        return _not_fitting(lines[0].removeprefix("Error merging override "), cause)
    return _composition(lines, quoted, command)


def _composition(lines: list[str], quoted: str, command: Command) -> str:
    """The sentences on what Hydra has one type for."""
    if lines[0].startswith("Could not delete"):
        key = quoted.partition("=")[0]
        if key not in keys_of(str(command.config)):
            return unknown_key(key, command)
        return f"~{key} takes nothing away, as {key} is null already; leave it out, or write {key}=null"
    if lines[0].startswith("Could not append"):
        return f"{quoted} is there already: write it without the plus"
    if lines[0].startswith(("Ambiguous value", "Sweep parameters")):
        return f"{quoted} names several: -m trains each in turn, key=[a,b] is a list"
    if lines[0].startswith("Override ") and quoted == "":
        group = lines[0].split()[1].partition("=")[0]
        return unknown_key(group.lstrip("+"), command)
    return " ".join(lines).removesuffix(".") + f"; python -m {command.module} --help shows how a command is written"


def unknown_key(key: str, command: Command) -> str:
    """The sentence on a key that nothing reads: whose it is, or which is near."""
    keys = keys_of(str(command.config))
    group = key.partition(".")[0]
    if owners := keys.get(key):
        named = " or ".join(f"{group}={owner}" for owner in owners)
        return f"{key} belongs to {named}: choose that too, or leave {key} out"
    if key in ADDED:
        return f"{'an experiment' if key == 'experiments' else 'what debugs'} is added with a plus: +{key}=<name>"
    close = difflib.get_close_matches(key, keys, 1, 0.85)
    close = close or [known for known in keys if known.endswith(f".{key.rpartition('.')[2]}")][:1]
    close = close or difflib.get_close_matches(key, keys, 1, 0.7)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"there is no key {key} here; {meant}python -m {command.module} --cfg job prints all keys of this command"


def _not_read(word: str, command: Command) -> str:
    """The sentence on an override that Hydra's grammar does not take."""
    key, equals, value = word.partition("=")
    if not equals:
        meant = nearest(word, None, str(command.config))
        return f"{word} is not written as key=value; {meant}python -m {command.module} --help lists keys"
    if value.startswith("["):
        return (
            f"{key}: overrides in a list stand in quotes: \"{key}=['dataset.edition=withdrawn','folds.only=[0]']\""
            if "=" in value
            else f"{word}: the list can't be read; write {key}=[a,b], with quotes twice around special characters"
        )
    value = value.strip("'\"")
    return f"{key}: {value!r} holds special characters; put the value in quotes twice: '{key}=\"{value}\"'"


def _no_option(requested: str, options: object, command: Command) -> str:
    """The sentence on an unknown option of a group."""
    group, _, name = requested.rpartition("/")
    if not group:
        return (
            f"there is no config {requested or 'of that name'} in the folder that --config-path or --config-dir names; "
            "a run is trained again with --config-path <run> --config-name config"
        )
    known = sorted(file.stem for file in groups_of(str(command.config)).get(group, []))
    names = known or sorted(str(option) for option in (options if isinstance(options, list | tuple) else ()))
    if group.startswith("hydra/"):
        package = f"hydra-{name.replace('_', '-')}-{group.removeprefix('hydra/')}"
        others = ", ".join(names) or "none"
        return (
            f"there is no {group}={name}; Hydra has {others}, others are packages of their own: pip install {package}"
        )
    meant = nearest(name, group, str(command.config))
    return f"there is no {group}={name}; {meant}choose {group}= one of {', '.join(names)}"


def nearest(name: str, group: str | None, config: str) -> str:
    """ "did you mean …? " with the option that was meant by ``name``, of this group or else of another; or nothing."""
    groups = {key: [file.stem for file in files] for key, files in groups_of(config).items()}
    own = groups.get(group or "", [])
    if close := difflib.get_close_matches(name, own, 1, 0.7):
        return f"did you mean {close[0]}? "
    others = [(o, key) for key, options in groups.items() if key != group for o in options if o not in PLACEHOLDERS]
    exact = [f"{plus(key)}{key}={option}" for option, key in others if option == name]
    if exact:
        return f"did you mean {' or '.join(exact)}? "
    close = difflib.get_close_matches(name, [option for option, _ in others], 1, 0.8)
    return "".join(f"did you mean {plus(key)}{key}={option}? " for option, key in others if option in close)


def _not_fitting(word: str, cause: BaseException) -> str:
    """The sentence on a value that its key's type refuses."""
    detail = str(cause).splitlines()[0]
    if "not a ListConfig" in detail:
        detail = "it is a list, written as key=[1,2]"
    if word.startswith("~"):
        detail = "every command has this key, so it can't be taken away; give it another value"
    return f"{word} can't be used: {detail}"


def _interpolation(error: BaseException) -> str:
    """The sentence on ``${…}`` that leads nowhere."""
    key, text = getattr(error, "full_key", "") or "", str(error).splitlines()[0]
    if variable := re.search(r"Environment variable '([^']*)' not found", text):
        name = variable[1]
        return f"{key}: the environment variable {name} is not set; set it, or write ${{oc.env:{name},<value>}}"
    return f"{key}: {text}; write a value, or the name of another key"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, in that order."""
    step: BaseException | None = error
    while step is not None:
        yield step
        step = step.__cause__
