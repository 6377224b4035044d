"""How far a search is, for Prometheus: gauges that Ray exports on its nodes' metrics ports."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final, get_args

from ray.util.metrics import Gauge

from tune.journal import Status
from tune.searches import Search

EVERY_S: Final = 1.0
"""Ray forgets a gauge that is not set again within two of its intervals."""


class Gauges:
    """Sets the gauges of one search from a thread of its own, from entering to leaving."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._trials = Gauge(
            "heart_search_trials", "Trials that have ended.", tag_keys=("search", "status")
        )
        self._planned = Gauge(
            "heart_search_planned_trials", "Trials that are to be run.", tag_keys=("search",)
        )
        self._best = Gauge(
            "heart_search_best_score",
            "The highest mean ROC-AUC of a trial that ran all folds.",
            tag_keys=("search",),
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._report_until_stopped, daemon=True)

    def __enter__(self) -> Gauges:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def report(self) -> None:
        """Set each gauge to what is known now; no best score before a trial has finished."""
        records = tuple(self._search.records)
        name = {"search": self._search.name}
        ended = Counter(record.status for record in records)
        for status in get_args(Status):
            self._trials.set(ended[status], {**name, "status": status})
        self._planned.set(self._search.plan.number, name)
        finished = [record.mean for record in records if record.status == "finished"]
        if finished:
            self._best.set(max(finished), name)

    def _report_until_stopped(self) -> None:
        while not self._stop.is_set():
            self.report()
            self._stop.wait(EVERY_S)
