"""Candidates from Optuna, each asked for in the light of those that ended.

A module of its own: only a search with ``--algorithm optuna`` pays for the import.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from ray.tune.search import Searcher

from tune.candidates import TRIES_PER_CANDIDATE, Candidate, fixed, suggest
from tune.searchers import ListSearcher, config_of
from tune.space import Space
from tune.trial import OBJECTIVE


class OptunaSearcher(ListSearcher):
    """Optuna's tree-structured Parzen estimator, several candidates under way at once.

    ``known`` are candidates of an earlier run with their scores, NaN for one that failed.
    Ray's own ``OptunaSearch`` cannot be told the results of an earlier run where the space is
    conditional, as here; a resumed search needs that.
    """

    def __init__(
        self, space: Space, *, number: int, seed: int, known: Sequence[tuple[Candidate, float]]
    ) -> None:
        super().__init__([])
        self._space, self._left = space, number
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # Pretending that pending candidates did badly keeps the workers apart.
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True
            )
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._pending: dict[str, tuple[Candidate, optuna.trial.Trial]] = {}
        self._values = {candidate.id: value for candidate, value in known}
        for candidate, value in known:
            self._tell(self._trial_of(candidate), value)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """What Optuna asks for next; it is asked again where it repeats itself."""
        if self._waiting:
            candidate = self._waiting.pop()
            self._pending[trial_id] = candidate, self._trial_of(candidate)
            return config_of(candidate)
        for _ in range(TRIES_PER_CANDIDATE if self._left else 0):
            trial = self._study.ask()
            candidate = suggest(self._space, trial)
            if candidate.id not in self._values:
                self._left -= 1
                self._values[candidate.id] = math.nan
                self._pending[trial_id] = candidate, trial
                return config_of(candidate)
            self._tell(trial, self._values[candidate.id])
        self._left = 0
        return None if self._pending else str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna the mean over the folds that were run."""
        candidate, trial = self._pending.pop(trial_id)
        failed = error or result is None or result["error_message"] is not None
        value = math.nan if failed or result is None else result[OBJECTIVE]
        self._values[candidate.id] = value
        self._tell(trial, value)

    def _trial_of(self, candidate: Candidate) -> optuna.trial.Trial:
        """A trial of Optuna's with a candidate that is chosen already."""
        self._study.enqueue_trial(fixed(self._space, candidate))
        trial = self._study.ask()
        suggest(self._space, trial)
        return trial

    def _tell(self, trial: optuna.trial.Trial, value: float) -> None:
        """Tell a value, or with NaN that there is none."""
        if math.isnan(value):
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, value)
