"""What the benchmark beside other tools takes for granted: one job is the same for all of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import metrics
from bench.cli.compose import compose
from bench.models import cnn2d, mlp, resnet1d, wavenet
from bench.spec import InputSpec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the benchmark runs as a module of the repository's folder

from benchmarks.peers import files, jobs, networks, run, table  # noqa: E402

SHAPES = {"heartbeat": (1, 140), "freesound": (1, 40, 173), "hms": (8, 400)}  # WaveNet takes any length
CLASSES = {"heartbeat": 5, "freesound": 10, "hms": 6}
OURS: dict[str, Any] = {
    "mlp": mlp.MLP, "resnet1d": resnet1d.ResNet1D, "cnn2d": cnn2d.CNN2D, "wavenet": wavenet.WaveNet
}  # fmt: skip


@pytest.mark.parametrize("name", jobs.names())
def test_the_peers_network_has_as_many_parameters_as_ours_and_as_the_job_says(name: str) -> None:
    job = jobs.load(name)
    shape, k = SHAPES[job.files], CLASSES[job.files]
    ours = OURS[job.network](InputSpec(shape[0], shape[1:], tuple(map(str, range(k)))))
    theirs = networks.build(job.network, shape, k)
    assert networks.parameters(theirs) == networks.parameters(ours) == job.parameters
    assert theirs(torch.zeros(2, *shape)).shape == (2, k)


@pytest.mark.parametrize("name", jobs.names())
def test_our_command_trains_as_the_job_says(name: str) -> None:
    job = jobs.load(name)
    config, chosen = compose("train", job.ours)
    assert (config["train"]["epochs"], config["train"]["batch_size"]) == (job.epochs, job.batch_size)
    assert (config["optimizer"]["lr"], config["optimizer"]["eps"]) == (job.lr, job.eps)
    assert (chosen["model"], chosen["loss"], chosen["dataset"]) == (job.network, job.loss, job.files)


def test_every_tool_of_a_job_is_a_file_here() -> None:
    tools = {tool for name in jobs.names() for tool in jobs.load(name).peers}
    assert tools == set(run.MODULES)
    assert all((ROOT / "benchmarks/peers" / f"{module}.py").exists() for module in run.MODULES.values())


def test_the_peers_environment_has_our_versions_of_what_both_have() -> None:
    mine, theirs = (
        dict(line.split("==") for line in path.read_text().split()) for path in
        (ROOT / "constraints.txt", ROOT / "benchmarks/peers/constraints.txt")
    )  # fmt: skip
    shared = mine.keys() & theirs.keys()
    assert {"torch", "numpy", "pandas"} <= shared
    assert {name: theirs[name] for name in shared} == {name: mine[name] for name in shared}


def test_a_peer_with_another_split_is_refused() -> None:
    import pandas as pd

    frame = pd.DataFrame({"id": range(10), "fold": np.arange(10) % 5, "target_a": 1.0, "target_b": 0.0})
    frame = frame.assign(pred_a=0.8, pred_b=0.2)
    job = jobs.load("ecg5000_mlp")
    shuffled = frame.sample(frac=1, random_state=0)
    expected = metrics.L1_20K.score(frame[["target_a", "target_b"]].to_numpy(), frame[["pred_a", "pred_b"]].to_numpy())
    assert run.scores(job, shuffled, frame) == pytest.approx([expected] * 5)
    with pytest.raises(RuntimeError, match="another split"):
        run.scores(job, frame.assign(fold=0), frame)


def test_a_short_sound_lies_whole_in_its_window_and_a_long_one_fills_it() -> None:
    size, rng = files.RATE * files.SECONDS, np.random.default_rng(0)
    short, long = np.ones(1000, np.float32), np.arange(3 * size, dtype=np.float32)
    assert [files.window(short, chance).sum() for chance in (None, rng)] == [1000, 1000]
    assert files.window(long, None)[0] == size
    assert np.array_equal(np.diff(files.window(long, rng)), np.ones(size - 1))


def test_the_page_tells_ratios_over_ours_and_whether_scores_are_equal() -> None:
    ours = table.Row("job", "ours", 0, 10, 20, 100, [1.0, 1.2])
    other = table.Row("job", "other", 0, 25, 30, 100, [2.0, 2.2])
    text = table.page({"cores": "2"}, [ours, other])
    assert "| other | 25.0 | 30.0 | 100 | 2.1 ± 0.14 | 2.50, 1.50 | no |" in text
    assert "| 1.00, 1.00 | yes |" in text
