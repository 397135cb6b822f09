"""The command line's contract: sentences, exit codes, the last line, help."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bench import __main__, build, train
from bench.atomic import read_json
from bench.cli.door import run
from bench.crossval.plan import make_plan
from bench.spec import UserError
from conftest import Composed, small_overrides

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("+limit=50", "there is no key limit here; python -m bench.train --cfg job prints all keys"),
        ("+lr=3", "there is no key lr here; did you mean optimizer.lr?"),
        ("+trainer.fast_dev_run=true", "there is no key trainer here; did you mean train?"),
        ("+train.lr=3", "there is no key train.lr here; did you mean optimizer.lr?"),
        ("+recipe.lr=3", "there is no key recipe.lr here; did you mean optimizer.lr?"),
        ("+features.width=3", "features.width would do nothing: name the option it belongs to"),
        ("+dataset.simulator.n_eegs=3", "dataset.simulator.n_eegs is not an option of simulate; it takes n_train"),
        ("--model wavenet", "--model is not written as key=value; write model=wavenet"),
        ("dataset=heartbeat --lr=0.1", "--lr=0.1 is not written as key=value; write optimizer.lr=0.1"),
        ("--epochs 3 model=mlp", "--epochs is not written as key=value; write train.epochs=3"),
        ("--resume", "--resume is not needed: the same command again goes on"),
        ("--dry-run", "--dry-run is not an option; keys are written as key=value"),
        ("~train.clip", "~train.clip takes nothing away, as train.clip is null already"),
        ("~train.batch_size", "~train.batch_size can't be used: every command has this key"),
        ("~trian", "there is no key trian here; did you mean train?"),
        (
            "init_from=a=b.ckpt",
            "init_from: 'a=b.ckpt' holds special characters; put the value in quotes twice: ",
        ),
        ("pretrain=[dataset.edition=withdrawn]", "pretrain: overrides in a list stand in quotes"),
        ("seed=${oc.env:NO_SUCH_SEED}", "seed: the environment variable NO_SUCH_SEED is not set"),
        ("train.epochs=${epochs}", "train.epochs: Interpolation key 'epochs' not found"),
        ("+seed=3", "seed is there already: write it without the plus"),
        ("seed=range(1,3)", "seed=range(1,3) names several: -m trains each in turn"),
        ("hydra/launcher=joblib", "hydra/launcher=joblib runs the jobs of a sweep: add -m"),
        (
            "-m hydra/launcher=dask",
            "there is no hydra/launcher=dask; Hydra has basic, joblib, ray, submitit_local, submitit_slurm, others",
        ),
        ("--config-name nope", "there is no config nope in the folder that --config-path"),
        ("model=wavnet", "there is no model=wavnet; did you mean wavenet? choose model= one of"),
    ],
)
def test_words_that_nothing_reads_are_one_sentence(
    words: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(train.COMMAND, [f"outputs={tmp_path}", f"data={tmp_path}", "dataset=heartbeat", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"bench: {sentence}")
    assert len(err.splitlines()) == 1
    assert not any(tmp_path.iterdir()), "nothing was started"


def test_flags_are_taken_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("_target_: bench.models.mlp.MLP\nhidden: [2]\n")
    assert run(train.COMMAND, ["dataset=heartbeat", "model=tiny", "--cfg", "job", "--config-dir", str(tmp_path)]) == 0
    assert "hidden:\n  - 2" in capsys.readouterr().out


def test_python_without_assertions_reads_all_but_what_hydra_can_not(tmp_path: Path) -> None:
    done = bench("-m", "dataset=heartbeat", "seed=range(1,3)", f"outputs={tmp_path}", PYTHONOPTIMIZE="1")
    assert done.returncode == 2
    assert done.stderr.startswith("bench: Hydra can't read seed=range(1,3) where Python leaves assertions out")


def test_the_commands_are_listed_and_started_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main([]) == 0
    page = capsys.readouterr().out
    for name in __main__.COMMANDS:
        assert re.search(rf"^  {name} +[A-Z].+[.?)]", page, re.MULTILINE)
        assert __main__.main([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: python -m bench.{name} ")
    assert __main__.main(["trian", "model=mlp"]) == 2
    assert "did you mean train?" in capsys.readouterr().err
    assert __main__.main(["model=mlp"]) == 2
    assert "bench train model=mlp" in capsys.readouterr().err
    assert __main__.main(["--version"]) == 0


def test_a_run_is_trained_again_from_its_own_config(
    small: Callable[..., Composed], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(*small("model.hidden=[8]", "augment=[mixup]", "train.epochs=3"))
    plan.run.folder.mkdir(parents=True)
    plan.write()
    config = yaml.safe_load((plan.run.folder / "config.yaml").read_text())
    hostile = {"outputs": "/nowhere", "extensions": ["os"], "hydra": {"callbacks": {"x": {"_target_": "os.abort"}}}}
    (plan.run.folder / "config.yaml").write_text(yaml.safe_dump(config | hostile))
    (plan.run.folder / "checksums.json").unlink()
    again: list[Composed] = []
    monkeypatch.setattr("bench.crossval.stages.train", lambda recipe, names, *_: again.append((recipe, names)))
    folder = ["--config-path", str(plan.run.folder), "--config-name", "config"]
    own = [f"outputs={tmp_path / 'outputs'}", f"store={tmp_path / 'store'}", "tracking.enabled=false", "device=cpu"]
    own.append(f"dataset.root={plan.recipe.dataset['root']}")
    assert run(train.COMMAND, [*folder, *own]) == 0, capsys.readouterr().err
    assert make_plan(*again[0]).run.folder == plan.run.folder
    assert again[0][0].extensions is None
    assert run(train.COMMAND, [*own, *folder, "seed=3", "model.hidden=[4]"]) == 0
    assert (again[1][0].seed, again[1][0].model["hidden"]) == (3, [4])
    assert run(train.COMMAND, [*folder, "model=wavenet"]) == 2
    assert "a run that is repeated keeps its options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("help", 0, "//127.0.0.1:5000"),
        ("train args=x", 2, "write ARGS="),
        ("-n train ARGS=model=mlp", 0, "model=mlp"),
    ],
)
def test_make_says_what_is_wrong(word: str, code: int, said: str) -> None:
    done = subprocess.run(["make", *word.split()], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "$(" not in done.stdout


def test_make_names_a_python_that_is_not_there(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(["make", "setup", "PYTHON=nosuch"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "PYTHON=nosuch is not a program here" in done.stdout + done.stderr


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
        ("+loss.gamma=2", r"loss.gamma is not an option of l1; it takes label_smoothing, .*\(loss=focal has gamma\)"),
        ("train.epochs=0", "train.epochs=0 must be 1 or more"),
        ("train.keep=best", "train.keep=best is not one of last, loss, metric"),
        ("train.precision=fp8", "train.precision=fp8 is not one of float32, bf16"),
        ("device=tpu", "device=tpu is not one of auto, cpu, cuda"),
        ("folds.only=[0,9]", r"folds.only=\[0, 9\] must name folds from 0 to 1"),
        ("folds.parallel=0", "folds.parallel=0 must be 1 or more"),
        ("seed=-1", "seed=-1 must be 0 or more"),
        ("split=group", "split=group needs a .group. column"),
        ("split=predefined", "needs a 'fold' column"),
        ("features=hms_waveform", "features=hms_waveform reads hms, not heartbeat"),
        ("model.dropout=2", "the model can't be built of .*dropout=2.*: dropout probability .*; change its options"),
        ("optimizer.lr=-1", "optimizer can't be used with .*lr=-1.*: Invalid learning rate"),
        ("loss.label_smoothing=7", "loss.label_smoothing=7 must be 0 or more and below 1; choose"),
        ("split.n_splits=1", "split.n_splits=1 must be 2 or more"),
        ("+scheduler.warmup=9", "scheduler.warmup would do nothing: name the option it belongs to"),
        ("+augment.noise=5", "augment.noise would do nothing"),
        ("optimizer._target_=torch.optim.SGD", "betas is not an option of SGD; .*; optimizer=sgd has keys that fit"),
        (
            "optimizer._target_=torch.optim.Adagrad",
            "betas is not an option of Adagrad; .*; ~optimizer.betas leaves",
        ),
        ("scheduler._target_=torch.optim.lr_scheduler.StepLR", "scheduler takes functions .* choose scheduler= one of"),
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


def test_the_last_line_names_the_run(beats: Path, tmp_path: Path) -> None:
    done = bench(*small_overrides(beats, tmp_path), "train.epochs=1")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1].removeprefix("run "))
    assert read_json(folder / "scores.json")["identity"] == folder.name
