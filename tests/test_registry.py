"""Registered models: they predict what the run does, hold what that takes and no more, and are made once."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import bench
from bench import build
from bench.atomic import read_json
from bench.crossval.collect import collect
from bench.prediction.blended import load
from bench.prediction.command import predict
from bench.runs.cleaning import REGISTERED
from bench.runs.run import Run
from bench.spec import UserError
from bench.tracking import registry
from bench.tracking.mirror import Mirror, default_uri
from commands import command
from conftest import compose, small_overrides, train_here
from fake_run import rewrite, write_run
from mlflow_server import kill, serve
from tiny import node, options, raw_files

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own use of SQLAlchemy, met where a test reads the database itself.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(autouse=True)
def nothing_of_mlflow_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loading puts a model's source on the path, and MLflow has one global address."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # which it sets too


@pytest.fixture(scope="module")
def trained(beats: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two folds of heartbeat × mlp, scored and mirrored; tests that change it take ``run``."""
    run = train_here(*compose(*small_overrides(beats, tmp_path_factory.mktemp("trained")), "train.epochs=1"))
    collect(run, build.locate(run.made_by.dataset, "dataset").metric)  # type: ignore[attr-defined]
    run.write_state(status="finished")
    rewrite(run, "inputs.json", simulated=True)
    return run


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database: making its tables takes seconds, copying them does not."""
    outputs = tmp_path_factory.mktemp("outputs")
    # Of another experiment: the one that the tests look into is then made where each test has its folder.
    assert Mirror(write_run(outputs, folds=1), default_uri(outputs)).sync()
    shutil.rmtree(outputs / "hms")
    return outputs


@pytest.fixture
def run(trained: Run, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the run below an ``outputs`` with a database, and a copy of the source that nobody edits meanwhile."""
    folder = tmp_path / "outputs" / "heartbeat" / "mlp" / trained.identity
    shutil.copytree(empty, tmp_path / "outputs")
    shutil.copytree(trained.folder, folder)
    source = shutil.copytree(registry.SOURCE, tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(registry, "SOURCE", source)
    return Run(folder)


def register(run: Run, name: str = "beats", *overrides: str) -> None:
    predict(command(run.folder.parent, f"run={run.folder}", f"register={name}", *overrides))


def client_of(run: Run) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(default_uri(run.folder.parents[2]))


def asked(run: Run, x: Any, address: str = "models:/beats/1") -> Any:
    """What the registered model answers."""
    import mlflow

    mlflow.set_tracking_uri(default_uri(run.folder.parents[2]))
    return mlflow.pyfunc.load_model(address, model_config={"device": "cpu"}).predict(x)


def raw(run: Run, n: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(1, run.spec.size[0])).astype(np.float32) for _ in range(n)]


def test_a_registered_model_answers_as_the_run_does_to_the_bit(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    register(run)
    said = capsys.readouterr()
    assert said.out == "model models:/beats/1\n"
    assert "register  version 1 of beats: 2 folds, " in said.err
    assert "(SIMULATED data)" in said.err
    x = raw(run)
    frame = asked(run, np.stack(x))
    model = bench.load(run.folder, device="cpu")
    assert list(frame) == [f"pred_{name}" for name in model.classes]
    np.testing.assert_array_equal(frame.to_numpy(), model.predict(x))


def test_folds_of_choice_are_a_version_of_their_own(run: Run) -> None:
    register(run)
    register(run, "beats", "folds=[1]")
    x = raw(run)
    one = asked(run, np.stack(x), "models:/beats/2").to_numpy()
    np.testing.assert_array_equal(one, bench.load(run.folder, folds=[1], device="cpu").predict(x))
    assert not np.array_equal(one, asked(run, np.stack(x)).to_numpy())
    version = client_of(run).get_model_version("beats", "2")
    scores = run.scores()
    assert scores is not None
    assert version.tags["folds"] == "1 of 2"
    assert float(version.tags["score"]) == pytest.approx(scores.folds[1], rel=1e-4)


def test_the_version_says_what_it_is_and_hangs_on_the_runs_page(run: Run) -> None:
    register(run)
    client, scores = client_of(run), run.scores()
    version = client.get_model_version("beats", "1")
    parent = client.get_run(read_json(run.folder / "tracking.json")["run_id"])
    assert scores is not None
    expected = {
        "identity": run.identity,
        "dataset": "heartbeat",
        "model": "mlp",
        "metric": "l1_20k",
        "simulated": "true",
    }
    assert expected.items() <= version.tags.items()
    assert float(version.tags["score"]) == pytest.approx(scores.mean, rel=1e-4)
    assert version.description.startswith("SIMULATED data: mlp on heartbeat")
    assert version.run_id == parent.info.run_id
    (output,) = parent.outputs.model_outputs
    assert version.source == f"models:/{output.model_id}"
    logged = client.get_logged_model(output.model_id)
    assert (logged.status, logged.source_run_id) == ("READY", parent.info.run_id)


def model_folder(run: Run, version: str = "1") -> Path:
    source = client_of(run).get_model_version_download_uri("beats", version)
    return Path(source.removeprefix("file://"))


def test_a_model_holds_what_prediction_reads_and_no_pickle(run: Run) -> None:
    register(run)
    folder = model_folder(run)
    held = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "code" not in p.parts}
    files = (
        "config.yaml",
        "inputs.json",
        *(f"folds/{k}/{n}" for k in (0, 1) for n in ("done.json", "weights.safetensors")),
    )
    own = {f"artifacts/{run.identity}/{name}" for name in files}
    assert held == own | {"MLmodel", "served.py", "requirements.txt", "conda.yaml", "python_env.yaml"}
    assert (folder / "code" / "bench" / "training" / "loading.py").exists()
    assert not [p for p in folder.rglob("*") if p.suffix in (".pkl", ".pickle", ".pyc")]
    pins = (folder / "requirements.txt").read_text().split()
    assert f"torch=={torch.__version__.partition('+')[0]}" in pins
    assert all("==" in pin for pin in pins)
    assert not [pin for pin in pins if pin.startswith("bench")]


def test_a_model_loads_with_its_own_source_and_without_unpickling(run: Run, tmp_path: Path) -> None:
    register(run)
    np.save(tmp_path / "x.npy", np.stack(raw(run)))
    code = (
        "import sys, numpy, torch, mlflow; torch.set_num_threads(1); mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model('models:/beats/1', model_config={'device': 'cpu'})\n"
        "numpy.save('y.npy', model.predict(numpy.load('x.npy')).to_numpy())\n"
        "import bench; print(bench.__file__)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, default_uri(run.folder.parents[2])],
        cwd=tmp_path,
        env=environment | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(model_folder(run))
    expected = bench.load(run.folder, device="cpu").predict(raw(run))
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_the_same_run_is_registered_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    register(run)
    capsys.readouterr()
    register(run)
    said = capsys.readouterr()
    assert said.out == "model models:/beats/1\n"
    assert "register  version 1 of beats is it already" in said.err
    register(run, "other")
    client = client_of(run)
    (first,), (other,) = (client.search_model_versions(f"name = '{name}'") for name in ("beats", "other"))
    assert first.source == other.source  # under another name nothing is sent again
    noted = json.loads((run.folder / REGISTERED).read_text(encoding="utf-8"))
    assert noted == ["models:/beats/1", "models:/other/1"], "bench.clean keeps it for that"


def test_other_source_makes_another_version(run: Run) -> None:
    register(run)
    with (registry.SOURCE / "loading.py").open("a") as file:
        file.write("# mended\n")
    register(run)
    assert len(client_of(run).search_model_versions("name = 'beats'")) == 2
    assert (model_folder(run, "2") / "code/bench/loading.py").read_text().endswith("# mended\n")


def test_what_an_attempt_left_half_done_is_taken_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    def dies(*_: Any) -> None:
        raise ConnectionError("Connection reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", dies)
        with pytest.raises(UserError, match=r"register=beats: the tracking server .* does not answer; the same"):
            register(run)
    register(run)
    client = client_of(run)
    (version,) = client.search_model_versions("name = 'beats'")
    note = read_json(run.folder / "tracking.json")
    (left,) = client.search_logged_models([note["experiment_id"]])
    assert version.source == f"models:/{left.model_id}"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["register=a/b"], "register=a/b can't be a model's name: it has to have a character, none of / : # "),
        (["register=' '"], "can't be a model's name"),
        (["register=''"], "can't be a model's name"),
        (["register=.."], "can't be a model's name"),
        (["register=beats", "export=onnx"], "register=beats registers the run as it predicts, and .* leave export out"),
        (["register=beats", "input=there"], "leave input out"),
        (["register=beats", "tta=flips"], "leave tta out"),
        (["register=beats", "folds=[7]"], r"folds=\[7\] must name folds from 0 to 1"),
    ],
)
def test_a_mistake_in_the_command_is_a_sentence_and_sends_nothing(
    trained: Run, tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        predict(command(tmp_path, f"run={trained.folder}", *overrides))
    assert not (trained.folder / "tracking.json").exists()


def test_weights_that_do_not_load_and_ensembles_are_refused(run: Run, tmp_path: Path) -> None:
    run.fold(1).weights.write_bytes(b"cut")
    with pytest.raises(UserError, match=r"folds/1/weights.safetensors is damaged"):
        register(run)
    rewrite(run, "inputs.json", model="ensemble")
    with pytest.raises(
        UserError, match="is an ensemble, and only trained runs can be registered; register its members"
    ):
        register(run)


def test_a_dead_server_is_a_sentence_within_a_bounded_wait(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:  # takes the connection and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        began = time.perf_counter()
        with pytest.raises(UserError, match=rf"register=beats: .* {uri} does not answer; .*, nothing is lost"):
            register(Run(run.folder))
    assert time.perf_counter() - began < 15
    assert capsys.readouterr().out == ""


def test_a_raw_example_of_each_data_set_is_what_the_signature_says(tmp_path: Path) -> None:
    stated = 0
    for name in options("dataset"):
        root = raw_files(name, tmp_path / name)
        given = {k: v for k, v in node("dataset", name).items() if k != "simulator"} | {"root": str(root)}
        dataset = build.build(given, "dataset")
        for option in options("features"):
            if option == "default" or "signal" in node("features", option):  # kernels read what their signal reads
                continue
            features = build.build(node("features", option), "features")
            if dataset.name not in features.datasets:
                continue
            said, example = dataset.raw(dataset.facts(), features.reads), dataset.read("test", 0, **features.reads)
            assert (said is None) == (name == "freesound")
            if said is not None:
                found = example if isinstance(example, dict) else {"": example}
                assert said == {key: (x.shape, str(x.dtype)) for key, x in found.items()}, option
                stated += 1
    assert stated >= 9


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("hms", ["features=hms_image", "model=cnn2d", "features.height=80", "features.width=96"]),
        ("freesound", ["features=freesound_waveform", "model=mlp", "features.seconds=0.1"]),
        ("seti", ["features=seti_stacked", "model=cnn2d"]),
    ],
)
def test_raw_examples_of_several_arrays_and_of_open_length_are_taken(
    empty: Path, tmp_path: Path, name: str, overrides: list[str]
) -> None:
    root = raw_files(name, tmp_path / "raw")
    small = [*small_overrides(root, tmp_path), f"dataset={name}", *overrides, "train.epochs=1", "split.strict=false"]
    shutil.copytree(empty, tmp_path / "outputs")
    run = train_here(*compose(*small), [0])
    register(run, "beats", "folds=[0]")
    model = load(run.folder, [0], device="cpu")
    dataset = model.open(root)
    raw = [dataset.read("test", i, **model.features.reads) for i in range(2)]
    expected = model.predict(raw)
    if isinstance(raw[0], dict):
        stacked: Any = {key: np.stack([example[key] for example in raw]) for key in raw[0]}
    elif name == "freesound":
        stacked = raw
        np.testing.assert_array_equal(asked(run, raw[0]).to_numpy(), model.predict(raw[0]))
    else:
        stacked = np.stack(raw)
    np.testing.assert_array_equal(asked(run, stacked).to_numpy(), expected)


@pytest.mark.server
def test_a_server_takes_a_model_and_gives_it_back(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # an address comes from the person, never from the run's folder
    server = serve(tmp_path, port)
    try:
        register(run)
        assert f"{uri}/#/models/beats/versions/1" in capsys.readouterr().err
        register(run)
        assert "is it already" in capsys.readouterr().err
        mlflow.set_tracking_uri(uri)
        model = mlflow.pyfunc.load_model("models:/beats/1", model_config={"device": "cpu"})
        frame = model.predict(np.stack(raw(run)))
        source = mlflow.MlflowClient().get_model_version("beats", "1").source
    finally:
        kill(server)
    np.testing.assert_array_equal(frame.to_numpy(), bench.load(run.folder, device="cpu").predict(raw(run)))
    assert (tmp_path / "art").is_dir()
    assert list((tmp_path / "art").rglob(f"{source.removeprefix('models:/')}/artifacts/MLmodel"))
