"""A finished run predicts: from new raw files to probabilities and a submission.

python -m bench.predict run=latest
python -m bench.predict run=best,dataset=hms
python -m bench.predict run=outputs/hms/wavenet/1f3a90c2d4e5 input=/data/new tta=flips
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from bench.cli.command import Command
from bench.cli.door import run

if TYPE_CHECKING:
    from bench.runs.outcome import Outcome

ABOUT = """Predicts the test part of a folder of raw files with a finished run: the mean of its folds, each row looked
at as the run looked at its own, in test.parquet and a submission that is held against the competition's sample file.
The run's folder and this package are enough. The last line names the folder that holds the predictions."""


def work(config: dict[str, Any], names: dict[str, str]) -> Outcome:
    from bench.cli.schema import Predict
    from bench.prediction.command import predict
    from bench.runs.records import parse

    return predict(parse(Predict, config, None))


COMMAND = Command("predict", ABOUT, work, config="predict", texts={"run": r"\w+=[^\"]*|best[:,][^\"]*|[0-9a-f]+"})
"""A run's name may be a query or an identity; two with a comma between them are two jobs of a sweep."""

if __name__ == "__main__":
    sys.exit(run(COMMAND))
