"""Records of trials, for the tests: fitted, or with scores as a test wants them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from heart.metadata import Lineage
from tune.candidates import Candidate
from tune.journal import FoldRecord, Status, TrialRecord
from tune.options import Options
from tune.plan import Plan, make_plan
from tune.space import Space
from tune.trial import METRICS, FoldScore, Preparer, encode

LINEAGE = Lineage(
    run_id="0123456789abcdef",
    search="a-search",
    cohort="all",
    space="default",
    data_sha256="d" * 64,
    code_version="1",
    seed=42,
    split_seed=42,
    test_size=0.2,
    packages={},
)


@contextmanager
def one_core() -> Iterator[None]:
    """Fits use one core, as in Ray's workers: on a busy machine two take fifty times as long."""
    with threadpool_limits(1):
        yield


def plan_of(space: Space | None = None, /, **options: object) -> Plan:
    """A plan of the Cleveland rows in three folds, unless the options say otherwise."""
    given = {"cohort": "cleveland", "folds": 3, "num_samples": 8} | options
    plan = make_plan(Options.model_validate(given))
    if space is None:
        return plan
    return replace(plan, space=space, data=replace(plan.data, preprocessing=space.preprocessing))


def fitted(plan: Plan, candidate: Candidate) -> TrialRecord:
    """A trial as it would end: fitted on each fold."""
    preparer = Preparer(plan.data)
    return ended(candidate, [preparer.score(candidate, fold) for fold in range(len(plan.data))])


def scored(
    candidate: Candidate,
    scores: Sequence[float],
    *,
    status: Status = "finished",
    message: str | None = None,
    plan: Plan | None = None,
) -> TrialRecord:
    """A trial with these areas under the ROC curve, one a fold, of a plan's rows or of six."""
    sizes = [len(rows) for _, rows in plan.data.folds] if plan else [6] * len(scores)
    folds = [
        FoldScore(dict.fromkeys(METRICS, 0.5) | {"roc_auc": s}, 0.25, np.linspace(0, 1, n), 10.0)
        for s, n in zip(scores, sizes, strict=False)
    ]
    return ended(candidate, folds, status=status, message=message)


def ended(
    candidate: Candidate,
    folds: Sequence[FoldScore],
    *,
    status: Status = "finished",
    message: str | None = None,
) -> TrialRecord:
    return TrialRecord(
        family=candidate.family,
        params=dict(candidate.params),
        status=status,
        message=message,
        worker="host:1",
        started=10.0,
        ended=20.0,
        folds=tuple(
            FoldRecord(
                scores=fold.scores,
                fit_seconds=fold.fit_seconds,
                started=fold.started,
                probabilities=encode(fold.probabilities),
            )
            for fold in folds
        ),
    )
