"""--help fits a screen, wrong options are answered with the nearest, and shells complete the words of bench."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bench import __main__ as bench_main
from bench.cli.completion import candidates
from bench.cli.door import run
from bench.cli.help import examples, help_page
from bench.train import COMMAND as TRAIN

COMMANDS = {name: import_module(f"bench.{name}").COMMAND for name in bench_main.COMMANDS}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_page_fits_a_screen_and_has_examples(name: str, width: int) -> None:
    lines = help_page(COMMANDS[name], everything=False, width=width).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= width
    assert examples(COMMANDS[name])


def test_the_short_page_has_the_groups_and_the_keys_set_most_often() -> None:
    page = help_page(TRAIN, everything=False, width=80)
    for word in (
        "dataset=",
        "model=",
        "row_weights=",
        "+experiments=",
        "train.epochs=null",
        "folds.only",
        "--help all",
    ):
        assert word in page


def test_help_all_has_every_option_and_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(TRAIN, ["--help", "all"]) == 0
    page = capsys.readouterr().out
    for word in ("heartbeat_net5", "vertical_flip", "hms_tinyvit_stage2", "ema_every", "HYDRA_FULL_ERROR", "130"):
        assert word in page


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("loss=resnet1d", "did you mean model=resnet1d?"),
        ("model=wavnet", "did you mean wavenet?"),
        ("features=mixup", "did you mean augment=mixup?"),
        ("model=hms_best", "did you mean +experiments=hms_best?"),
        ("loss=smoot", "choose loss= one of bce"),
        ("hms", "did you mean dataset=hms?"),
    ],
)
def test_a_wrong_option_is_answered_with_the_nearest_in_any_group(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(TRAIN, [word]) == 2
    assert meant in capsys.readouterr().err


def test_a_name_of_many_groups_is_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(TRAIN, ["model=none"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bench tr", ["train ", "track "]),
        ("bench train dataset=hm", ["dataset=hms "]),
        ("bench train ep", []),
        ("bench train train.ep", ["train.epochs="]),
        ("bench train model=wavenet model.fil", ["model.filters="]),
        ("bench train model.fil", []),
        ("bench train +experiments=hms_b", ["+experiments=hms_best "]),
        ("bench predict run=l", ["run=latest "]),
        ("bench leaderboard runs=1f", ["runs=1f3a90c2d4e5 "]),
        ("bench nothing x", []),
    ],
)
def test_a_line_is_completed(line: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "hms/wavenet/1f3a90c2d4e5").mkdir(parents=True)
    (tmp_path / "hms/wavenet/1f3a90c2d4e5/inputs.json").touch()
    assert candidates(line, COMMANDS, tmp_path) == words


def test_bash_completes_with_the_script_that_bench_prints(tmp_path: Path) -> None:
    program = tmp_path / "bench"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m bench "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    line = "bench train dataset=h"
    asks = f'eval "$(bench --completion bash)"; COMP_LINE="{line}" COMP_POINT={len(line)}; _bench_complete'
    done = subprocess.run(
        ["bash", "-c", f"{asks}; printf '<%s>' \"${{COMPREPLY[@]}}\""],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "<heartbeat ><hms >"


def test_a_shell_that_is_not_known_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_main.main(["--completion", "tcsh"]) == 2
    assert "name a shell, one of bash, zsh, fish" in capsys.readouterr().err
