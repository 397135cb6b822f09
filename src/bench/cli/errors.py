"""Errors as one sentence each: a person's mistake, the system's, Hydra's and OmegaConf's."""

from __future__ import annotations

import difflib
import errno
import sys
from pathlib import Path

from bench.paths import conf

NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS)


def word(error: Exception) -> str:
    """An error as one sentence."""
    from bench.spec import UserError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = error.filename or "the run's folder"
        return f"the disk is full ({where}); free some space, the same command goes on from here"
    if isinstance(error, OSError) and error.errno in NOT_THERE:
        return f"{error.filename}: {error.strerror}; check the paths given, and who may read and write there"
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows where)"


def say_mistake(sentence: str) -> None:
    print(f"bench: {sentence}", file=sys.stderr, flush=True)


def reword(error: BaseException, module: str = "bench.train", config: str = "train") -> str:
    """Hydra's and OmegaConf's errors as one sentence that names the key and what to do, for the door of that config."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = error.__cause__
    if "Could not override" in lines[0]:
        key = lines[0].split("'")[1]
        keys = _keys(config)
        if owners := keys.get(key):
            group = key.partition(".")[0]
            named = " or ".join(f"{group}={owner}" for owner in owners)
            return f"{key} belongs to {named}: choose that too, or leave {key} out"
        if key == "experiments":
            return "an experiment is added with a plus: +experiments=<name>"
        close = difflib.get_close_matches(key, keys, 1, 0.8)
        meant = f"did you mean {close[0]}? " if close else ""
        return f"there is no key {key} here; {meant}python -m {module} --cfg job prints all keys of this command"
    if lines[0].startswith("Error merging override") and cause is not None:
        detail = str(cause).splitlines()[0]
        if "not a ListConfig" in detail:
            detail = "it is a list, written as key=[1,2]"
        return f"{lines[0].removeprefix('Error merging override ')} can't be used: {detail}"
    if "Ambiguous value" in lines[0]:
        return f"{lines[0].split(chr(39))[1]} names several: -m trains each in turn, key=[a,b] is a list"
    if "Could not load" in lines[0] or ("Could not find" in str(error) and "Available options" in str(error)):
        parts = next(line for line in lines if "Could not" in line).split("'")
        wanted = parts[-2] if "Could not find" in str(error) else parts[3]
        group = wanted.rpartition("/")[0]
        options = sorted(p.stem for p in (_groups(config) / group).glob("*.yaml"))
        return f"there is no {wanted.replace('/', '=', 1)}; choose {group}= one of {', '.join(options)}"
    if "parsing override" in lines[0] and "=" not in lines[0]:
        return f"{lines[0].split(chr(39))[1]} is not written as key=value; python -m {module} --help lists keys"
    if lines[0].startswith("no viable alternative at input '["):
        return "overrides in a list stand in quotes: \"pretrain=['dataset.edition=withdrawn','folds.only=[0]']\""
    if "Lexer" in str(error) or "parsing override" in str(error):
        return f"{lines[0]}; put a value with special characters in quotes twice: 'dataset.root=\"/a b/c=d\"'"
    return " ".join(lines).removesuffix(".") + f"; python -m {module} --help shows how a command is written"


def _groups(config: str) -> Path:
    """The folder of a door's groups: conf/<door> where it has its own, else conf/."""
    own = conf() / config
    return own if own.is_dir() else conf()


def _keys(config: str) -> dict[str, list[str]]:
    """Dotted keys of a door's config and of its groups' options, for suggestions; with the options that have them."""
    import yaml

    keys: dict[str, list[str]] = {}
    for key, value in yaml.safe_load((conf() / f"{config}.yaml").read_text(encoding="utf-8")).items():
        if key not in ("defaults", "hydra"):
            keys |= {key: []} | ({f"{key}.{k}": [] for k in value} if isinstance(value, dict) else {})
    for file in sorted(_groups(config).glob("*/*.yaml")):
        keys.setdefault(file.parent.name, [])
        node = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        node = node.get("dataset", node) if file.parent.name == "dataset" else node
        for key in node or ():
            keys.setdefault(f"{file.parent.name}.{key}", []).append(file.stem)
    return keys
