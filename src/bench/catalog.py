"""What there is to choose from: every option in conf/, what fits what, and models' parameter counts.

python -m bench.catalog
python -m bench.catalog dataset=heartbeat
python -m bench.catalog model=wavenet
"""

from __future__ import annotations

import os
import sys

from bench.cli.door import INTERRUPTED, MISTAKE
from bench.cli.errors import reword, say_mistake, word
from bench.paths import conf

ABOUT = """usage: python -m bench.catalog [group=option …] [key=value …]

Lists what a training command can choose from. The words are those of python -m bench.train, so a command's own words
tell what it would train on:

  python -m bench.catalog                          everything, a line each
  python -m bench.catalog dataset=heartbeat        its files, its features, each model's parameter count on it
  python -m bench.catalog dataset=heartbeat dataset.root=<folder> model=mlp model.hidden=[256]
                                                   one model's count, on your files and with your options
  python -m bench.catalog model=wavenet            its options with their defaults, the data sets it trains on
  python -m bench.catalog loss=focal features=freesound_mfcc    several at once

Shapes and counts come from the files in dataset.root or data/<dataset>; where there are none, from a few simulated
ones in a temporary folder. Nothing is trained and nothing is kept."""


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        groups = sorted(folder.name for folder in conf().iterdir() if any(folder.glob("*.yaml")))
        print(f"{ABOUT}\n\nGroups: {', '.join(groups)}.\nExit codes: 0 done, 2 a mistake in the command or the data.")
        return 0
    traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from bench.cli.pages import show
    from bench.spec import UserError

    try:
        show(words)
    except (UserError, OSError, HydraException, OmegaConfBaseException) as error:
        if traceback:
            raise
        say_mistake(word(error) if isinstance(error, UserError | OSError) else reword(error))
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
