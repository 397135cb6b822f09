"""A run's folder may come from anybody: nothing in it is run, and nothing outside it is read, sent or written."""

from __future__ import annotations

import csv
import io
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest

from bench import addresses, build, predict, targets, train
from bench.atomic import read_json, write_json
from bench.cli import door, repeat, sweep
from bench.comparison import sending
from bench.comparison.tables import no_formulas
from bench.datasets import tables as csv_tables
from bench.report import plots
from bench.runs import frames, inputs, recipe, submission
from bench.runs.environment import write_environment
from bench.runs.run import Run
from bench.spec import UserError
from bench.tell import visible
from bench.tracking import address, follower, wording
from bench.tracking.mirror import Mirror
from fake_run import rewrite, write_run

SECRET = "S3cret"
CODE = ("torch.utils.collect_env.run", "torch.load", "torch.hub.load", "torch.serialization.load", "os.system")
NO_NAMES = (
    "../../x", "/etc", "..", ".", "", "a/b", "a\\b", ".hidden", "-rf", "=1+1", "+a", "@a", "~", "a\x1b[31m", "a\nb",
    "a\u202eb", "x" * 200, "a*", "[link]", "C:", " a", "a\x00",
)  # fmt: skip
FORMS = [
    f"postgresql://me:a/{SECRET}@host/db", f"postgresql://me:{SECRET}@host/db", f"postgresql://me:p@{SECRET}@host/db",
    f"postgresql://me:p@{SECRET}/x@host/db", f"postgresql://me:a?{SECRET}@host/db", f"postgresql://{SECRET}@host/db",
    f"postgresql://me:a#{SECRET}@host:5432/db", f"postgresql://host/db?password={SECRET}&sslmode=require",
    f"mysql+pymysql://me:{SECRET}%40x@host:3306/db", f"mssql+pyodbc:///?odbc_connect=PWD%3D{SECRET}",
    f"http://me:{SECRET}@host:5000", f"https://me:p@{SECRET}@host:5000", f"http://me:a/{SECRET}@host:5000",
    f"http://me:a?{SECRET}@host:5000", f"http://me:a#{SECRET}@host:5000", f"https://host/?token={SECRET}",
    f"https://host/path?a=1&token={SECRET}#x", f"https://host/#{SECRET}", f"https://{SECRET}@host",
    f"https://host?{SECRET}", f"http://me:x@host:5000/?token=a@{SECRET}", f"sqlite:///x.db?key={SECRET}",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_address_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(address.VARIABLE, raising=False)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A file that is nobody else's business."""
    path = tmp_path / "private"
    path.write_text(SECRET)
    return path


@pytest.mark.parametrize("group", targets.CONTRACTS)
@pytest.mark.parametrize("target", CODE)
def test_code_named_in_a_stranger_s_recipe_is_refused(tmp_path: Path, group: str, target: str) -> None:
    run = write_run(tmp_path)
    rewrite(run, "config.yaml", **{group: {"_target_": target, "command": "touch pwned"}})
    node = Run.open(run.folder).config[group]
    with pytest.raises(UserError, match="is refused"):
        build.build(node, "dataset.simulator" if group == "simulator" else group)


@pytest.mark.parametrize(
    "name", ["submission.csv", "plots/x.png", "report.html", "folds/0/log.txt", "oof.parquet", ".lock", "tracking.log"]
)
@pytest.mark.parametrize("kind", ["absolute", "relative", "dangling", "folder"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, private: Path, name: str, kind: str) -> None:
    run = write_run(tmp_path)
    path = run.folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    leads_to: dict[str, str | Path] = {
        "absolute": private, "relative": os.path.relpath(private, path.parent), "dangling": tmp_path / "new",
        "folder": tmp_path,
    }  # fmt: skip
    path.symlink_to(leads_to[kind])
    with pytest.raises(UserError, match=f"{path.name} is a link that leads out"):
        Run.open(run.folder)
    assert private.read_text() == SECRET
    assert not (tmp_path / "new").exists()


def test_a_link_within_the_folder_is_a_file_of_it_and_a_pipe_is_none(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run.folder / "again.yaml").symlink_to("config.yaml")
    Run.open(run.folder)
    os.mkfifo(run.folder / "test.parquet")
    with pytest.raises(UserError, match="no regular file"):
        Run.open(run.folder)


@pytest.mark.slow
def test_a_link_made_while_a_run_is_mirrored_is_not_sent(tmp_path: Path, private: Path) -> None:
    run = write_run(tmp_path, folds=1)
    (run.folder / "submission.csv").symlink_to(private)
    (run.folder / "id_rsa").write_text(SECRET)
    sent: list[str] = []
    mirror = Mirror(run, address.default_uri(tmp_path))
    mirror._artifact = lambda _, path, __: sent.append(path.name)  # type: ignore[method-assign,assignment]
    assert mirror.sync()
    assert set(sent) == {"config.yaml", "environment.json", "scores.json", "log.txt"}


def test_an_address_comes_from_the_person_never_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path)
    (run.folder / "comparisons").mkdir()
    (run.folder / "comparisons" / "c.html").write_text("page")
    write_json(run.folder / "tracking.json", {"uri": "http://stranger", "token": "0" * 32, "files": {}, "folds": {}})
    called: list[str] = []
    monkeypatch.setattr(sending, "send_apart", lambda folders, uri, seconds: called.append(uri))
    lines = sending.send("c", [run], None, 1.0, tmp_path)
    assert called == []
    assert "tracking.uri=run" in lines[0]
    with pytest.raises(UserError, match="--uri run sends it there"):
        follower._address(run, None)
    assert follower._address(run, "run") == "http://stranger"
    assert follower._address(run, "http://mine") == "http://mine"
    sending.send("c", [run], "run", 1.0, tmp_path)
    sending.send("c", [run], "http://mine", 1.0, tmp_path)
    assert called == ["http://stranger", "http://mine"]
    monkeypatch.setenv(address.VARIABLE, "http://own")
    assert address.chosen(None, tmp_path) == "http://own"
    assert address.chosen("http://other", tmp_path) == "http://other"
    rewrite(run, "config.yaml", tracking={"uri": "http://stranger"})
    (run.folder / "tracking.json").unlink()
    monkeypatch.delenv(address.VARIABLE)
    with pytest.raises(UserError, match="http://stranger"):
        follower._address(Run(run.folder), None)


def test_a_line_on_what_waits_says_the_address_that_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path)
    (run.folder / "comparisons").mkdir()
    (run.folder / "comparisons" / "c.html").write_text("page")
    monkeypatch.setattr(sending, "send_apart", lambda *_: None)
    for told, uri, expected in (
        ("http://there", "run", f"{run.folder} --uri run"),
        ("http://there", "http://mine", f"{run.folder} --uri <that address>"),
        (addresses.public(own := address.default_uri(tmp_path)), None, str(run.folder)),
        ("https://***@there", f"https://me:{SECRET}@there", f"{run.folder} --uri <that address>"),
    ):
        write_json(run.folder / "tracking.json", {"uri": told, "files": {}})
        (line,) = sending.send("c", [run], uri, 1.0, tmp_path)
        assert line.endswith(expected), line
        assert SECRET not in line
    assert own


@pytest.mark.parametrize(
    ("answer", "has"),
    [
        ((200, '{"run": {"info": {"lifecycle_stage": "active"}}}'), True),
        ((200, '{"run": {"info": {"lifecycle_stage": "deleted"}}}'), False),
        ((404, '{"error_code": "RESOURCE_DOES_NOT_EXIST"}'), False),
        ((500, ""), True),
        ((200, "<html>"), True),
    ],
)
def test_what_was_deleted_on_a_server_is_noticed(tmp_path: Path, answer: tuple[int, str], has: bool) -> None:
    asked: list[tuple[str, str | None]] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(answer[1].encode())

        def log_message(self, *_: object) -> None:
            pass

    run = write_run(tmp_path)
    write_json(run.folder / "tracking.json", {"run_id": "a b"})
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        port = server.server_address[1]
        assert address.still_has(f"http://me:p%40s@127.0.0.1:{port}/x/", run) is has
    assert asked == [("/x/api/2.0/mlflow/runs/get?run_id=a+b", "Basic bWU6cEBz")]
    assert address.still_has(f"http://127.0.0.1:{port}", run), "nobody answers"


def test_a_sweep_s_job_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"tracking.uri=http://me:{SECRET}@host", "seed=1"]
    config = SimpleNamespace(overrides=SimpleNamespace(task=words))
    monkeypatch.setattr("hydra.core.hydra_config.HydraConfig.get", lambda: config)
    assert sweep.job_name() == "tracking.uri=http://host seed=1"


@pytest.mark.parametrize("note", [[], {}, {"uri": 1, "token": "x"}, {"uri": "u", "token": "' OR 1=1", "files": {}}])
def test_a_stranger_s_note_names_no_runs_of_ours(tmp_path: Path, note: Any) -> None:
    run = write_run(tmp_path)
    write_json(run.folder / "tracking.json", note)
    mirror = Mirror(run, "http://mine")
    kept = mirror._read_note()
    assert (kept["uri"], kept["files"], kept["folds"]) == ("http://mine", {}, {})
    assert len(kept["token"]) == 32


@pytest.mark.parametrize("key", ["dataset", "model", "metric", "names"])
@pytest.mark.parametrize("name", NO_NAMES)
def test_names_in_a_folder_are_names(tmp_path: Path, key: str, name: str) -> None:
    run = rewrite(write_run(tmp_path), "inputs.json", **{key: {"model": name} if key == "names" else name})
    with pytest.raises(UserError, match=r"inputs\.json: \S+ is no name"):
        _ = run.inputs


def test_counts_in_a_folder_are_bounded(tmp_path: Path) -> None:
    run = rewrite(write_run(tmp_path), "inputs.json", n_splits=10**12)
    with pytest.raises(UserError, match="n_splits"):
        _ = run.folds
    classes = {"channels": 1, "size": [8], "classes": ["a", "\x1b]0;pwned"]}
    with pytest.raises(UserError, match="holds an escape"):
        _ = rewrite(run, "inputs.json", n_splits=2, spec=classes).inputs


def test_a_member_elsewhere_is_not_followed(tmp_path: Path) -> None:
    from bench.prediction.blended import find_member

    ensemble, other = write_run(tmp_path / "outputs"), write_run(tmp_path / "other", identity="a" * 12)
    with pytest.raises(UserError, match="outputs="):
        find_member(ensemble, other.folder, tmp_path / "outputs")
    with pytest.raises(UserError, match="outputs="):
        find_member(ensemble, Path("/etc/.."), tmp_path / "outputs")
    assert find_member(ensemble, other.folder, tmp_path / "other") == other
    near = write_run(tmp_path / "outputs", identity="b" * 12)
    assert find_member(ensemble, near.folder, tmp_path / "nowhere") == near


BOMBS: dict[str, tuple[str, str]] = {
    "aliases": ("config.yaml", "a: &a [1]\n" + "".join(f"{c}: &{c} [*a, *a]\n" for c in "bcdefghi")),
    "depth": ("config.yaml", "[" * 50_000),
    "number": ("config.yaml", "a: " + "1" * 5000),
    "base 60": ("config.yaml", "a: 1" + ":59" * 50_000),
    "size": ("config.yaml", "#" * 300_000),
    "date": ("config.yaml", "a: 2001-99-99"),
    "python": ("config.yaml", "a: !!python/object/apply:os.system ['touch pwned']"),
    "json depth": ("inputs.json", "[" * 500_000),
    "json number": ("inputs.json", '{"a": ' + "1" * 5000 + "}"),
    "json bytes": ("inputs.json", "\x00\x01"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_text_that_grows_is_one_sentence_with_its_file(tmp_path: Path, name: str) -> None:
    file, content = BOMBS[name]
    (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=file.replace(".", r"\.")):
        inputs.read(tmp_path) if file == inputs.FILE else recipe.mapping(tmp_path)


def test_a_file_of_a_terabyte_of_nothing_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "state.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"state\.json is larger"):
        read_json(tmp_path / "state.json")


def test_a_table_of_absurd_size_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "oof.parquet"
    pd.DataFrame({"id": np.arange(1000)}).to_parquet(path)
    assert len(frames.read_frame(path)) == 1000
    monkeypatch.setattr(frames, "MOST_VALUES", 999)
    with pytest.raises(UserError, match=r"oof\.parquet says that it holds 1,000 values"):
        frames.read_frame(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"oof\.parquet can't be read"):
        frames.read_frame(path)


def test_an_id_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    ids = ['=HYPERLINK("http://evil","x")', "=1+1", "+1", "plain"]
    pd.DataFrame({"id": ids, "p": [0.5] * 4}).to_csv(tmp_path / "s.csv", index=False)
    submission.write_excel(tmp_path / "s.csv", tmp_path / "s.xlsx")
    cells = [row[0] for row in openpyxl.load_workbook(tmp_path / "s.xlsx")["Sheet1"].iter_rows(min_row=2)]
    assert [cell.value for cell in cells][:2] == ids[:2]
    assert "f" not in {cell.data_type for cell in cells}
    pd.DataFrame({"id": ["a\x1bb"], "p": [1]}).to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(UserError, match="control character"):
        submission.write_excel(tmp_path / "s.csv", tmp_path / "s.xlsx")


def test_a_table_of_a_comparison_holds_no_formula() -> None:
    ids = ["=1+1", "+x", "-cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "-1.5", "plain", 3, None]
    frame = pd.DataFrame({"id": ids, "=class": np.arange(9) - 4.0}, index=["=row", *range(1, 9)])
    plain = no_formulas(frame)
    assert plain["id"].tolist()[:8] == ["'=1+1", "'+x", "'-cmd|' /C calc'!A0", "'@SUM(1)", "'\t=1", "-1.5", "plain", 3]
    assert plain["'=class"].tolist() == frame["=class"].tolist()
    assert plain.index[0] == "'=row"
    text = plain.to_csv()
    assert not [cell for row in csv.reader(io.StringIO(text)) for cell in row if cell[:1] in "=+@" and cell]


def test_a_table_or_an_array_of_absurd_size_is_named(tmp_path: Path) -> None:
    for name in ("train.csv", "sample_submission.csv"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 41)
    with pytest.raises(UserError, match=r"train\.csv says that it has 2,199,023,255,552 bytes"):
        csv_tables.read(tmp_path / "train.csv", ["id"])
    with pytest.raises(UserError, match=r"sample_submission\.csv says that it has"):
        submission.sample_ids(tmp_path / "sample_submission.csv")
    fold = write_run(tmp_path).folds[0]
    np.save(fold.folder / "synthetic_examples.npy", np.zeros((1, 2, 3, 1, 8)))
    path = fold.folder / "synthetic_examples.npy"
    for header in ((b"(1, 2", b"(9999999999, 2"), (b"(1, 2", b"((1, 2"), (b"'<f8'", b"'|O'")):
        np.save(path, np.zeros((1, 2, 3, 1, 8)))
        path.write_bytes(path.read_bytes().replace(*header))
        with pytest.raises(UserError, match=r"synthetic_examples\.npy is damaged"):
            plots.synthetic(fold, {"way": "smote", "classes": ["a"]})


def test_a_terminal_obeys_no_id() -> None:
    assert visible("id \x1b[2J\x07é\u202e") == "id \\x1b[2J\\x07é\\u202e"


@pytest.mark.parametrize("uri", FORMS)
def test_no_file_of_a_run_and_no_line_holds_a_secret(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path)
    settled = rewrite(run, "config.yaml", tracking={"uri": uri}, pretrain=[f"tracking.uri={uri}"]).recipe
    words = ["python", "-m", "bench.train", f"tracking.uri={uri}", f"tracking.uri='{uri}'", "--uri", uri]
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr("subprocess.run", _no_git)
    recipe.write(run.folder, settled)
    write_environment(run)
    mirror = Mirror(run, uri)
    write_json(run.folder / "tracking.json", mirror._new_note())
    error = RuntimeError(f'could not translate host name "{SECRET}" of {uri}')
    (run.folder / "tracking.log").write_text(wording.sentence(uri, error))
    print(wording.page(uri, run.folder / "tracking.json"), wording.before_looking(uri))
    with pytest.raises(UserError) as refused:
        address.checked(uri.partition("://")[2], "tracking.uri")
    print(refused.value)
    texts = [path.read_text(errors="replace") for path in run.folder.rglob("*") if path.is_file()]
    assert not [text for text in [*texts, *capsys.readouterr()] if SECRET in text]


def _no_git(*_: object, **__: object) -> None:
    raise OSError


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000/path", "http://host:5000/path"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://me:pass@host:5000/x", "http://host:5000/x"),
        ("postgresql://me:a/b@host:5432/db", "postgresql://host:5432/db"),
        ("https://host/?token=x&b=y", "https://host/?token=***&b=***"),
        ("databricks", "databricks"),
    ],
)
def test_what_is_no_secret_is_shown(uri: str, shown: str) -> None:
    assert addresses.public(uri) == shown


@pytest.mark.parametrize(
    "uri",
    ["./mlruns", "mlruns", "/abs/mlruns", "file:///abs/mlruns", "127.0.0.1:5000", "localhost:5000", "http://",
     "http:/x", "http://host:port", "sqlite://", "sqlite:///", "postgres://h/db", "postgresql://", "ftp://h", "", "run",
    ],
)  # fmt: skip
def test_an_address_of_another_form_is_refused_at_once_with_those_that_work(uri: str) -> None:
    with pytest.raises(UserError, match=r"http://<host>:<port>.*sqlite:///<folder>/mlflow\.db"):
        address.checked(uri, "tracking.uri")


@pytest.mark.parametrize(
    "uri", ["http://h:1", "https://me:p@h/x", "postgresql://a:b@h/db", "databricks", "databricks://p"]
)
def test_an_address_that_works_is_taken(uri: str) -> None:
    assert address.checked(uri, "tracking.uri") == uri


def test_a_relative_database_is_found_from_every_folder() -> None:
    assert address.checked("sqlite:///a.db", "tracking.uri") == f"sqlite:///{Path('a.db').resolve()}"


CALLBACKS = "hydra: {callbacks: {x: {_target_: os.mkdir, path: pwned}}}\n"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--config-path {folder} --config-name config", "it has no inputs.json"),
        ("-cp {folder}", "it has no inputs.json"),
        ("--config-dir={folder} --config-name=config", "it has no inputs.json"),
        ("--config-path={folder} --config-name=train", "it has no inputs.json"),
        ("--experimental-rerun {folder}/config.pickle", "reads a pickle"),
    ],
)
@pytest.mark.parametrize("command", [train.COMMAND, predict.COMMAND])
def test_a_config_in_a_stranger_s_folder_is_refused_before_hydra_reads_it(
    flags: str, sentence: str, command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("config.yaml", "train.yaml", "predict.yaml"):
        (tmp_path / name).write_text(CALLBACKS)
    assert door.run(command, flags.format(folder=tmp_path).split()) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("key", "group", "value"),
    [
        ("init_from", None, "{}"),
        ("model.weights", "model", "{}"),
        ("pseudo.runs", "pseudo", ["{}"]),
        ("dataset.root", "dataset", "{}"),
    ],
)
def test_a_path_that_leads_out_of_the_outputs_of_a_repeated_run_is_given_again(
    key: str, group: str | None, value: Any, tmp_path: Path
) -> None:
    def named(path: Path) -> Path:
        told = [str(path)] if isinstance(value, list) else str(path)
        config = {group: {"_target_": "x", key.partition(".")[2]: told}} if group else {key: told}
        return rewrite(write_run(tmp_path / "outputs"), "config.yaml", **config).folder

    elsewhere = tmp_path / "private"
    with pytest.raises(UserError, match=f"{key}=.*private, which is not in .*; where you trust it, add {key}="):
        repeat.register(named(elsewhere), ["seed=1"])
    repeat.register(named(elsewhere), [f"{key}=/other"])
    repeat.register(named(tmp_path / "outputs" / "x"), [])


def test_paths_of_a_run_outside_of_the_person_s_outputs_are_not_followed(tmp_path: Path) -> None:
    from bench.prediction.command import own_files
    from bench.training.model_inputs import model_inputs

    files = tmp_path / "private"
    files.mkdir()
    node = {"_target_": "bench.datasets.heartbeat.Heartbeat", "root": str(files)}
    run = rewrite(write_run(tmp_path / "outputs"), "config.yaml", dataset=node)
    assert own_files(run, tmp_path, tmp_path / "outputs") == files
    with pytest.raises(UserError, match="the paths that it names are not followed; say which to predict: input="):
        own_files(run, tmp_path, tmp_path / "mine")
    assert "are not followed" in model_inputs(run, [0], tmp_path / "mine")[1]
    assert "are not there any more" in model_inputs(run, [0], tmp_path / "outputs")[1]
