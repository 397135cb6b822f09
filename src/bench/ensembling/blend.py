"""A blend of finished runs, from a composed config to a finished folder that is a run like any other.

What is fitted (weights, a stacked model, a threshold) is judged by the folds that the runs share: what predicts fold
k's rows is fitted on the other folds' rows alone. One optimism is left, and it is that of all stacking on shared folds:
the members that predicted those other rows had fold k's targets among their training rows.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import build
from bench.atomic import read_json, write_json, write_text
from bench.crossval import collect
from bench.datasets import root
from bench.datasets.base import Dataset
from bench.ensembling import members
from bench.ensembling.hardening import Hardening
from bench.ensembling.members import Members
from bench.ensembling.ways import Blend, Way
from bench.report.draw import draw
from bench.runs import frames, selection, submission
from bench.runs.environment import write_environment
from bench.runs.outcome import Outcome
from bench.runs.run import Run, identity
from bench.spec import UserError
from bench.tell import figure, say
from bench.tracking.where import tell_where

FORMAT = 1  # raise it when the same blend of the same runs would predict something else
FOLDS = ("arithmetic", "geometric")


def ensemble(config: dict[str, Any], names: dict[str, str]) -> Outcome:
    """Blends the runs that ``config`` names; where that was done before, tells of it again.

    config is the resolved config as plain containers; names are the groups' chosen options. A person's mistake is a
    UserError before anything is written.
    """
    from filelock import FileLock, Timeout

    way, harden = parts(config, names)
    chosen = selection.select(config["runs"], Path(config["outputs"]))
    for left_out in chosen.left_out:
        say(f"runs      left out: {left_out}")
    given = members.read(chosen.runs, config["folds"])
    for m in range(1, len(given.runs)):
        if given.digests[m] == given.digests[m - 1]:
            say(f"runs      {given.runs[m - 1].folder} and {given.runs[m].folder} predict the same to the last bit")
    dataset = given.runs[0].inputs["dataset"]
    folder = Path(config["outputs"]) / dataset / selection.ENSEMBLE / identity(_deciding(config, given))
    run = Run(folder.resolve())
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run.folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{run.folder} is being written by another command; wait for it") from None
    try:
        return _blend(run, given, way, harden, config, names)
    finally:
        lock.release()


def fit(way: Way, harden: Hardening | None, p_mnk: np.ndarray, target_nk: np.ndarray, metric: Any) -> Blend:
    """The way fitted on (M, N, K) and (N, K), then the hardening on what it makes of those rows."""
    blend = way.fit(p_mnk, target_nk, metric)
    if harden is None:
        return blend
    hard, found = harden.fit(blend.apply(p_mnk), target_nk, metric)
    return Blend(lambda p_mnk: hard(blend.apply(p_mnk)), blend.weights, {**blend.found, **found})


def nested(way: Way, harden: Hardening | None, given: Members) -> tuple[np.ndarray, np.ndarray, list[Blend], Blend]:
    """Honest (N, K) and in-sample (N, K) predictions, each fold's blend, and the one fitted on all rows.

    Rows are predicted a fold at a time, as the members were. Where nothing is fitted the two are the same.
    """
    from threadpoolctl import threadpool_limits

    p_mnk, target, fold = given.p_mnk, given.target, given.fold
    numbers = range(given.runs[0].inputs["n_splits"])
    if not way.fitted and (harden is None or not harden.fitted):
        final = fit(way, harden, p_mnk, target, given.metric)
        same = np.empty_like(target)
        for k in numbers:
            same[fold == k] = final.apply(p_mnk[:, fold == k])
        return same, same, [final for _ in numbers], final

    if "trained_from" in pd.read_parquet(given.runs[0].folder / "splits.parquet"):
        raise UserError(
            "a blend that is fitted learns from the rows of other folds, and with split=time some of them lie in the "
            "future; choose blend=mean, blend=geometric or blend=rank, and no harden that looks for its threshold"
        )

    def without(k: int | None) -> Blend:
        if k is None:
            return fit(way, harden, p_mnk, target, given.metric)
        return fit(way, harden, p_mnk[:, fold != k], target[fold != k], given.metric)

    side_by_side = min(4, os.cpu_count() or 1) if way.threads else 1  # each copies its rows
    # A library's threads below ours would wait for each other: twice the processor time, and no sooner done.
    with threadpool_limits(1 if way.threads else None), ThreadPoolExecutor(side_by_side) as pool:
        final, *blends = pool.map(without, [None, *numbers])
    honest, in_sample = np.empty_like(target), np.empty_like(target)
    for k in numbers:
        honest[fold == k] = blends[k].apply(p_mnk[:, fold == k])
        in_sample[fold == k] = final.apply(p_mnk[:, fold == k])
    return honest, in_sample, blends, final


def parts(config: dict[str, Any], names: dict[str, str]) -> tuple[Way, Hardening | None]:
    """The way and the hardening that the config names."""
    if config["folds"] not in FOLDS:
        raise UserError(f"folds={config['folds']} is not one of {', '.join(FOLDS)}")
    if not config["runs"]:
        raise UserError(f"runs is empty; {selection.HOW}")
    for key in ("blend", "harden"):
        if key not in names:  # Hydra names no choice where there are several
            raise UserError(f"{key} names several; -m makes each in turn, as in -m {key}=a,b")
        if not isinstance(config[key], dict):
            raise UserError(f"{key}={config[key]} names nothing; python -m bench.ensemble --help lists the options")
    none = config["harden"].get("_target_") == "none"
    if none and len(config["harden"]) > 1:
        raise UserError("harden's keys would do nothing: name the option that they belong to, harden=<name>, as well")
    return build.build(config["blend"], "blend"), None if none else build.build(config["harden"], "harden")


def _deciding(config: dict[str, Any], given: Members) -> dict[str, Any]:
    parts = {key: config[key] for key in ("blend", "harden", "folds")}
    return {"format": FORMAT, **parts, "members": given.digests}


def _blend(
    run: Run, given: Members, way: Way, harden: Hardening | None, config: dict[str, Any], names: dict[str, str]
) -> Outcome:
    from bench.runs.facts import content, public
    from bench.tracking.follower import start_mirror
    from bench.tracking.mirror import default_uri

    tracking = config["tracking"]
    uri = (tracking["uri"] or default_uri(Path(config["outputs"]).resolve())) if tracking["enabled"] else None
    before = run.state()
    done = before.get("status") == "finished" and _whole(run, given)
    say(f"run       {run.folder}" + (" (blended before)" if done else ""))
    drawn = all((run.folder / name).exists() for name in ("plots", "report.html"))
    submitted = (run.folder / "submission.csv").exists() or given.test_ids is None
    if not (done and drawn and submitted and (uri is None or before.get("tracked") == content(uri.encode()))):
        command = public(shlex.join(sys.orig_argv))
        if not done:
            _write(run, given, config, names)
        run.write_state(status="running", pid=os.getpid(), host=os.uname().nodename, command=command, failed=[])
        mirror = start_mirror(run, uri, tracking["wait"]) if uri is not None else None
        try:
            if not done:
                _predict(run, given, way, harden)
            if not (done and drawn):
                draw(run)
            _submit(run, given, config)
            run.write_state(status="finished")
        except BaseException as error:
            run.write_state(status="killed" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        finally:
            sent = mirror is not None and mirror.finish(tracking["wait"])
            run.write_state(tracked=content(uri.encode()) if sent and uri else None)
            if mirror is not None and not sent:
                say(f"tracking  MLflow has not taken everything; later: python -m bench.track {run.folder}")
    _conclude(run, uri)
    return Outcome(run, run.scores(), [], None)


def _whole(run: Run, given: Members) -> bool:
    names = ("oof.parquet", "scores.json", "blend.json", "test.parquet")
    wanted = names if given.test_ids is not None else names[:-1]
    return selection.problem(run) is None and all((run.folder / name).exists() for name in wanted)


def _write(run: Run, given: Members, config: dict[str, Any], names: dict[str, str]) -> None:
    """What the folder says before there are predictions: recipe, rows, what the members were."""
    import yaml

    from bench.runs.facts import public

    first = given.runs[0]
    inputs, deciding = first.inputs, _deciding(config, given)
    deciding["blend"] = {key: value for key, value in deciding["blend"].items() if key != "seed"}
    kept = {key: inputs[key] for key in ("dataset", "metric", "direction", "simulated", "n_splits", "spec")}
    kept["notes"] = inputs.get("notes", [])
    own = {"dataset": inputs["dataset"], "model": selection.ENSEMBLE}
    more = {
        "names": {**own, "blend": names["blend"], "harden": names["harden"]},
        "model": selection.ENSEMBLE,
        "window": None,
        "stores": {},
        "teachers": [],
        "test": _test_digest(given),
        "group": identity(deciding),
        "members": [{"run": str(r.folder), "predictions": d} for r, d in zip(given.runs, given.digests, strict=True)],
    }
    write_json(run.folder / "inputs.json", {**kept, **more})
    frames.write_frame(pd.read_parquet(first.folder / "splits.parquet"), run.folder / "splits.parquet")
    ids = given.test_ids if given.test_ids is not None else given.rows["id"][:0]
    frames.write_frame(pd.DataFrame({"id": ids.to_numpy()}), run.folder / "test_ids.parquet")
    write_environment(run)
    uri = config["tracking"]["uri"]
    shown = {
        "dataset": first.config["dataset"],
        **{key: config[key] for key in ("blend", "harden", "folds")},
        "runs": [str(r.folder) for r in given.runs],
        "outputs": config["outputs"],
        "data": first.config.get("data", "data"),
        "tracking": {**config["tracking"], "uri": uri and public(uri)},
    }
    write_text(run.folder / "config.yaml", yaml.safe_dump(shown, sort_keys=False, allow_unicode=True))


def _test_digest(given: Members) -> str:
    """What the test predictions are of: their ids, and the members', in whose digests the contents are."""
    ids = [] if given.test_ids is None else given.test_ids.astype(str).tolist()
    return hashlib.sha256(f"{given.digests} {ids}".encode()).hexdigest()[:32]


def _predict(run: Run, given: Members, way: Way, harden: Hardening | None) -> None:
    """Folds, out-of-fold and test predictions, scores, and blend.json beside them.

    The test predictions are of the blend fitted on all rows; every fold holds them, so that their mean is the same.
    """
    honest, in_sample, blends, final = nested(way, harden, given)
    classes, digest = run.spec.classes, _test_digest(given)
    test = None
    if given.test_ids is not None and given.test_mlk is not None:
        test = frames.prediction_frame(given.test_ids, final.apply(given.test_mlk), classes)
    for fold, blend in zip(run.folds, blends, strict=True):
        here = given.fold == fold.number
        frames.write_frame(frames.oof_frame(given.rows[here], honest[here], None, classes), fold.oof)
        if test is not None:
            frames.write_frame(test, fold.test)
        rows = 0 if test is None else len(test)
        write_json(fold.done, {"test": digest, "test_rows": rows, "weights": blend.weights, "found": blend.found})
    collect.collect(run, given.metric)
    score, target = given.metric.score, given.target
    own = [score(target, p_nk) for p_nk in given.p_mnk]
    best = own[0]
    for other in own[1:]:
        best = other if given.metric.better(other, best) else best
    weights = final.weights or (None,) * len(own)
    said = {
        "metric": given.metric.name,
        "simulated": run.inputs["simulated"],
        "fitted": way.fitted or (harden is not None and harden.fitted),
        "honest": score(target, honest),
        "in_sample": score(target, in_sample),
        "best_single": best,
        "found": final.found,
        "members": [
            {"run": str(r.folder), "name": _name(r), "oof": o, "weight": w}
            for r, o, w in zip(given.runs, own, weights, strict=True)
        ],
    }
    write_json(run.folder / "blend.json", said)


def _name(run: Run) -> str:
    """A member in a table: model, identity, and the seed where it has one."""
    seed = run.config.get("seed")
    return f"{run.inputs['model']} {run.identity}" + (f" seed {seed}" if seed is not None else "")


def _submit(run: Run, given: Members, config: dict[str, Any]) -> None:
    """submission.csv by the data set itself; a sentence where its files are gone, or are others."""
    path = run.folder / "submission.csv"
    if given.test_ids is None:
        path.unlink(missing_ok=True)
        return
    try:
        dataset = _dataset(given, config)
        there = set(dataset.table("test")["id"].astype(str))
        odd = given.test_ids[~given.test_ids.astype(str).isin(there)]
        if len(odd):
            raise UserError(f"{dataset.root} has no test id {odd.iloc[0]}, which the runs predicted")
        frame = pd.read_parquet(run.folder / "test.parquet")
        submission.write(dataset, path, frame["id"].tolist(), frames.predictions(frame))
    except (ValueError, OSError) as error:
        path.unlink(missing_ok=True)
        say(f"test      submission.csv is not written: {error} (root=<folder> says where the files are now)")


def _dataset(given: Members, config: dict[str, Any]) -> Dataset:
    """The first member's data set on its own files, or on ``root``; none are simulated for it."""
    first = given.runs[0]
    node = dict(first.config["dataset"])
    settings = {key: value for key, value in (node.pop("simulator", None) or {}).items() if key != "_target_"}
    folder = config["root"] or node.get("root")
    if folder is None:
        name, data = build.locate(node, "dataset").name, Path(first.config.get("data", "data"))  # type: ignore[attr-defined]
        simulated = [p for p in (data / "simulated").glob(f"{name}*") if root.is_simulated(p)]
        made = [p for p in simulated if read_json(p / root.MARK) == settings]
        folder = next(iter([*([data / name] if (data / name).is_dir() else []), *made]), data / name)
    if root.is_simulated(Path(folder)) != first.inputs["simulated"] and Path(folder).is_dir():
        raise UserError(f"{folder} and the runs are not both simulated, or both real")
    dataset: Dataset = build.build({**node, "root": str(folder)}, "dataset")
    if dataset.classes != first.spec.classes:
        raise UserError(f"{folder} has other classes than the runs")
    return dataset


def _conclude(run: Run, uri: str | None) -> None:
    """Members, the blend's scores and where everything is; the last line is the contract's."""
    from rich.console import Console
    from rich.table import Table

    said, scores = read_json(run.folder / "blend.json"), run.scores() or {}
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    better = "lower" if scores["direction"] == "min" else "higher"
    mark = "  SIMULATED data" if said["simulated"] else ""
    table = Table(title=f"{said['metric']} ({better} is better){mark}", box=None, title_justify="left")
    for column in ("", said["metric"], "weight"):
        table.add_column(column, justify="left" if not column else "right")
    for member in sorted(said["members"], key=lambda m: m["oof"], reverse=better == "higher"):
        weight = "" if member["weight"] is None else f"{member['weight']:.3f}"
        table.add_row(member["name"], figure(member["oof"]), weight)
    table.add_row("best single", figure(said["best_single"]))
    if said["fitted"]:
        table.add_row("[bold]blend, each fold by the others'", f"[bold]{figure(said['honest'])}")
        table.add_row("blend, in sample (optimistic)", figure(said["in_sample"]))
    else:
        table.add_row("[bold]blend (nothing is fitted)", f"[bold]{figure(said['honest'])}")
    table.add_row("mean ± std over folds", f"{figure(scores['mean'])} ± {figure(scores['std'])}")
    table.add_row("baseline (training means)", figure(scores["baseline"]))
    table.add_row("accuracy", f"{scores['accuracy']:.4f}")
    for name, score in scores.get("also", {}).items():
        table.add_row(name, figure(score))
    console.print(table)
    tell_where(run, uri, console)
