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
        self.found = searched.found

    def _fingerprint(self) -> object:
        return [(name, self._digest(path)) for name in FILES if (path := self.folder / name).is_file()]

    def _judged(self) -> tuple[str, bool, str, Direction]:
        return self.found.dataset, self.found.simulated, self.found.metric, self.found.direction

    def _kept(self, found: dict[str, str]) -> dict[str, Any]:
        known = found.get(PARENT)
        if known is not None and known == self.note.get("run_id"):
            return self.note
        anew = {**self._new_note(), "token": self.note["token"]}
        return anew if known is None else {**anew, "run_id": known}

    def _send_new(self) -> None:
        found, note = self.found, self.note
        if "run_id" not in note:
            tags = {"sweep": found.name, "dataset": found.dataset, "simulated": str(found.simulated).lower()}
            note["run_id"] = self._created(f"search {found.name}", found.began, tags)
            self._save("runs")
        self._params(note, note["run_id"], facts.leaves(dict(found.space)))
        if note.get("outcome") != (outcome := [found.complete, found.dropped, found.failed, found.best]):
            values = {f"best/{found.metric}": found.best, "trials/complete": found.complete}
            values |= {"trials/dropped": found.dropped, "trials/failed": found.failed}
            trials = found.complete + found.dropped + found.failed
            self._points(note["run_id"], wording.points(values, found.ended, trials))
            self.client.set_tag(note["run_id"], "mlflow.note.content", self._described())
            note["outcome"] = outcome
            self._save("scores")
        for name in FILES:
            if (self.folder / name).is_file():
                self._artifact(note["run_id"], self.folder / name, None)
        if note.get("ended") != found.ended:
            note.pop("status", None)
            self._status(note, note["run_id"], "FINISHED", found.ended)
            note["ended"] = found.ended
            self._save("statuses")

    def _described(self) -> str:
        found = self.found
        mark = "**SIMULATED data** · " if found.simulated else ""
        trials = f"{found.complete} complete, {found.dropped} dropped, {found.failed} failed"
        return (
            f"{mark}**{found.metric} {figure(found.best)}** out of fold in the best of all trials ({trials}), so it "
            f"flatters: confirm it with other seeds or test rows.\n\n```sh\n{found.command}\n```\n\n"
            f"Its trials: `tags.sweep = '{found.name}'`"
        )
