"""What every Hydra door shares: a fast --help, and a person's mistake told in one sentence with exit code 2."""

from __future__ import annotations

import difflib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.crossval import Outcome

TRACEBACK = "BENCH_FULL_ERROR"  # what HYDRA_FULL_ERROR was before main() took it over
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS)
MISTAKE, FAILED, INTERRUPTED = 2, 1, 130


def conf() -> Path:
    """The config tree: beside src/ in a checkout, inside the package where it was installed from a wheel."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def main(door: Callable[[], None], module: str, about: str, config: str) -> None:
    """Runs a Hydra door and ends the process with its exit code."""
    if {"-h", "--help"} & set(sys.argv[1:]):  # Hydra alone costs 0.7 s, and prints no more than this does
        print(help_page(module, about, config))
        sys.exit(0)
    for flag in ("-m", "--multirun"):  # argparse takes it before the first override or after the last only
        if flag in sys.argv[1:]:
            sys.argv.remove(flag)
            sys.argv.insert(1, flag)
    os.environ.setdefault(TRACEBACK, os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that we can say it in our words
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from bench.multirun import exit_code
    from bench.schema import register

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    register()
    signal.signal(signal.SIGTERM, interrupt)  # a scheduler's polite end is an interruption like Ctrl-C
    try:
        door()
    except (HydraException, OmegaConfBaseException) as error:
        if os.environ[TRACEBACK] == "1":
            raise
        say_mistake(reword(error, module, config))
        sys.exit(MISTAKE)
    except Exception as error:  # Hydra's own, on overrides it does not expect
        if os.environ[TRACEBACK] == "1":
            raise
        say_mistake(f"{error} ({type(error).__name__} while composing {' '.join(sys.argv[1:])})")
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        print("bench: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(exit_code())


def run_job(work: Callable[[], Outcome]) -> None:
    """Runs one job of a door and records its outcome; nothing but an interruption gets past it, so a sweep goes on."""
    from bench import multirun
    from bench.spec import UserError

    if multirun.sweeping():
        print(f"\njob       {multirun.job_name()}", file=sys.stderr, flush=True)
    try:
        outcome = work()
        multirun.note(FAILED if outcome.failed else 0, outcome.run.folder, outcome.scores, outcome.sentence)
    except Exception as error:
        if os.environ[TRACEBACK] == "1":
            traceback.print_exc()
        mistake = isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in NOT_THERE)
        sentence = word(error)
        say_mistake(sentence)
        multirun.note(MISTAKE if mistake else FAILED, None, None, sentence)


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


def help_page(module: str, about: str, config: str) -> str:
    """The door's help: what it does, the groups with their options, and the keys with their comments."""
    root = conf()
    opening, _, keys = (root / f"{config}.yaml").read_text(encoding="utf-8").partition("\n\n")
    keys, training = keys.split("\nhydra:", 1)[0], config == "train"
    groups = [
        f"  {folder.name + '=':11}{', '.join(sorted(p.stem for p in folder.glob('*.yaml')))}"
        for folder in sorted(_groups(config).iterdir())
        if any(folder.glob("*.yaml")) and folder.name != "experiments" and (training or f"- {folder.name}:" in opening)
    ]
    experiments = sorted(p.stem for p in (root / "experiments").glob("*.yaml")) if training else []
    return "\n".join(
        [
            f"usage: python -m {module} [-m] [key=value …]",
            "",
            about,
            "",
            "Groups (an option is a file in conf/<group>, its keys can be set: model.filters=[8,16]):",
            *groups,
            *([f"  +experiments={', '.join(experiments)}"] if experiments else []),
            "",
            "Keys and their defaults:",
            *("  " + line for line in keys.splitlines() if line.strip()),
            "",
            "More: --cfg job prints the composed config; -m runs every combination of key=a,b;",
            "HYDRA_FULL_ERROR=1 shows tracebacks. Exit codes: 0 done, 1 a fold or job failed, 2 a mistake in the",
            "command or the data, 130 interrupted.",
        ]
    )
