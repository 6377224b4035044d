"""The search in MLflow: a parent run, a child run a trial, written beside the search.

A thread of its own writes. A store that is slow holds nothing up; one that is away loses
nothing, since the journal has every trial: what could not be written is tried again at the
end, and by ``--resume``.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from heart.comparison import corrected_standard_error
from heart.errors import HeartError
from heart.settings import Settings
from heart.store import connect, experiment_id, tracking_errors
from tune.journal import TrialRecord

PARENT_TAG: Final = "mlflow.parentRunId"
SEARCH_TAG: Final = "heart.search"
TRIAL_TAG: Final = "heart.trial"
STATUS: Final = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
VALUE_LENGTH: Final = 500
PAGE: Final = 1000
AWAY_S: Final = 15.0
"""A store that did not answer is left alone this long before it is asked again."""
DRAIN_S: Final = 120.0


class Tracker:
    """Writes the runs of one search; `run_id` is the parent's, empty while there is none."""

    def __init__(
        self, settings: Settings, *, search: str, tags: Mapping[str, Any], folds: int
    ) -> None:
        self._settings = settings
        self._search, self._tags, self._folds = search, tags, folds
        self._client: MlflowClient | None = None
        self._experiment = ""
        self.run_id = ""
        self._beginning = threading.Lock()
        self._added: set[str] = set()
        self._written: set[str] = set()
        self._kept: list[TrialRecord] = []
        self._ask_again = 0.0
        self._waiting: queue.SimpleQueue[TrialRecord | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_waiting, daemon=True)

    def open(self) -> None:
        """Start to write.

        A database of this machine that does not open raises `TrackingError`: waiting would
        not mend it. A server is not waited for; one that is away is told by `away`, and asked
        again later.
        """
        if self._settings.resolved_tracking_uri.startswith("sqlite:"):
            self._begin()
        self._thread.start()

    @property
    def away(self) -> bool:
        """Whether the store did not answer when it was last asked."""
        return time.monotonic() < self._ask_again

    def add(self, record: TrialRecord) -> None:
        """Have a trial written; returns at once."""
        self._added.add(record.candidate.id)
        self._waiting.put(record)

    @property
    def unwritten(self) -> int:
        """How many of the trials that were added the store does not have."""
        return len(self._added - self._written)

    def drain(self, *, within: float = DRAIN_S) -> int:
        """Wait some seconds until what was added is written; the number of trials that are not."""
        self._waiting.put(None)
        self._thread.join(within)
        if not self._thread.is_alive():
            self._ask_again = 0.0
            self._write_kept()
        return self.unwritten

    def client(self) -> MlflowClient:
        """The store, with the parent run made; raises `TrackingError`."""
        return self._begin()

    def end(
        self,
        status: str,
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, Any],
        artifacts: Iterable[Path],
    ) -> None:
        """Close the parent run with what the search found; raises `TrackingError`."""
        client = self.client()
        with tracking_errors(self._settings):
            client.log_batch(
                self.run_id,
                metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()],
                tags=[RunTag(name, value) for name, value in _cut(tags).items()],
            )
            for path in artifacts:
                client.log_artifact(self.run_id, str(path))
            client.set_terminated(self.run_id, status)

    def _begin(self) -> MlflowClient:
        """Make the parent run, or take up the one that a search which is resumed has."""
        with self._beginning:
            return self._client or self._find_or_make()

    def _find_or_make(self) -> MlflowClient:
        client = connect(self._settings)
        experiment = experiment_id(client, self._settings)
        with tracking_errors(self._settings):
            runs = client.search_runs([experiment], f"tags.`{SEARCH_TAG}` = '{self._search}'")
            if runs:
                run_id = str(runs[0].info.run_id)
                client.update_run(run_id, status="RUNNING")
                self._written = self._find_written(client, experiment, run_id)
            else:
                tags = _cut({SEARCH_TAG: self._search, **self._tags})
                made = client.create_run(experiment, run_name=self._search, tags=tags)
                run_id = str(made.info.run_id)
        self._client, self._experiment, self.run_id = client, experiment, run_id
        return client

    def _find_written(self, client: MlflowClient, experiment: str, run_id: str) -> set[str]:
        """The trials that the store has; a run that was cut off half-way is deleted."""
        written = set()
        for run in _children(client, experiment, run_id):
            if run.info.status == "RUNNING":
                client.delete_run(run.info.run_id)
            else:
                written.add(run.data.tags[TRIAL_TAG])
        return written

    def _write_waiting(self) -> None:
        try:
            self._begin()
        except HeartError:
            self._leave_alone()
        while (record := self._waiting.get()) is not None:
            self._kept.append(record)
            self._write_kept()

    def _write_kept(self) -> None:
        """Write what is kept, oldest first, until the store fails."""
        while self._kept and not self.away:
            record = self._kept[0]
            try:
                client = self._begin()
                if record.candidate.id not in self._written:
                    with tracking_errors(self._settings):
                        self._write(client, record)
                    self._written.add(record.candidate.id)
            except HeartError:
                self._leave_alone()
            else:
                self._kept.pop(0)

    def _leave_alone(self) -> None:
        self._client = None  # A trial may be half written: `_begin` finds out.
        self._ask_again = time.monotonic() + AWAY_S

    def _write(self, client: MlflowClient, record: TrialRecord) -> None:
        candidate = record.candidate
        tags = {PARENT_TAG: self.run_id, TRIAL_TAG: candidate.id, "worker": record.worker}
        if record.status == "stopped":
            tags["stopped_early"] = f"after fold {len(record.folds)} of {self._folds}"
        if record.message:
            tags["message"] = record.message[:VALUE_LENGTH]
        run = client.create_run(
            self._experiment,
            start_time=int(record.started * 1000),
            run_name=f"{candidate.family}-{candidate.id}",
            tags=tags,
        )
        params = {"family": record.family} | record.params
        client.log_batch(
            run.info.run_id,
            metrics=list(_metrics(record, folds=self._folds)),
            params=[Param(name, str(value)[:VALUE_LENGTH]) for name, value in params.items()],
        )
        client.set_terminated(
            run.info.run_id, STATUS[record.status], end_time=int(record.ended * 1000)
        )


def _metrics(record: TrialRecord, *, folds: int) -> Iterable[Metric]:
    when = int(record.ended * 1000)
    for step, fold in enumerate(record.folds):
        for name, value in fold.scores.items():
            yield Metric(f"fold_{name}", value, when, step)
    yield Metric("fit_seconds", record.fit_seconds, when, 0)
    if record.folds:
        yield Metric("mean_roc_auc", record.mean, when, 0)
        yield Metric("std_roc_auc", float(np.std(record.fold_scores)), when, 0)
    if len(record.folds) > 1:
        error = corrected_standard_error(record.fold_scores, folds=folds)
        yield Metric("standard_error_roc_auc", error, when, 0)


def _children(client: MlflowClient, experiment: str, run_id: str) -> Sequence[Run]:
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.`{PARENT_TAG}` = '{run_id}'",
            max_results=PAGE,
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            return found


def _cut(tags: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value)[:VALUE_LENGTH] for name, value in tags.items()}
