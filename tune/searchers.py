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

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next candidate, or that there is none left."""
        return config_of(self._waiting.pop()) if self._waiting else str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing is learnt from a result."""

    def save(self, checkpoint_path: str) -> None:
        """The journal is what a search is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        """The journal is what a search is resumed from."""


def config_of(candidate: Candidate) -> dict[str, Any]:
    """A candidate as Tune carries it."""
    return {"candidate": {"family": candidate.family, "params": dict(candidate.params)}}
