"""Mirrors a run's folder to MLflow.

Training only writes files. A separate process (``follower.py``) reads them and sends what is new, so a slow or dead
server does not delay a fold, and anything not sent can be sent later from the same folder.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from bench.runs import facts, inside, records
from bench.runs.run import Fold, Run
from bench.runs.scores import Scores
from bench.spec import Direction
from bench.tracking import wording
from bench.tracking.address import default_uri
from bench.tracking.sender import PARENT, Sender, TrackingError, quiet
from bench.tracking.wording import comparison, page

__all__ = ["Mirror", "TrackingError", "comparison", "default_uri", "page", "quiet"]

FILES = ("config.yaml", "environment.json", "scores.json", "submission.csv", "report.html", "blend.json")
BLANK = {"sent": 0, "prefix": facts.content([])}


class Mirror(Sender):
    """Sends one run's folder to one tracking URI: a parent with the scores and files, a child for each fold."""

    def __init__(self, run: Run, uri: str) -> None:
        super().__init__(run.folder, uri)
        self.run = run

    def _fingerprint(self) -> object:
        begun = (self.run.folder / "inputs.json").exists()  # else the training has only just begun
        return wording.fingerprint(self.run) if begun else None

    def _judged(self) -> tuple[str, bool, str, Direction]:
        inputs = self.run.inputs
        return inputs.dataset, inputs.simulated, inputs.metric, inputs.direction

    def _kept(self, server_runs: dict[str, str]) -> dict[str, Any]:
        note, parent = self.note, server_runs.pop(PARENT, None)
        if parent is None:  # remaining folds belong to a deleted run: a new token leaves them behind
            token = {} if server_runs else {"token": note["token"]}
            note, server_runs = self._new_note() | token, {}
        elif parent != note.get("run_id"):
            note = {**self._new_note(), "token": note["token"], "run_id": parent}
        noted = {known["run_id"]: known for known in note["folds"].values()}
        note["folds"] = {k: noted.get(run_id, {"run_id": run_id, **BLANK}) for k, run_id in server_runs.items()}
        return note

    def _send_new(self) -> None:
        run, note = self.run, self.note
        self.inputs, self.state, self.alive = run.inputs, run.state(), facts.alive(run)
        scores, leaves = run.scores(), facts.leaves(run.config)
        if "run_id" not in note:
            began = (run.folder / "config.yaml").stat().st_mtime
            note["run_id"] = self._create(wording.run_name(run), began, {})
            self._save("runs")
        self._params(note, note["run_id"], leaves)
        self._in_sweep(note)
        for fold in run.folds:
            if fold.status() != "missing" or fold.number in self.state.get("failed", []):
                self._fold(fold, leaves)
        if scores and note.get("scores") != (digest := self._digest(run.scores_path)):
            self._points(note["run_id"], wording.run_points(scores, run.scores_path.stat().st_mtime))
            self.client.set_tag(note["run_id"], "mlflow.runName", wording.run_name(run, scores))
            note["scores"] = digest
            self._save("scores")
        pages = [*sorted(run.folder.glob("plots/*.png")), *sorted(run.folder.glob("comparisons/*.html"))]
        for path in [*(run.folder / name for name in FILES), *pages]:
            if path.is_file() and inside.within(path, run.folder):
                self._artifact(note["run_id"], path, None if path.parent == run.folder else path.parent.name)
        self._table(scores)
        ended = wording.last_sign(run.folder, ["state.json", "folds/*/done.json", "folds/*/history.json"])
        self._status(note, note["run_id"], wording.run_status(run, self.alive), ended)

    def _fold(self, fold: Fold, leaves: dict[str, str]) -> None:
        known, history = self.note["folds"].get(str(fold.number)), fold.history()
        if known and known["prefix"] != facts.content(history[: known["sent"]]):
            # A fold that was trained again gets a new page: old and new points would mix.
            self.client.delete_run(known["run_id"])
            known = None
        if known is None:
            first = history[0] if history else {}  # its time is the first epoch's end
            began = first.get("time", time.time()) - first.get("seconds", 0)
            tags = {"fold": str(fold.number), "mlflow.parentRunId": self.note["run_id"]}
            known = {"run_id": self._create(f"{wording.run_name(self.run)} fold {fold.number}", began, tags), **BLANK}
            self.note["folds"][str(fold.number)] = known
            self._save("runs")
        few = {key: value for key, value in leaves.items() if key.split(".")[0] in wording.FEW}
        self._params(known, known["run_id"], {**few, "fold": str(fold.number)})
        self._in_sweep(known)
        if new := history[known["sent"] :]:
            start = self.client.get_run(known["run_id"]).info.start_time / 1000
            self._points(known["run_id"], [point for entry in new for point in wording.epoch_points(entry, start)])
            known.update(sent=len(history), prefix=facts.content(history))
            self._save("epochs", len(new))
        status = wording.fold_status(fold, self.state, self.alive)
        if status != "RUNNING" and fold.log.is_file() and inside.within(fold.log, self.run.folder):
            self._artifact(known["run_id"], fold.log, None)
        self._status(known, known["run_id"], status, wording.last_sign(fold.folder, ["done.json", "history.json"]))

    def _create(self, name: str, began: float, tags: dict[str, str]) -> str:
        made_by = self.run.made_by
        common = {
            "group": self.inputs.model,
            "model": self.inputs.model,
            "dataset": self.inputs.dataset,
            "loss": facts.short_name(made_by.loss),
            "identity": self.run.identity,
            "seed": "" if made_by.seed is None else str(made_by.seed),
            "seeds": self.inputs.group,  # of the runs that differ in their seed alone
            "simulated": str(self.inputs.simulated).lower(),
            "folder": f"{socket.gethostname()}:{self.run.folder}",
            "mlflow.source.name": str(self.state.get("command") or "bench.train"),
            "mlflow.source.type": "LOCAL",
        }
        return self._created(name, began, {**common, **tags})

    def _in_sweep(self, known: dict[str, Any]) -> None:
        """The tag by which MLflow's pages find the runs of a sweep: ``tags.sweep = 'name'``."""
        name = self.run.made_by.tracking.sweep
        if name is not None and known.get("sweep") != name:
            self.client.set_tag(known["run_id"], "sweep", name)
            known["sweep"] = name
            self._save("tags")

    def _table(self, scores: Scores | None) -> None:
        """Sends the score and the fold table, as the description of the run's page and as a file."""
        rows = wording.fold_table(self.run, scores, self.note["folds"], self.alive)
        if self.note.get("table") != (digest := facts.content([rows, records.plain(scores)])):
            self.client.log_text(self.note["run_id"], "".join(",".join(row) + "\n" for row in rows), "folds.csv")
            text = wording.headline(scores) + wording.markdown(rows)
            self.client.set_tag(self.note["run_id"], "mlflow.note.content", text)
            self.note["table"] = digest
            self._save("files")
