"""The winner: refitted on the training rows, converted, and scored once on the test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from heart import pipelines
from heart.attributes import NUMERIC
from heart.bundle import Bundle, Lineage, Metadata, Range, Recipe
from heart.comparison import paired_difference, score_interval
from heart.conversion import PARITY_BOUND, parity, probabilities, to_onnx
from heart.errors import UsageError
from heart.evaluation import Interval, intervals
from heart.files import sha256
from tune.candidates import Candidate
from tune.journal import TrialRecord
from tune.leaderboard import Entry, preferred
from tune.plan import Plan
from tune.trial import METRICS, Preparer

SERVED_COHORT: Final = "all"
THRESHOLD: Final = 0.5
DUMMY: Final = Candidate("dummy", {"strategy": "prior"})


@dataclass(frozen=True)
class Winner:
    """The chosen candidate as it would be served; ``graph`` is None where none is to be."""

    entry: Entry
    pipeline: Pipeline
    graph: bytes | None
    parity: float | None
    cv: dict[str, Interval]
    test: dict[str, Interval]
    passed_over: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """Whether a winner becomes a version, whether that becomes champion, and why."""

    version: str | None
    champion: bool
    reason: str
    postponed: bool = False


def choose(plan: Plan, board: Sequence[Entry]) -> Winner:
    """The first candidate in order of preference whose graph equals its pipeline.

    The test rows are looked at by the chosen one alone. Raises `UsageError` where no
    candidate finished all its folds, or none can be served.
    """
    passed_over: list[str] = []
    for entry in preferred(plan, board):
        pipeline = _refit(plan, entry)
        if not plan.space.registers:
            return _winner(plan, entry, pipeline, None, None, passed_over)
        if entry.record.family == DUMMY.family:
            continue
        graph = to_onnx(pipeline)
        apart = parity(pipeline, graph, pd.concat([plan.train.X, plan.test.X]))
        if apart <= PARITY_BOUND:
            return _winner(plan, entry, pipeline, graph, apart, passed_over)
        passed_over.append(
            f"{entry.record.family} {entry.candidate.id} (rank {entry.rank}): its ONNX graph "
            f"differs by {apart:.1e} in probability, more than {PARITY_BOUND:g}"
        )
    reasons = "; ".join(passed_over) or "no candidate finished all its folds"
    raise UsageError(f"the search found no model to serve: {reasons}")


def metadata(plan: Plan, winner: Winner, lineage: Lineage) -> Metadata:
    """What the winner's bundle says of itself."""
    if winner.graph is None or winner.parity is None:
        raise UsageError(f"space {plan.space.name} makes no bundle")
    columns = plan.train.X[list(NUMERIC)]
    return Metadata(
        recipe=recipe(plan, winner.entry),
        lineage=lineage,
        threshold=THRESHOLD,
        training_ranges={
            name: Range(low=float(columns[name].min()), high=float(columns[name].max()))
            for name in NUMERIC
        },
        cv=winner.cv,
        test=winner.test,
        parity=winner.parity,
        onnx_sha256=sha256(winner.graph),
    )


def recipe(plan: Plan, entry: Entry) -> Recipe:
    """What it takes to fit a candidate again."""
    return Recipe(
        family=entry.record.family,
        params=entry.record.params,
        preprocessing=plan.space.preprocessing,
    )


def decide(
    plan: Plan,
    winner: Winner,
    records: Sequence[TrialRecord],
    champion: Bundle | None,
    version: str,
) -> Decision:
    """Whether the winner replaces the champion: both recipes on the same folds."""
    if plan.cohort != SERVED_COHORT:
        return Decision(
            version, False, f"cohort {plan.cohort}: the served cohort is {SERVED_COHORT}"
        )
    mine = winner.entry.record.fold_scores
    dummy = float(np.mean(fold_scores(plan, DUMMY, plan.space.preprocessing)))
    mean = winner.entry.record.mean
    if mean <= dummy:
        return Decision(
            version, False, f"CV ROC-AUC {mean:.4f} does not beat the dummy's {dummy:.4f}"
        )
    if champion is None:
        return Decision(
            version, True, f"first champion: CV ROC-AUC {mean:.4f}, the dummy's {dummy:.4f}"
        )
    theirs = _champion_scores(plan, records, champion.metadata.recipe)
    difference = paired_difference(mine, theirs, folds=plan.options.folds)
    compared = (
        f"CV ROC-AUC {mean:.4f} against {np.mean(theirs):.4f} of champion version "
        f"{champion.version} on the same folds, difference {difference.value:+.4f} "
        f"[{difference.low:+.4f}, {difference.high:+.4f}]"
    )
    return Decision(version, difference.value > 0, compared)


def fold_scores(plan: Plan, candidate: Candidate, preprocessing: str) -> list[float]:
    """ROC-AUC of a recipe on each fold of the search."""
    checked = next((p for p in pipelines.PREPROCESSINGS if p == preprocessing), None)
    if checked is None:
        raise UsageError(f'"{preprocessing}" is no preprocessing', field="preprocessing")
    preparer = Preparer(replace(plan.data, preprocessing=checked))
    return [preparer.score(candidate, fold).scores["roc_auc"] for fold in range(len(plan.data))]


def _champion_scores(plan: Plan, records: Sequence[TrialRecord], recipe: Recipe) -> list[float]:
    candidate = Candidate(recipe.family, recipe.params)
    if recipe.preprocessing == plan.space.preprocessing:
        for record in records:
            if record.candidate.id == candidate.id and record.status == "finished":
                return record.fold_scores
    return fold_scores(plan, candidate, recipe.preprocessing)


def _refit(plan: Plan, entry: Entry) -> Pipeline:
    pipeline = pipelines.build(
        entry.record.family,
        entry.record.params,
        seed=plan.options.seed,
        preprocessing=plan.space.preprocessing,
    )
    return pipeline.fit(plan.train.X, plan.train.y)


def _winner(
    plan: Plan,
    entry: Entry,
    pipeline: Pipeline,
    graph: bytes | None,
    apart: float | None,
    passed_over: Sequence[str],
) -> Winner:
    folds = entry.record.folds
    return Winner(
        entry=entry,
        pipeline=pipeline,
        graph=graph,
        parity=apart,
        cv={
            name: score_interval([f.scores[name] for f in folds], folds=plan.options.folds)
            for name in METRICS
        },
        test=intervals(
            plan.test.y,
            probabilities(pipeline, plan.test.X),
            threshold=THRESHOLD,
            seed=plan.options.seed,
        ),
        passed_over=tuple(passed_over),
    )
