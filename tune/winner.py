"""The winner: refitted on the training rows, converted, and scored once on the test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from heart import pipelines
from heart.attributes import NUMERIC
from heart.bundle import Bundle, Lineage, Metadata, Range, Recipe
from heart.comparison import paired_difference, score_interval
from heart.conversion import PARITY_BOUND, parity, probabilities, to_onnx
from heart.errors import BundleError, UsageError
from heart.evaluation import Interval, intervals, scores
from heart.files import sha256
from tune.candidates import Candidate
from tune.journal import TrialRecord
from tune.leaderboard import Entry, preferred
from tune.plan import Plan
from tune.trial import METRICS

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


class _NotServableError(Exception):
    """Why the next candidate in rank has to win."""


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
        try:
            graph, apart = _convert(plan, entry, pipeline)
        except _NotServableError as reason:
            passed_over.append(
                f"{entry.record.family} {entry.candidate.id} (rank {entry.rank}): {reason}"
            )
        else:
            return _winner(plan, entry, pipeline, graph, apart, passed_over)
    reasons = "; ".join(passed_over) or "no candidate finished all its folds"
    raise UsageError(f"the search found no model to serve: {reasons}")


def _convert(plan: Plan, entry: Entry, pipeline: Pipeline) -> tuple[bytes, float]:
    """The graph of a candidate and how far it is from its pipeline."""
    if entry.record.family == DUMMY.family:
        raise _NotServableError("the dummy is what a model must beat")
    try:
        graph = to_onnx(pipeline)
        apart = parity(pipeline, graph, pd.concat([plan.train.X, plan.test.X]))
    except (RuntimeError, BundleError) as error:
        reason = str(error).partition("\n")[0]
        raise _NotServableError(f"it does not convert to ONNX: {reason}") from error
    if not apart <= PARITY_BOUND:  # nor is NaN
        raise _NotServableError(
            f"its ONNX graph differs by {apart:.1e} in probability, more than {PARITY_BOUND:g}"
        )
    return graph, apart


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
    becomes, reason = _compare(plan, winner, records, champion)
    return Decision(version, becomes, reason)


def _compare(
    plan: Plan, winner: Winner, records: Sequence[TrialRecord], champion: Bundle | None
) -> tuple[bool, str]:
    if plan.cohort != SERVED_COHORT:
        return False, f"cohort {plan.cohort}: the served cohort is {SERVED_COHORT}"
    mean = winner.entry.record.mean
    dummy = float(np.mean(fold_scores(plan, DUMMY, plan.space.preprocessing)))
    if mean <= dummy:
        return False, f"CV ROC-AUC {mean:.4f} does not beat the dummy's {dummy:.4f}"
    if champion is None:
        return True, f"first champion: CV ROC-AUC {mean:.4f}, the dummy's {dummy:.4f}"
    theirs = _champion_scores(plan, records, champion.metadata.recipe)
    difference = paired_difference(
        winner.entry.record.fold_scores, theirs, folds=plan.options.folds
    )
    return difference.value > 0, (
        f"CV ROC-AUC {mean:.4f} against {np.mean(theirs):.4f} of champion version "
        f"{champion.version} on the same folds, difference {difference.value:+.4f} "
        f"[{difference.low:+.4f}, {difference.high:+.4f}]"
    )


def fold_scores(plan: Plan, candidate: Candidate, preprocessing: str) -> list[float]:
    """ROC-AUC of a recipe on each fold of the search.

    A champion that served is scored though a fit of it does not converge on these folds,
    which makes a candidate fail.
    """
    checked = next((p for p in pipelines.PREPROCESSINGS if p == preprocessing), None)
    if checked is None:
        raise UsageError(f'"{preprocessing}" is no preprocessing', field="preprocessing")
    data = plan.data
    model = pipelines.build(
        candidate.family, candidate.params, seed=data.seed, preprocessing=checked
    )
    found: list[float] = []
    # One thread, as in the workers: the scores are the same, and threads spin.
    with threadpool_limits(limits=1):
        for fit, score in data.folds:
            model.fit(data.X.iloc[fit], data.y[fit])
            p = probabilities(model, data.X.iloc[score])
            found.append(scores(data.y[score], p)["roc_auc"])
    return found


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
    with threadpool_limits(limits=1):
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
