"""The winner: refitted on the training rows, converted, and scored once on the test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from heart import pipelines
from heart.assessment import defined
from heart.attributes import NUMERIC
from heart.calibration import Calibration
from heart.comparison import score_interval
from heart.conversion import PARITY_BOUND, parity, probabilities, to_onnx
from heart.errors import BundleError, UsageError
from heart.evaluation import Interval, intervals
from heart.explanation import reference_patient
from heart.files import sha256
from heart.metadata import Lineage, Metadata, Range, Recipe
from heart.settings import Settings
from tune.leaderboard import Entry, preferred
from tune.out_of_fold import OutOfFold, out_of_fold
from tune.plan import Plan
from tune.trial import METRICS

DUMMY: Final = "dummy"


@dataclass(frozen=True)
class Winner:
    """The chosen candidate as it would be served; ``graph`` is None where none is to be."""

    entry: Entry
    pipeline: Pipeline
    graph: bytes | None
    parity: float | None
    out_of_fold: OutOfFold
    cv: dict[str, Interval]
    test: dict[str, Interval]
    passed_over: tuple[str, ...]


class _NotServableError(Exception):
    """Why the next candidate in rank has to win."""


def choose(plan: Plan, board: Sequence[Entry], settings: Settings) -> Winner:
    """The first candidate in order of preference whose graph equals its pipeline.

    The test rows are looked at by the chosen one alone. Raises `UsageError` where no
    candidate finished all its folds, or none can be served.
    """
    passed_over: list[str] = []
    for entry in preferred(plan, board):
        pipeline = _refit(plan, entry)
        if not plan.space.registers:
            return _winner(plan, entry, pipeline, settings, None, None, passed_over)
        try:
            graph, apart = _convert(plan, entry, pipeline)
        except _NotServableError as reason:
            passed_over.append(
                f"{entry.record.family} {entry.candidate.id} (rank {entry.rank}): {reason}"
            )
        else:
            return _winner(plan, entry, pipeline, settings, graph, apart, passed_over)
    reasons = "; ".join(passed_over) or "no candidate finished all its folds"
    raise UsageError(f"the search found no model to serve: {reasons}")


def _convert(plan: Plan, entry: Entry, pipeline: Pipeline) -> tuple[bytes, float]:
    """The graph of a candidate and how far it is from its pipeline."""
    if entry.record.family == DUMMY:
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


def metadata(
    plan: Plan, winner: Winner, lineage: Lineage, *, threshold: float, evaluation: bytes
) -> Metadata:
    """What the winner's bundle says of itself."""
    if winner.graph is None or winner.parity is None:
        raise UsageError(f"space {plan.space.name} makes no bundle")
    columns = plan.train.X[list(NUMERIC)]
    return Metadata(
        recipe=recipe(plan, winner.entry),
        lineage=lineage,
        threshold=threshold,
        calibration=winner.out_of_fold.calibration,
        bounds=winner.out_of_fold.bounds,
        training_ranges={
            name: Range(low=float(columns[name].min()), high=float(columns[name].max()))
            for name in NUMERIC
        },
        reference=reference_patient(plan.train.X.to_numpy()),
        cv=winner.cv,
        test=winner.test,
        parity=winner.parity,
        onnx_sha256=sha256(winner.graph),
        evaluation_sha256=sha256(evaluation),
    )


def recipe(plan: Plan, entry: Entry) -> Recipe:
    """What it takes to fit a candidate again."""
    return Recipe(
        family=entry.record.family,
        params=entry.record.params,
        preprocessing=plan.space.preprocessing,
    )


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
    settings: Settings,
    graph: bytes | None,
    apart: float | None,
    passed_over: Sequence[str],
) -> Winner:
    folds = entry.record.folds
    found = out_of_fold(plan, entry.record, error_rate=settings.error_rate)
    if graph is None:
        # Nothing is served of a published recipe: its own probabilities are what it reports.
        found = replace(found, calibration=Calibration())
    return Winner(
        entry=entry,
        pipeline=pipeline,
        graph=graph,
        parity=apart,
        out_of_fold=found,
        cv={
            name: score_interval([f.scores[name] for f in folds], folds=plan.options.folds)
            for name in METRICS
        },
        test=defined(
            intervals(
                plan.test.y,
                found.calibration.apply(probabilities(pipeline, plan.test.X)),
                threshold=settings.threshold,
                seed=plan.options.seed,
            )
        ),
        passed_over=tuple(passed_over),
    )
