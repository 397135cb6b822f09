"""Registers a run as a model in MLflow: logged to the run's page, then registered as a version of a name.

The logged model holds the files that prediction reads, the source of bench, and ``served.py``, which loads the run with
that source. The source is included (``code_paths``) instead of a requirement ``bench==<version>``: users add models and
features to their copy, which no release has, and a package index may hold another project of that name. Where bench is
also installed, the model's copy is imported first, unless bench has been imported before.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
from bench import extensions, targets
from bench.runs.run import Run
from bench.spec import UserError
from bench.tracking import wording
from bench.tracking.address import VARIABLE
from bench.tracking.mirror import Mirror, TrackingError, quiet

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

SOURCE = Path(bench.__file__).parent
REQUIREMENTS = (
    "mlflow", "numpy", "pandas", "pyarrow", "pyyaml", "safetensors", "scipy", "timm", "torch", "torchvision",
)  # fmt: skip
"""The packages that prediction imports. Listed here, since MLflow would run the model to infer them."""
TAKEN = "/:#?%@'\""
"""Characters that MLflow refuses in a name, or that have a meaning in the address models:/<name>/<version>."""
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
UPLOAD_S = "60"
"""Timeout of a request to a server that has just answered: it may store the weights before it answers."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model; ``new`` if this call created it."""

    name: str
    number: str
    new: bool
    size: int
    """Bytes of the run's files in it."""

    @property
    def uri(self) -> str:
        """The address for ``mlflow.pyfunc.load_model``."""
        return f"models:/{self.name}/{self.number}"


def refuse_name(name: str) -> None:
    """Raises UserError for a name that MLflow can't give a model."""
    if not name.strip() or name != name.strip() or name in (".", "..") or set(TAKEN) & set(name):
        raise UserError(
            f"register={name} can't be a model's name: it has to have a character, none of {' '.join(TAKEN)} and no "
            "space at its ends"
        )


def register(
    run: Run, uri: str, name: str, files: Sequence[Path], tags: Mapping[str, str], arrays: Mapping[str, Any] | None
) -> Version:
    """The version of ``name`` that holds these files of the run, created if it does not exist.

    ``files`` lie in the run's folder. Two versions are the same if their files and source are, byte for byte.
    ``arrays`` are an example's shape and dtype by name, ``""`` for a single array. None: no signature.

    The run's page is updated first. A half logged model of an earlier attempt is deleted, a complete one is used.
    Raises TrackingError if the server or database fails; the next attempt continues from there.
    """
    from filelock import FileLock

    content, longest = digest(run, files), os.environ.get(TIMEOUT, UPLOAD_S)
    mirror = Mirror(run, uri)
    mirror.sync()  # a dead server fails here, with a short timeout
    try:
        with quiet(), _settings(mirror.uri, longest), FileLock(run.folder / ".tracking.lock", timeout=60):
            client, size = mirror.client, sum(path.stat().st_size for path in files)
            for version in _versions(client, name):
                if version.tags.get("content") == content:
                    return Version(name, str(version.version), False, size)
            tags = {**tags, "content": content}
            logged = _logged(client, mirror.note, content) or _log(mirror, files, tags, arrays)
            created = client.create_model_version(
                name,
                f"models:/{logged.model_id}",
                mirror.note["run_id"],
                tags,
                description=describe(tags),
                model_id=logged.model_id,
            )
            return Version(name, str(created.version), True, size)
    except Exception as error:
        raise TrackingError(wording.sentence(uri, error)) from error


def digest(run: Run, files: Sequence[Path]) -> str:
    """Hash of a version's content: the run's files, and the source that reads them."""
    total = hashlib.sha256()
    code = [(root, [path for path in sorted(root.rglob("*")) if path.is_file()]) for root in sources(run)]
    for root, paths in [(run.folder, files), *code]:
        for path in paths:
            if path.parent.name == "__pycache__":
                continue
            with path.open("rb") as file:
                total.update(f"{path.relative_to(root)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:32]


def sources(run: Run) -> list[Path]:
    """The packages that load the run: bench, and the extensions that the run was made with."""
    return [SOURCE, *(extensions.source(name) for name in targets.extensions_of(run.config))]


def describe(tags: Mapping[str, str]) -> str:
    """A sentence that describes a version on its page."""
    simulated = "SIMULATED data: " if tags["simulated"] == "true" else ""
    score = f", {tags['metric']} {tags['score']}" if "score" in tags else ""
    return f"{simulated}{tags['model']} on {tags['dataset']}, run {tags['identity']}, folds {tags['folds']}{score}"


def page(uri: str, version: Version) -> str:
    """Address of the version's page."""
    from urllib.parse import quote

    return f"{wording.server(uri)}/#/models/{quote(version.name)}/versions/{version.number}"


def _versions(client: MlflowClient, name: str) -> list[Any]:
    """All versions of a registered model, which is created if it does not exist."""
    try:
        client.get_registered_model(name)
    except Exception as error:
        if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
            raise
        with suppress(Exception):  # another process may have created it meanwhile; the next line checks
            client.create_registered_model(name)
        client.get_registered_model(name)
    return list(client.search_model_versions(f"name = '{name}'"))


def _logged(client: MlflowClient, note: Mapping[str, Any], content: str) -> LoggedModel | None:
    """The run's logged model of this content, or None. Deletes an incomplete one of an attempt that died."""
    ready = None
    for model in client.search_logged_models([note["experiment_id"]], f"tags.content = '{content}'"):
        if model.source_run_id == note["run_id"]:
            if model.status == "READY":
                ready = model
            else:
                client.delete_logged_model(model.model_id)
    return ready


def _log(mirror: Mirror, files: Sequence[Path], tags: dict[str, str], arrays: Mapping[str, Any] | None) -> LoggedModel:
    """Writes the model and attaches it to the run's page."""
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client, run, note = mirror.client, mirror.run, mirror.note
    logged = client.create_logged_model(
        note["experiment_id"], f"{tags['model']}-{run.identity[:6]}", note["run_id"], tags, model_type="bench run"
    )
    described = Model(
        artifact_path=logged.artifact_location, run_id=note["run_id"],
        model_uuid=logged.model_id, model_id=logged.model_id,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        kept, packed = Path(scratch) / run.identity, Path(scratch) / "model"
        for path in files:
            target = kept / path.relative_to(run.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)  # links MLflow refuses
        for name in ("MLFLOW_UV_AUTO_DETECT", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"):
            os.environ.setdefault(name, "false")  # a project in the working directory is not part of the model
        pyfunc.save_model(
            path=packed,
            mlflow_model=described,
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"run": str(kept)},
            code_paths=[str(path) for path in sources(run)],
            pip_requirements=requirements(),
            signature=_signature(arrays, run.spec.classes),
            model_config={"device": "auto", "extensions": targets.extensions_of(run.config)},
        )
        client.log_model_artifacts(logged.model_id, str(packed))
    client.log_outputs(note["run_id"], [LoggedModelOutput(logged.model_id, step=0)])
    return client.finalize_logged_model(logged.model_id, "READY")


def requirements() -> list[str]:
    """Pins of the installed versions, without a local part (+cu130), which no index has."""
    pins = []
    for name in REQUIREMENTS:
        with suppress(metadata.PackageNotFoundError):
            pins.append(f"{name}=={metadata.version(name).partition('+')[0]}")
    return pins


@contextmanager
def _settings(uri: str, seconds: str) -> Iterator[None]:
    """Sets MLflow's global tracking URI and timeout, and restores them afterwards.

    A client has its own address, but MLflow looks up models:/<id> at its global one.
    """
    import mlflow

    before = os.environ[TIMEOUT], mlflow.get_tracking_uri()  # the mirror has set the first
    environment = os.environ.get(VARIABLE)  # which mlflow sets too
    os.environ[TIMEOUT] = seconds
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        os.environ[TIMEOUT] = before[0]
        mlflow.set_tracking_uri(before[1])
        os.environ.pop(VARIABLE, None)
        if environment is not None:
            os.environ[VARIABLE] = environment


def _signature(arrays: Mapping[str, Any] | None, classes: Sequence[str]) -> ModelSignature | None:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    if arrays is None:
        return None
    inputs = [TensorSpec(np.dtype(kind), (-1, *shape), name or None) for name, (shape, kind) in arrays.items()]
    return ModelSignature(Schema(inputs), Schema([ColSpec("double", f"pred_{name}") for name in classes]))
