"""The command line's contract: sentences, exit codes, the last line, help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import build
from bench.atomic import read_json
from bench.crossval.plan import make_plan
from bench.spec import UserError
from conftest import Composed, small_overrides


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.train", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trian.epochs=3", "there is no key trian.epochs here; did you mean train.epochs?"),
        ("train.epochs=many", "train.epochs=many can't be used: Value 'many' of type 'str' could not be converted"),
        ("model=transformer9", "there is no model=transformer9; choose model= one of "),
        ("features.n_scales=3", "features.n_scales belongs to features=heartbeat_scalogram: choose that too, or"),
        (
            "augment=[specaugment,mixupp]",
            "there is no augment=mixupp; did you mean mixup? choose augment= one of band_pass, ",
        ),
        ("loss=kl,ce", "loss=kl,ce names several: -m trains each in turn"),
        ("experiments=heartbeat_ecg5000", "an experiment is added with a plus: +experiments=<name>"),
        ("folds.only=7", "folds.only=7 can't be used: it is a list"),
        ("data", "data is not written as key=value"),
        ("dataset=null", ""),
        ("dataset.root=/a=b", ""),
        ("dataset.root=/nowhere", "dataset.root=/nowhere is not a folder; give the folder that holds train.csv"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(override: str, sentence: str, tmp_path: Path) -> None:
    done = bench("dataset=heartbeat", "model=mlp", f"outputs={tmp_path}", override)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [done.stderr.strip()], "one line"
    assert done.stderr.startswith(f"bench: {sentence}")
    assert done.stdout == ""


def test_the_traceback_is_there_for_who_asks(tmp_path: Path) -> None:
    done = bench("dataset=heartbeat", "dataset.root=/nowhere", f"outputs={tmp_path}", HYDRA_FULL_ERROR="1")
    assert "Traceback" in done.stderr
    assert "UserError" in done.stderr


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+model.channels=3", "model.channels is decided by the data"),
        ("model.hidden=7", r"model.hidden=7 is not of the type that MLP takes: a list of int"),
        ("model.dropout=much", r"model.dropout='much' is not of the type that MLP takes: float"),
        ("+model.depth=7", "model.depth is not an option of MLP; it takes hidden, dropout"),
        ("optimizer.lr=fast", r"optimizer.lr='fast' is not of the type that Adam takes: float"),
        ("+loss.gamma=2", "loss.gamma is not an option of l1; it takes label_smoothing"),
        ("train.epochs=0", "train.epochs=0 must be 1 or more"),
        ("train.keep=best", "train.keep=best is not one of last, loss, metric"),
        ("train.precision=fp8", "train.precision=fp8 is not one of float32, bf16"),
        ("device=tpu", "device=tpu is not one of auto, cpu, cuda"),
        ("folds.only=[0,9]", r"folds.only=\[0, 9\] must name folds from 0 to 1"),
        ("folds.parallel=0", "folds.parallel=0 must be 1 or more"),
        ("seed=-1", "seed=-1 must be 0 or more"),
        ("split=group", "split=group needs groups"),
        ("split=predefined", "needs a 'fold' column"),
        ("features=hms_waveform", "features=hms_waveform reads hms, not heartbeat"),
        ("model.dropout=2", "the model can't be built of .*dropout=2.*: dropout probability .*; change its options"),
        ("optimizer.lr=-1", "optimizer can't be used with .*lr=-1.*: Invalid learning rate"),
        ("loss.label_smoothing=7", "loss.label_smoothing=7 must be 0 or more and below 1; choose"),
        ("split.n_splits=1", "split.n_splits=1 must be 2 or more"),
        ("+scheduler.warmup=9", "scheduler.warmup would do nothing: name the option it belongs to"),
        ("+augment.noise=5", "augment.noise would do nothing"),
        ("model._target_=os.system", "model._target_=os.system is refused"),
        ("model._target_=bench.models.mlp.Nothing", "can't be found"),
    ],
)
def test_a_plan_refuses_what_can_not_work(small: Callable[..., Composed], override: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make_plan(*small(override))


def test_cuda_without_a_gpu_is_a_sentence(small: Callable[..., Composed]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="torch sees no CUDA device here"):
        make_plan(*small("device=cuda"))


def test_a_model_that_does_not_take_the_features_says_what_to_choose(
    small: Callable[..., Composed], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.datasets.heartbeat import Heartbeat
    from bench.models.mlp import MLP

    monkeypatch.setattr(MLP, "takes", "image")
    monkeypatch.setattr(Heartbeat, "features", {"sequence": "heartbeat_waveform"})
    with pytest.raises(UserError, match="no features for a model that takes an image; choose a model that takes a seq"):
        make_plan(*small())


@pytest.mark.parametrize(
    ("value", "hint", "fits"),
    [
        (1, float, True), (True, float, False), (True, int, False), (1.5, int, False), ("1", int, False),
        (None, float | None, True), ([1, 2], tuple[int, ...], True), ([1, "a"], list[int], False), ("x", str, True),
    ],
)  # fmt: skip
def test_yaml_values_are_held_to_annotations(value: object, hint: object, fits: bool) -> None:
    assert build.fits(value, hint) is fits


def test_help_needs_no_heavy_import() -> None:
    code = "import sys; sys.argv = ['x', '--help']; import runpy; runpy.run_module('bench.train', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "dataset=" in done.stdout
    assert "heartbeat" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not loaded & {"torch", "numpy", "pandas", "hydra", "omegaconf", "mlflow", "timm"}


@pytest.mark.slow
def test_a_sweep_goes_on_past_a_failed_job_and_ends_with_a_table(beats: Path, tmp_path: Path) -> None:
    overrides = [*small_overrides(beats, tmp_path), "train.epochs=1"]
    done = bench("-m", *overrides, "optimizer.lr=1e30,0.01")
    assert done.returncode == 1
    table = done.stdout.split("\n\n")[-1].splitlines()
    assert [line.split()[0] for line in table[1:3]] == ["optimizer.lr=1e+30", "optimizer.lr=0.01"]
    assert "failed" in table[1]
    assert table[-1].strip() == "1 of 2 jobs finished"
    run = Path(next(line for line in done.stdout.splitlines() if line.startswith("run ")).removeprefix("run "))
    finished = list(run.parent.glob("*/scores.json"))
    assert len(finished) == 1
    stamp = (finished[0].parent / "folds/0/done.json").stat().st_mtime_ns
    again = bench("-m", *overrides, "optimizer.lr=0.02,0.01")
    assert again.returncode == 0, again.stderr
    assert (finished[0].parent / "folds/0/done.json").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_the_last_line_names_the_run(beats: Path, tmp_path: Path) -> None:
    done = bench(*small_overrides(beats, tmp_path), "train.epochs=1")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1].removeprefix("run "))
    assert read_json(folder / "scores.json")["identity"] == folder.name
