"""Where Hydra looks for plugins: bench's own (``bench.cli``)."""

from bench.cli.launchers import Joblib, Ray, SubmititLocal, SubmititSlurm
from bench.search.sweeper import Optuna

__all__ = ["Joblib", "Optuna", "Ray", "SubmititLocal", "SubmititSlurm"]
