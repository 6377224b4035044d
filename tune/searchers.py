"""Where Tune gets its candidates from: a list made beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune.search import Searcher

from tune.candidates import Candidate
from tune.trial import OBJECTIVE


class ListSearcher(Searcher):
    """The candidates of a list, in its order."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        super().__init__(metric=OBJECTIVE, mode="max")
        self._waiting = list(reversed(candidates))
        self._under_way: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next candidate, that there is none left, or None while one may come back."""
        if self._waiting:
            self._under_way.add(trial_id)
            return config_of(self._waiting.pop())
        return None if self._under_way else str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing is learnt from a result."""
        self._under_way.discard(trial_id)

    def again(self, candidate: Candidate) -> None:
        """Have a candidate tried again whose trial ended without a result."""
        self._waiting.append(candidate)

    def save(self, checkpoint_path: str) -> None:
        """The journal is what a search is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        """The journal is what a search is resumed from."""


def config_of(candidate: Candidate) -> dict[str, Any]:
    """A candidate as Tune carries it."""
    return {"candidate": {"family": candidate.family, "params": dict(candidate.params)}}
