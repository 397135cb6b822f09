"""Kills, damaged files and strangers' folders, many times over: nothing lost, nothing silent, nothing run.

    python benchmarks/soak.py --kills 200 --damage 2000 --hostile 50

Small runs in this process's forks, so that a kill costs about a second. Prints a table, and ends with 1 where a kill
changed bits, where a damaged file was believed, or where a stranger's folder ran something.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.cli.compose import compose
from bench.crossval import collect, processes
from bench.crossval.fold_training import Options, train_fold
from bench.crossval.plan import make_plan
from bench.ensembling import members
from bench.report.judged import judge
from bench.runs.recipe import Recipe, composed
from bench.runs.run import Run
from bench.spec import UserError
from bench.training import parts
from bench.training.loading import trained_fold

CPU = torch.device("cpu")
TARGETS = (
    "torch.utils.collect_env.run",
    "torch.hub.load",
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "torch.load",
)
SIGNING = ("done.json", "scores.json", "checksums.json")
GROUPS = ("dataset", "model", "features", "loss", "split", "augment", "tta", "optimizer", "scheduler", "synthetic")


def recipe_of(root: Path, folder: Path, seed: int) -> tuple[Recipe, dict[str, str]]:
    words = [
        "dataset=heartbeat", f"dataset.root={root}", "model=mlp", "model.hidden=[8]", "split.n_splits=2",
        "train.epochs=4", "train.batch_size=16", f"seed={seed}", f"outputs={folder / 'outputs'}", "device=cpu",
        f"store={folder / 'store'}", f"data={folder}", "tracking.enabled=false", "workers=1",
    ]  # fmt: skip
    config, names = compose("train", words)
    return composed(Recipe, config, "bench.train"), names


def train(root: Path, folder: Path, seeds: tuple[int, ...]) -> list[Run]:
    """What a command, or a sweep's jobs one after the other, do to their runs; whatever is done is left as it is."""
    torch.set_num_threads(1)
    runs = []
    for seed in seeds:
        plan = make_plan(*recipe_of(root, folder, seed))
        plan.run.folder.mkdir(parents=True, exist_ok=True)
        plan.write()
        for number in processes.missing(plan.run, plan.folds, plan.inputs.test):
            plan.run.fold(number).folder.mkdir(parents=True, exist_ok=True)
            train_fold(Options(plan.run.folder, number, device="cpu"), io.StringIO())
        collect.collect(plan.run, plan.dataset.metric)
        runs.append(plan.run)
    return runs


def bits(run: Run) -> str:
    """A hash of all that a run is for: weights, predictions, scores."""
    names = ["oof.parquet", "test.parquet", "scores.json", *(f"folds/{k}/weights.safetensors" for k in range(2))]
    return hashlib.sha256(b"".join((run.folder / name).read_bytes() for name in names)).hexdigest()


@contextlib.contextmanager
def silent() -> Iterator[io.StringIO]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        yield text


def forked(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            with silent():
                work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid


def kills(count: int, root: Path, folder: Path, chance: random.Random) -> Counter[str]:
    """Killed at a random moment, and killed again in half of the cases; then resumed."""
    told: Counter[str] = Counter()
    lasts, expected = {}, {}
    sweeps: list[tuple[int, ...]] = [(1,), (1, 2)]
    for seeds in sweeps:
        with silent():
            began = time.perf_counter()
            expected[seeds] = [bits(run) for run in train(root, folder / f"whole{len(seeds)}", seeds)]
            lasts[seeds] = time.perf_counter() - began
    for at in range(count):
        seeds = chance.choice(sweeps)
        place = folder / f"killed{at}"
        for _ in range(chance.choice([1, 2])):
            pid = forked(partial(train, root, place, seeds))
            time.sleep(chance.uniform(0, lasts[seeds]))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        pid = forked(partial(train, root, place, seeds))
        if os.waitpid(pid, 0)[1] != 0:
            told["FAILED to go on"] += 1
            continue
        with silent():
            runs = [make_plan(*recipe_of(root, place, seed)).run for seed in seeds]
        told["same bits" if [bits(run) for run in runs] == expected[seeds] else "OTHER BITS"] += 1
        shutil.rmtree(place)
    return told


def damaged(content: bytes, kind: str, chance: random.Random) -> bytes:
    if kind == "cut":
        return content[: chance.randrange(max(1, len(content)))]
    if kind == "garbage":
        return chance.randbytes(len(content))
    if kind == "flip" and content:
        at = chance.randrange(len(content))
        return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
    return b""


def read(run: Run) -> str:
    """A hash of all that other commands read of a run."""
    hasher = hashlib.sha256(repr((run.recipe, run.inputs, run.scores())).encode())
    judged, matched = judge(run), members.read([run], "arithmetic")
    hasher.update(judged.probability.tobytes() + matched.p_mnk.tobytes())
    if matched.test_mlk is not None:
        hasher.update(matched.test_mlk.tobytes())
    for fold in run.folds:
        model, _ = trained_fold(run, fold.number, CPU)
        for tensor in model.state_dict().values():
            hasher.update(tensor.numpy().tobytes())
        if trouble := fold.trouble():
            raise UserError(trouble)
        hasher.update(fold.outcome().test.encode())
    return hasher.hexdigest()


def damage(count: int, root: Path, folder: Path, chance: random.Random) -> Counter[str]:
    """A file of a finished run damaged: its readers name it or read what was there; every 20th run is made whole."""
    told: Counter[str] = Counter()
    with silent():
        (run,) = train(root, folder / "damage", (1,))
    whole, expected = bits(run), read(Run(run.folder))
    kept = folder / "kept"
    shutil.copytree(run.folder, kept)
    files = sorted(path.relative_to(kept) for path in kept.rglob("*") if path.is_file() and ".lock" not in path.name)
    for at in range(count):
        name, kind = chance.choice(files), chance.choice(["cut", "garbage", "flip", "empty"])
        content = (kept / name).read_bytes()
        (run.folder / name).write_bytes(damaged(content, kind, chance))
        try:
            with silent():
                same = read(Run(run.folder)) == expected
            told["read as it was" if same else f"BELIEVED {name} ({kind})"] += 1
        except UserError as error:
            if name.name in SIGNING and name.name not in str(error):
                told["named what it signs"] += 1  # a changed checksum
            else:
                told["named" if name.name in str(error) else f"OTHER NAME for {name}: {str(error)[:90]}"] += 1
        except Exception as error:
            told[f"RAISED {type(error).__name__} for {name}"] += 1
        if at % 20 == 0:
            try:
                with silent():
                    train(root, folder / "damage", (1,))
                told["made again" if bits(run) == whole else f"MADE OTHERWISE {name}"] += 1
            except Exception as error:
                told[f"NOT MADE AGAIN {name}: {str(error)[:90]}"] += 1
        shutil.rmtree(run.folder)
        shutil.copytree(kept, run.folder)
    return told


def hostile(count: int, root: Path, folder: Path, chance: random.Random) -> Counter[str]:
    """A finished run's copy with something in it that would run, lead out or grow."""
    told: Counter[str] = Counter()
    with silent():
        (run,) = train(root, folder / "hostile", (1,))
    secret = folder / "secret"
    secret.write_text("private")
    for at in range(count):
        place = folder / "theirs" / "outputs" / "heartbeat" / "mlp" / f"{at:012x}"
        shutil.copytree(run.folder, place)
        (place / "checksums.json").unlink(missing_ok=True)  # a stranger signs what he likes
        kind = ("target", "link", "name", "bomb", "count")[at % 5]
        config = yaml.safe_load((place / "config.yaml").read_text())
        if kind == "target":
            group = chance.choice(GROUPS)
            config[group] = {"_target_": chance.choice(TARGETS), "command": f"touch {folder / 'pwned'}"}
            (place / "config.yaml").write_text(yaml.safe_dump(config))
        elif kind == "link":
            name = chance.choice(["submission.csv", "plots/x.png", "folds/0/weights.safetensors", "scores.json"])
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).unlink(missing_ok=True)
            (place / name).symlink_to(secret)
        elif kind == "name":
            text = (place / "inputs.json").read_text()
            (place / "inputs.json").write_text(text.replace('"dataset": "heartbeat"', '"dataset": "../../x"'))
        elif kind == "bomb":
            lines = [
                "a0: &a0 [x,x,x,x,x,x,x,x,x]",
                *(f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)),
            ]
            (place / "config.yaml").write_text("\n".join(lines))
        else:
            text = (place / "inputs.json").read_text()
            (place / "inputs.json").write_text(
                text.replace('"n_splits": 2', f'"n_splits": {10 ** chance.randrange(6, 15)}')
            )
        began = time.perf_counter()
        try:
            with silent():
                _use(Run.open(place))
            told[f"USED {kind}"] += 1
        except UserError:
            told["refused"] += 1
        except Exception as error:
            told[f"RAISED {type(error).__name__} for {kind}"] += 1
        if (folder / "pwned").exists() or time.perf_counter() - began > 10:
            told[f"RAN {kind}"] += 1
    return told


def _use(run: Run) -> Any:
    """What compare, predict and repeating build of a run."""
    recipe, spec = run.recipe, run.spec
    parts.dataset(recipe.dataset, Path(str(recipe.dataset["root"])))
    features = parts.features(recipe.features)
    parts.augment(recipe.augment, features), parts.views(recipe.tta, features, [])
    parts.split(recipe.split), parts.loss(recipe.loss), parts.synthetic(recipe.synthetic)
    model = parts.model(recipe.model, spec)
    parts.bound("optimizer", recipe.optimizer), parts.bound("scheduler", recipe.scheduler)
    return model, read(run)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--damage", type=int, default=200)
    parser.add_argument("--hostile", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    from bench.simulators.heartbeat import simulate

    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        simulate(folder / "raw", n_train=96, n_test=8, length=32, seed=1)
        for name, work in (("kills", kills), ("damage", damage), ("hostile", hostile)):
            began = time.perf_counter()
            told = work(getattr(given, name), folder / "raw", folder, random.Random(given.seed))
            print(f"{name} {getattr(given, name)} in {time.perf_counter() - began:.0f} s")
            for text, count in told.most_common():
                wrong += count if text.split()[0].isupper() else 0
                print(f"  {count:5d}  {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
