"""Sends a search to MLflow: one small run with its page and table, beside those of its trials."""

from __future__ import annotations

from typing import Any

from bench.runs import facts
from bench.runs.searched import FILES, Searched
from bench.spec import Direction
from bench.tell import figure
from bench.tracking import wording
from bench.tracking.sender import PARENT, Sender


class SearchMirror(Sender):
    """Sends one search's folder to one tracking URI. A search that goes on updates its run."""

    def __init__(self, searched: Searched, uri: str) -> None:
        super().__init__(searched.folder, uri)
        self.outcome = searched.outcome

    def _fingerprint(self) -> object:
        return [(name, self._digest(path)) for name in FILES if (path := self.folder / name).is_file()]

    def _judged(self) -> tuple[str, bool, str, Direction]:
        return self.outcome.dataset, self.outcome.simulated, self.outcome.metric, self.outcome.direction

    def _kept(self, server_runs: dict[str, str]) -> dict[str, Any]:
        known = server_runs.get(PARENT)
        if known is not None and known == self.note.get("run_id"):
            return self.note
        anew = {**self._new_note(), "token": self.note["token"]}
        return anew if known is None else {**anew, "run_id": known}

    def _send_new(self) -> None:
        outcome, note = self.outcome, self.note
        if "run_id" not in note:
            tags = {"sweep": outcome.name, "dataset": outcome.dataset, "simulated": str(outcome.simulated).lower()}
            note["run_id"] = self._created(f"search {outcome.name}", outcome.began, tags)
            self._save("runs")
        self._params(note, note["run_id"], facts.leaves(dict(outcome.space)))
        if note.get("outcome") != (counts := [outcome.complete, outcome.dropped, outcome.failed, outcome.best]):
            values = {f"best/{outcome.metric}": outcome.best, "trials/complete": outcome.complete}
            values |= {"trials/dropped": outcome.dropped, "trials/failed": outcome.failed}
            trials = outcome.complete + outcome.dropped + outcome.failed
            self._points(note["run_id"], wording.points(values, outcome.ended, trials))
            self.client.set_tag(note["run_id"], "mlflow.note.content", self._described())
            note["outcome"] = counts
            self._save("scores")
        for name in FILES:
            if (self.folder / name).is_file():
                self._artifact(note["run_id"], self.folder / name, None)
        if note.get("ended") != outcome.ended:
            note.pop("status", None)
            self._status(note, note["run_id"], "FINISHED", outcome.ended)
            note["ended"] = outcome.ended
            self._save("statuses")

    def _described(self) -> str:
        outcome = self.outcome
        mark = "**SIMULATED data** · " if outcome.simulated else ""
        trials = f"{outcome.complete} complete, {outcome.dropped} dropped, {outcome.failed} failed"
        return (
            f"{mark}**{outcome.metric} {figure(outcome.best)}** out of fold in the best of all trials ({trials}), so "
            f"it flatters: confirm it with other seeds or test rows.\n\n```sh\n{outcome.command}\n```\n\n"
            f"Its trials: `tags.sweep = '{outcome.name}'`"
        )
