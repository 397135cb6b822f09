"""python -m bench.ensemble: which runs it takes, what it refuses, that its score is honest, that a run comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra.errors import HydraException

from bench import build
from bench.atomic import read_json
from bench.cli import door
from bench.crossval import collect
from bench.datasets.heartbeat import Heartbeat
from bench.ensembling import blend, fitting, members
from bench.ensembling.hardening import Threshold
from bench.ensembling.trained import with_members
from bench.metrics import KL, L1_20K
from bench.paths import conf
from bench.report import plots
from bench.report.draw import draw
from bench.report.judged import judge
from bench.runs import frames
from bench.runs.recipe import Tracking
from bench.runs.run import Run
from bench.runs.selection import select
from bench.spec import Metric, UserError
from commands import blended, composed
from conftest import Composed, compose, train_here
from fake_run import hold, rewrite, write_member, write_run
from tiny import load, options


@pytest.mark.usefixtures("one_process")
@pytest.mark.slow
def test_members_are_trained_first_and_only_once(
    small: Callable[..., Composed], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    asked, names = composed(
        f"outputs={outputs}",
        "tracking.enabled=false",
        "blend=geometric",
        "folds=geometric",
        "members=[['seed=1'],['seed=2','train.epochs=1']]",
    )
    recipe, failed = with_members(asked, lambda words: small(*words))
    assert failed is None
    runs = [Run.open(folder) for folder in recipe.runs]
    assert [run.recipe.seed for run in runs] == [1, 2]
    assert [run.folder.parents[2] for run in runs] == [outputs.resolve()] * 2
    blend_run = blend.ensemble(recipe, names).run
    p = np.concatenate([[np.log(frames.predictions(pd.read_parquet(f.test))) for f in run.folds] for run in runs])
    expected = np.exp(p.mean(0)) / np.exp(p.mean(0)).sum(1, keepdims=True)  # of all folds of all members
    theirs = pd.read_parquet(blend_run.folder / "test.parquet")
    np.testing.assert_allclose(frames.predictions(theirs), expected, atol=1e-6)
    capsys.readouterr()
    with_members(asked, lambda words: small(*words))
    assert "0 of 2 folds to train" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["members=['seed=1']"], "members must be lists of overrides"),
        (["members=[]"], "members must be lists of overrides"),
        (["members=[['seed=1']]", "runs=latest"], "runs and members both say"),
    ],
)
def test_members_that_are_no_commands_are_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        with_members(composed(*words)[0], compose)  # type: ignore[arg-type]


FITTED = ("weights", "logits", "hill_climbing", "stack_network", "stack_ridge", "stack_logistic")


def soft(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Three:
    """Three members that know something of 90 rows in three folds, and 12 test rows."""

    def __init__(self, outputs: Path, strengths: tuple[float, ...] = (1, 2, 3)) -> None:
        rng = np.random.default_rng(0)
        self.target = np.eye(3)[rng.integers(0, 3, 90)]
        self.fold = np.arange(90) % 3
        self.p = [soft(strength * self.target + rng.normal(size=(90, 3))) for strength in strengths]
        self.test = [soft(2 * rng.normal(size=(12, 3))) for _ in range(3)]
        names = (("mlp", "aa" * 6), ("mlp", "ab" * 6), ("wavenet", "ba" * 6))
        self.runs = [
            write_member(outputs, p, self.target, self.fold, test_lk=test, model=model, identity=identity)
            for p, test, (model, identity) in zip(self.p, self.test, names, strict=True)
        ]
        self.outputs, self.all = outputs, "runs=" + ",".join(str(run.folder) for run in self.runs)


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Three:
    def draw(run: Run, metric: Metric) -> None:  # the real one takes a second each
        (run.folder / "plots").mkdir(exist_ok=True)
        (run.folder / "report.html").touch()

    monkeypatch.setattr(blend, "draw", draw)
    return Three(tmp_path / "outputs")


# which runs are meant


def test_runs_are_found_by_folder_identity_latest_and_query(three: Three) -> None:
    a, b, c = (run.folder for run in three.runs)
    os.utime(b / "state.json", (4e9, 4e9))

    def found(wanted: Any) -> list[Path]:
        return [run.folder for run in select(wanted, three.outputs).runs]

    assert found([str(c), str(a)]) == [c, a]
    assert found("abab") == [b]
    assert found("latest") == [b]
    assert found("model=mlp") == found("dataset=hms,model=MLP,seed=0") == [a, b]
    assert found("group=wavenet group") == [c]
    assert found(f"[{c},model=mlp]") == [c, a, b]


def test_a_query_passes_over_ensembles_and_unfinished_runs_and_says_so(three: Three) -> None:
    whole = blended(three.outputs, three.all)
    young = write_run(three.outputs, identity="cc" * 6, finished=1)
    young.write_state(status="killed")
    chosen = select("dataset=hms", three.outputs)
    assert [run.folder for run in chosen.runs] == [run.folder for run in three.runs]
    assert len(chosen.left_out) == 1
    assert chosen.left_out[0].startswith(f"{young.folder} is not finished: folds/")
    assert [run.folder for run in select("model=ensemble", three.outputs).runs] == [whole.folder]


def _lose_a_fold(run: Run) -> None:
    run.fold(1).oof.unlink()


def _lose_the_mark(run: Run) -> None:
    run.fold(2).done.unlink()


def _never_collect(run: Run) -> None:
    run.scores_path.unlink()


def _work(run: Run) -> None:
    hold(run)


def _begin(run: Run) -> None:
    (run.folder / "inputs.json").unlink()


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (_lose_a_fold, "no longer has .*folds/1/oof.parquet; the command that trained it makes it whole"),
        (_lose_the_mark, "no longer has .*folds/2/done.json"),
        (_never_collect, "has trained folds that were never collected"),
        (_work, "is being worked on by another command"),
        (_begin, "has not begun to train"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(three: Three, harm: Callable[[Run], None], sentence: str) -> None:
    harm(three.runs[1])
    with pytest.raises(UserError, match=f"{three.runs[1].folder} {sentence}"):
        select([str(run.folder) for run in three.runs], three.outputs)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("/nowhere", "runs: /nowhere is not a folder; give a run's folder or identity, latest, best"),
        ("0123", "runs: no run in .* has the identity 0123"),
        ("[]", "runs names no run"),
        ("model=resnet1d", "runs: none of the 3 runs in .* meets model=resnet1d"),
        ("modle=mlp", "runs: no run in .* has modle, which modle=mlp asks for"),
        ("aaaa,aaaaaa", "more than once; name each run once"),
    ],
)
def test_a_selection_that_finds_nothing_is_a_sentence(three: Three, wanted: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        select(wanted, three.outputs)


def test_without_any_run_latest_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="runs=latest: there is no run in"):
        select("latest", tmp_path)


# what must match


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"simulated": True}, "its mark of simulated data is True, not False"),
        ({"metric": "map3"}, "its metric is map3, not kl"),
        ({"n_splits": 4}, "it has 4 folds, not 3"),
        ({"dataset": "seti"}, "its data set is seti, not hms"),
        ({"spec": {"channels": 1, "size": [9], "classes": ["class 0", "x", "y"], "sample_rate": None}}, "a class is x"),
    ],
)
def test_runs_of_another_kind_are_refused(three: Three, change: dict[str, Any], sentence: str) -> None:
    run = three.runs[2]
    rewrite(run, "inputs.json", **change)
    with pytest.raises(UserError, match=f"{run.folder} can't be blended with {three.runs[0].folder}: {sentence}"):
        members.read(three.runs, "arithmetic")


@pytest.mark.parametrize(
    ("column", "row", "value", "sentence"),
    [
        ("id", 4, "z9", "oof.parquet lacks id a4 of the other's rows"),
        ("id", 4, "a5", "oof.parquet has id a5 more than once"),
        ("fold", 3, 2, "fold of id a3 is 2, not 0"),
        ("target_class 1", 7, 0.5, "target_class 1 of id a7 is 0.5, not"),
        ("pred_class 2", 5, np.nan, "oof.parquet: pred_class 2 is nan at id a5, which is no distribution"),
        ("pred_class 2", 6, -0.1, "oof.parquet: pred_class 2 is -0.1 at id a6"),
        ("pred_class 2", 6, 3.0, "oof.parquet: the predictions sum to 3.* at id a6"),
    ],
)
def test_rows_that_do_not_match_are_named(three: Three, column: str, row: int, value: Any, sentence: str) -> None:
    path = three.runs[1].folder / "oof.parquet"
    frame = pd.read_parquet(path)
    assert value != frame.loc[row, column]
    frame.loc[row, column] = value
    frame.to_parquet(path)
    with pytest.raises(UserError, match=sentence):
        members.read(three.runs, "arithmetic")


def test_a_column_or_a_fold_that_is_gone_is_named(three: Three) -> None:
    path = three.runs[1].folder / "oof.parquet"
    frame = pd.read_parquet(path)
    frame.drop(columns="pred_class 1").to_parquet(path)
    with pytest.raises(UserError, match="has no column pred_class 1"):
        members.read(three.runs, "arithmetic")
    frame[frame["fold"] != 1].to_parquet(path)
    with pytest.raises(UserError, match="has no row of fold 1"):
        members.read(three.runs, "arithmetic")
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError, match="can't be read"):
        members.read(three.runs, "arithmetic")


def test_other_test_rows_are_refused(three: Three) -> None:
    path = three.runs[2].folder / "test.parquet"
    frame = pd.read_parquet(path)
    frame.assign(id=[*frame["id"][:-1], "t99"]).to_parquet(path)
    with pytest.raises(UserError, match=r"test\.parquet lacks id t11"):
        members.read(three.runs, "arithmetic")
    path.unlink()
    with pytest.raises(
        UserError, match=f"{three.runs[2].folder} has no test.parquet and {three.runs[0].folder} has one"
    ):
        members.read(three.runs, "arithmetic")


def test_neither_the_order_of_runs_nor_of_their_rows_changes_anything(three: Three) -> None:
    first = members.read(three.runs, "arithmetic")
    for name in ("oof.parquet", "test.parquet"):
        path = three.runs[0].folder / name
        pd.read_parquet(path).sample(frac=1, random_state=0).to_parquet(path)
    second = members.read(three.runs[::-1], "arithmetic")
    assert first.digests == second.digests
    ours, theirs = (m.rows.assign(p=m.p_mnk[2, :, 0]).sort_values("id") for m in (first, second))
    pd.testing.assert_frame_equal(ours.reset_index(drop=True), theirs.reset_index(drop=True))


# honesty


@pytest.mark.parametrize("name", FITTED)
def test_what_predicts_a_fold_has_not_seen_its_targets(three: Three, name: str) -> None:
    given = members.read(three.runs, "arithmetic")
    way = build.build(load(conf() / "ensemble" / "blend" / f"{name}.yaml"), "blend")
    rows = given.rows.copy()
    columns = [c for c in rows.columns if c.startswith("target_")]
    here = (rows["fold"] == 1).to_numpy()
    rows.loc[here, columns] = np.roll(rows.loc[here, columns].to_numpy(), 1, 1)
    other = members.Members(**{**vars(given), "rows": rows})
    harden = Threshold(above=None)
    honest, inside, _, _ = fitting.nested(way, harden, given)
    again, inside_again, _, _ = fitting.nested(way, harden, other)
    np.testing.assert_array_equal(honest[here], again[here])
    assert not np.array_equal(honest[~here], again[~here]) or name == "hill_climbing"
    assert not np.array_equal(inside, inside_again)


def test_the_run_scores_what_is_honest_and_names_the_other_optimistic(
    three: Three, capsys: pytest.CaptureFixture[str]
) -> None:
    run = blended(three.outputs, three.all, "blend=stack_network", "blend.epochs=60")
    said, scores = read_json(run.folder / "blend.json"), run.scores()
    assert scores is not None
    assert said["honest"] == pytest.approx(scores.oof)
    assert said["in_sample"] < said["honest"]
    assert said["best_single"] == pytest.approx(min(KL.score(three.target, p) for p in three.p))
    out = capsys.readouterr().out
    assert re.search(r"in sample \(optimistic\) +" + f"{said['in_sample']:.4f}", out)
    assert re.search(r"each fold by the others' +" + f"{scores.oof:.4f}", out)
    assert out.splitlines()[-1] == f"run {run.folder}"
    assert "SIMULATED" not in out


def test_test_rows_get_the_blend_of_all_out_of_fold_rows(three: Three, tmp_path: Path) -> None:
    three = Three(tmp_path / "alike", strengths=(1.5, 1.5, 1.5))  # so every fold has weights of its own
    run = blended(three.outputs, three.all, "blend=weights")
    said = read_json(run.folder / "blend.json")
    weights = {Path(m["run"]): m["weight"] for m in said["members"]}
    expected = sum(weights[r.folder] * test for r, test in zip(three.runs, three.test, strict=True))
    test = pd.read_parquet(run.folder / "test.parquet")
    np.testing.assert_allclose(frames.predictions(test), expected, atol=1e-9)
    each = {tuple(np.round(read_json(f.done)["weights"], 6)) for f in run.folds}
    assert len(each) == 3, "each fold has its own"


def test_one_command_is_the_geometric_mean_over_folds_and_models(three: Three) -> None:
    rng = np.random.default_rng(7)
    tests = soft(3 * rng.normal(size=(2, 3, 12, 3)))  # (models, folds, rows, classes)
    for run, folds in zip(three.runs[:2], tests, strict=True):
        for fold, p in zip(run.folds, folds, strict=True):
            ids = pd.read_parquet(fold.test)["id"]
            frames.write_frame(frames.prediction_frame(ids, p, run.spec.classes), fold.test)
        collect.collect(run, KL)
    both = "runs=" + ",".join(str(run.folder) for run in three.runs[:2])
    run = blended(three.outputs, both, "blend=geometric", "folds=geometric")
    expected = np.exp(np.log(tests).mean((0, 1)))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(frames.predictions(pd.read_parquet(run.folder / "test.parquet")), expected, atol=1e-12)
    arithmetic = blended(three.outputs, both, "blend=geometric")
    assert arithmetic.folder != run.folder


# a run like any other


def test_the_same_command_finds_it_done_in_any_order_of_the_runs(
    three: Three, capsys: pytest.CaptureFixture[str]
) -> None:
    run = blended(three.outputs, three.all, "blend=hill_climbing")
    stamp = (run.folder / "folds/0/oof.parquet").stat().st_mtime_ns
    backwards = "runs=" + ",".join(str(r.folder) for r in three.runs[::-1])
    capsys.readouterr()
    assert blended(three.outputs, backwards, "blend=hill_climbing").folder == run.folder
    assert (run.folder / "folds/0/oof.parquet").stat().st_mtime_ns == stamp
    said = capsys.readouterr()
    assert "(blended before)" in said.err
    assert said.out.splitlines()[-1] == f"run {run.folder}"
    before = (run.folder / "oof.parquet").read_bytes()
    run.fold(2).done.unlink()
    run.write_state(status="killed")
    blended(three.outputs, three.all, "blend=hill_climbing")
    assert run.fold(2).done.exists()
    assert (run.folder / "oof.parquet").read_bytes() == before
    assert run.state()["status"] == "finished"


@pytest.mark.slow
def test_what_decides_the_result_decides_the_folder(three: Three) -> None:
    network = ("blend=stack_network", "blend.epochs=1")
    commands: list[tuple[str, ...]] = [
        (three.all,),
        (three.all, "blend=geometric"),
        (three.all, "harden=threshold"),
        (three.all, "harden=threshold", "harden.above=null"),
        ("runs=model=mlp",),
        (three.all, *network),
        (three.all, *network, "blend.seed=1"),
    ]
    runs = [blended(three.outputs, *command) for command in commands]
    assert len({run.folder for run in runs}) == len(commands)
    assert runs[-1].inputs.group == runs[-2].inputs.group != runs[0].inputs.group


def test_what_reads_runs_reads_an_ensemble(three: Three) -> None:
    run = Run.open(blended(three.outputs, three.all, "blend=logits", "harden=margin").folder)
    before = run.scores()
    collect.collect(run, KL)
    assert run.scores() == before
    assert before is not None
    assert before.complete
    assert set(plots.drawings(run, KL, judge(run))) == {"folds", "confusion", "reliability"}
    assert (run.folder / "environment.json").exists()
    assert run.inputs.model == "ensemble"
    further = blended(three.outputs, f"runs={run.folder},{three.runs[0].folder}")
    assert [r["name"].split()[0] for r in read_json(further.folder / "blend.json")["members"]].count("ensemble") == 1


@pytest.mark.slow
def test_mlflow_shows_an_ensemble_beside_the_models(three: Three) -> None:
    from bench import track

    run = blended(three.outputs, "runs=model=mlp", "blend=weights")
    uri = f"sqlite:///{three.outputs / 'mlflow.db'}"
    assert door.run(track.COMMAND, [str(run.folder), "--uri", uri]) == 0
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("hms")
    sent = {r.data.tags.get("fold", "parent"): r for r in client.search_runs([experiment.experiment_id])}
    assert set(sent) == {"parent", "0", "1", "2"}
    scores = run.scores()
    assert scores is not None
    assert sent["parent"].data.metrics["oof/kl"] == pytest.approx(scores.oof)
    assert sent["parent"].data.tags["model"] == "ensemble"
    assert {r.info.status for r in sent.values()} == {"FINISHED"}


def test_without_the_raw_files_a_sentence_says_why_there_is_no_submission(
    three: Three, capsys: pytest.CaptureFixture[str]
) -> None:
    run = blended(three.outputs, three.all)
    assert not (run.folder / "submission.csv").exists()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("test ")]
    assert len(said) == 1
    assert "submission.csv is not written" in said[0]
    assert "nowhere" in said[0]
    assert said[0].endswith("(root=<folder> says where the files are now)")
    assert (run.folder / "test.parquet").exists()


def test_one_run_can_be_hardened_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    target = np.eye(4)[rng.integers(0, 4, 60)]
    p = soft(3 * target + rng.normal(size=(60, 4)))
    run = write_member(tmp_path, p, target, np.arange(60) % 2, dataset="heartbeat", metric="l1_20k", simulated=True)
    hard = blended(tmp_path, f"runs={run.folder}", "harden=threshold")
    own, scores = run.scores(), hard.scores()
    assert own is not None
    assert scores is not None
    assert scores.oof < own.oof
    assert scores.simulated
    out = capsys.readouterr().out
    assert "SIMULATED" in out
    assert "nothing is fitted" in out


def test_two_runs_that_predict_the_same_are_named(three: Three, capsys: pytest.CaptureFixture[str]) -> None:
    twin = write_member(three.outputs, three.p[0], three.target, three.fold, test_lk=three.test[0], identity="dd" * 6)
    blended(three.outputs, f"runs={twin.folder},{three.runs[0].folder}")
    assert "predict the same to the last bit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("folds=harmonic", "folds=harmonic is not one of arithmetic, geometric"),
        ("blend=[mean,rank]", r"blend names several; -m makes each in turn"),
        ("+harden.above=0.5", "harden's keys would do nothing"),
        ("blend._target_=os.system", "blend._target_=os.system is refused"),
        ("runs=[]", "runs names no run"),
    ],
)
def test_a_mistake_in_the_command_is_a_sentence(three: Three, override: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        blended(three.outputs, *([three.all] if not override.startswith("runs") else []), override)
    assert not (three.outputs / "hms" / "ensemble").exists(), "nothing is written before"


def test_keys_have_types() -> None:
    from omegaconf.errors import OmegaConfBaseException

    for override in ("tracking.wait=abc", "tracking.enabled=maybe", "root=[a]"):
        with pytest.raises((OmegaConfBaseException, HydraException), match=r"^Error merging override " + override[:4]):
            composed(override)
    with pytest.raises(HydraException, match=r"Could not override 'trackin\.enabled'"):
        composed("trackin.enabled=false")
    assert composed("tracking.wait=5")[0].tracking == Tracking(wait=5.0)


def test_the_trainings_groups_do_not_list_the_ensembles() -> None:
    from bench.cli.options import groups

    assert not {"ensemble", "blend", "harden"} & set(groups())
    assert len(options("ensemble/blend")) == 9


def test_help_needs_no_heavy_import() -> None:
    code = "import sys; sys.argv = ['x', '-h']; import runpy; runpy.run_module('bench.ensemble', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "runs=null" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not loaded & {"torch", "numpy", "pandas", "hydra", "omegaconf", "mlflow"}


@pytest.mark.slow
def test_two_seeds_are_averaged_by_one_command(small: Callable[..., Composed], tmp_path: Path) -> None:
    seeds = []
    for seed in (1, 2):
        run = train_here(*small(f"seed={seed}", "train.epochs=1"))
        collect.collect(run, L1_20K)
        draw(run, L1_20K)
        run.write_state(status="finished")
        seeds.append(run)
    group = seeds[0].inputs.group
    command = [sys.executable, "-m", "bench.ensemble", f"runs=group={group}", f"outputs={tmp_path / 'outputs'}"]
    done = subprocess.run(
        [*command, "tracking.enabled=false", "harden=threshold"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    run = Run.open(done.stdout.splitlines()[-1].removeprefix("run "))
    mean = np.mean([frames.predictions(pd.read_parquet(r.folder / "test.parquet")) for r in seeds], axis=0)
    expected = np.where(mean.max(1, keepdims=True) > 0.49, np.eye(4)[mean.argmax(1)], mean)
    submission = pd.read_csv(run.folder / "submission.csv")
    np.testing.assert_allclose(submission.filter(like="label_").to_numpy(), expected, atol=1e-9)
    test = Heartbeat(seeds[0].recipe.dataset["root"]).table("test")
    assert submission["id"].tolist() == test["id"].tolist()
    wrong = subprocess.run([*command, "runs=group=no"], capture_output=True, text=True, timeout=120)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert re.match(r"bench: runs: none of the \d runs in .* meets group=no", wrong.stderr)
