"""Where Hydra looks for plugins: bench's own (``bench.cli``)."""

from bench.cli.launchers import Joblib, Ray, SubmititLocal, SubmititSlurm

__all__ = ["Joblib", "Ray", "SubmititLocal", "SubmititSlurm"]
