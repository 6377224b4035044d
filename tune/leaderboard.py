"""Which candidate is best, and by what rule."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heart.comparison import corrected_standard_error, paired_difference
from tune.candidates import Candidate
from tune.journal import TrialRecord
from tune.plan import Plan

RULES = {
    "best": "the highest mean ROC-AUC over all folds",
    "one-se": (
        "the simplest, in the order of the space, whose mean ROC-AUC is within one corrected "
        "standard error of the paired difference from the best"
    ),
}
COLUMNS = (
    "rank",
    "candidate",
    "family",
    "params",
    "status",
    "folds",
    "mean_roc_auc",
    "standard_error",
    "fit_seconds",
    "worker",
    "message",
)


@dataclass(frozen=True)
class Entry:
    """A line of the leaderboard; ``rank`` is None where not all folds were run."""

    rank: int | None
    record: TrialRecord
    standard_error: float

    @property
    def candidate(self) -> Candidate:
        """What was fitted."""
        return self.record.candidate

    def row(self) -> dict[str, Any]:
        """The line as it is written."""
        record = self.record
        return {
            "rank": self.rank,
            "candidate": self.candidate.id,
            "family": record.family,
            "params": json.dumps(record.params),
            "status": record.status,
            "folds": len(record.folds),
            "mean_roc_auc": None if not record.folds else round(record.mean, 6),
            "standard_error": (
                None
                if self.standard_error != self.standard_error
                else round(self.standard_error, 6)
            ),
            "fit_seconds": round(record.fit_seconds, 3),
            "worker": record.worker,
            "message": record.message,
        }


def rank(plan: Plan, records: Sequence[TrialRecord]) -> list[Entry]:
    """The leaderboard: ranked ones first, then those stopped early, then those that failed.

    Equal means go to the candidate whose family the space names first, then by id, so that
    the order does not depend on which trial ended when.
    """
    order = {family.family: place for place, family in enumerate(plan.space.families)}

    def key(record: TrialRecord) -> tuple[Any, ...]:
        mean = record.mean if record.folds else 0.0
        return (-len(record.folds), -mean, order[record.family], record.candidate.id)

    whole = sorted((r for r in records if r.status == "finished"), key=key)
    rest = sorted(
        (r for r in records if r.status != "finished"),
        key=lambda r: (r.status != "stopped", *key(r)),
    )
    ranked = [Entry(place, record, _error(plan, record)) for place, record in enumerate(whole, 1)]
    return ranked + [Entry(None, record, _error(plan, record)) for record in rest]


def preferred(plan: Plan, board: Sequence[Entry]) -> list[Entry]:
    """The ranked candidates in the order in which they may win; the first that can, does."""
    ranked = [entry for entry in board if entry.rank is not None]
    if plan.options.select == "best" or not ranked:
        return ranked
    best = ranked[0]
    order = {family.family: place for place, family in enumerate(plan.space.families)}
    near = [entry for entry in ranked if entry is best or _within_one_error(plan, best, entry)]
    near.sort(key=lambda entry: order[entry.record.family])
    return near + [entry for entry in ranked if entry not in near]


def as_csv(board: Sequence[Entry]) -> str:
    """The leaderboard as comma-separated values with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entry.row() for entry in board)
    return text.getvalue()


def _error(plan: Plan, record: TrialRecord) -> float:
    return corrected_standard_error(record.fold_scores, folds=plan.options.folds)


def _within_one_error(plan: Plan, best: Entry, other: Entry) -> bool:
    folds = plan.options.folds
    first, second = best.record.fold_scores, other.record.fold_scores
    apart = [a - b for a, b in zip(first, second, strict=True)]
    difference = paired_difference(first, second, folds=folds).value
    return difference <= corrected_standard_error(apart, folds=folds)
