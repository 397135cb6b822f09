"""A finished run predicts: from new raw files to probabilities and a submission.

python -m bench.predict run=latest
python -m bench.predict run=outputs/hms/wavenet/1f3a90c2d4e5 input=/data/new tta=flips
"""

from __future__ import annotations

import re
import sys

from bench.cli.door import main, run_job
from bench.paths import conf

ABOUT = """Predicts the test part of a folder of raw files with a finished run: the mean of its folds, each row looked
at as the run looked at its own, in test.parquet and a submission that is held against the competition's sample file.
The run's folder and this package are enough. The last line names the folder that holds the predictions."""


def door() -> None:
    import hydra
    from omegaconf import DictConfig

    sys.argv[1:] = [quoted(word) for word in sys.argv[1:]]

    @hydra.main(version_base="1.3", config_path=str(conf()), config_name="predict")
    def job(config: DictConfig) -> None:
        from omegaconf import OmegaConf

        from bench.runs.outcome import Outcome

        def work() -> Outcome:
            from bench.cli.schema import Predict
            from bench.prediction.command import predict
            from bench.runs.records import parse

            return predict(parse(Predict, OmegaConf.to_container(config, resolve=True), None))

        run_job(work)

    job()


def quoted(word: str) -> str:
    """``run=`` so that Hydra takes a query or an identity as text: it stumbles over equals signs, and reads numbers."""
    key, _, text = word.partition("=")
    return f'run="{text}"' if key == "run" and re.fullmatch(r"\w+=[^\"]*|[0-9a-f]+", text) else word


if __name__ == "__main__":
    main(door, "bench.predict", ABOUT, "predict")
