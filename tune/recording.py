"""What Tune tells of its trials: which run, which ended and how, and whether to go on."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial

from tune.candidates import Candidate
from tune.journal import TrialRecord, record_of
from tune.plan import Plan
from tune.searchers import ListSearcher

MAX_FAILURES: Final = 3


@dataclass
class Fitting:
    """A search under way: what has ended, what is running, and whether it is to stop."""

    plan: Plan
    on_record: Callable[[TrialRecord], None]
    workers: int = 1
    running: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None


class NotPickled:
    """Tune pickles its configuration for ``Tuner.restore``; nothing is restored from it here."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StopNow(NotPickled, Stopper):
    """Stops every trial once the main thread says so."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial is to stop."""
        return self._stop.is_set()

    def stop_all(self) -> bool:
        """Whether all are."""
        return self._stop.is_set()


class Recorder(NotPickled, Callback):
    """Hands each trial that ends to the search."""

    def __init__(self, fitting: Fitting, searcher: ListSearcher) -> None:
        self._fitting, self._searcher = fitting, searcher
        self._losses: Counter[str] = Counter()

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial that a worker takes."""
        self._fitting.running.add(trial.trial_id)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial whose worker was lost, and which waits for another."""
        self._fitting.running.discard(trial.trial_id)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial that finished, failed by its own error, or was stopped by the scheduler."""
        self._fitting.running.discard(trial.trial_id)
        if not self._fitting.stop.is_set():
            self._record(trial, trial.last_result)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial whose worker was lost again and again, or just when it was to take it.

        The latter Tune gives up at once, so the candidate is handed back. Counted is how often
        it was given up: of one worker that dies Tune may count several failures.
        """
        self._fitting.running.discard(trial.trial_id)
        if self._fitting.stop.is_set():
            return
        candidate = Candidate(**trial.config["candidate"])
        self._losses[candidate.id] += 1
        losses = self._losses[candidate.id]
        if losses <= MAX_FAILURES:
            self._searcher.again(candidate)
        else:
            self._record(
                trial, {"error_message": f"given up {losses} times, as its workers were lost"}
            )

    def _record(self, trial: Trial, result: dict[str, Any]) -> None:
        folds = len(self._fitting.plan.data)
        record = record_of(trial.config, result, folds=folds, ended=time.time())
        self._fitting.on_record(record)
