"""Whether a winner may replace the champion: the evidence, the gates, the decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from heart import pipelines
from heart.assessment import Assessment, Predicted, assess
from heart.audit import audit
from heart.bundle import Bundle, open_session, run_graph
from heart.calibration import Floats
from heart.cohorts import Cohort
from heart.conversion import probabilities
from heart.errors import UsageError
from heart.evaluation import scores
from heart.gates import Evaluation, Evidence, Gate, Scored, failures, judge
from heart.metadata import Recipe
from heart.settings import Settings
from tune.plan import Plan
from tune.trial import Fold, make_folds
from tune.winner import Winner, recipe

SERVED_COHORT: Final = "all"
DUMMY: Final = Recipe(family="dummy", params={"strategy": "prior"}, preprocessing="default")
REPEATS: Final = 4
"""Of the folds on which champion and challenger meet; their seeds are not the search's, whose
folds the challenger was chosen on."""
SEED_APART: Final = 1000


@dataclass(frozen=True)
class Decision:
    """Whether a winner becomes a version, whether that becomes champion, and why."""

    version: str | None
    champion: bool
    reason: str
    gates: tuple[Gate, ...] = ()
    postponed: bool = False


def evaluate(plan: Plan, won: Winner, champion: Bundle | None, settings: Settings) -> Evaluation:
    """Measure a winner and hold it against the gates, and against the champion's recipe."""
    if won.graph is None or won.parity is None:
        raise UsageError(f"space {plan.space.name} makes no bundle")
    session, calibration = open_session(won.graph), won.out_of_fold.calibration
    ours = theirs = None
    if champion is not None and plan.cohort == SERVED_COHORT:
        print(f"comparing with champion version {champion.version} on the same folds")
        ours, theirs = _met(plan, recipe(plan, won.entry)), _met(plan, champion.metadata.recipe)
    evidence = Evidence(
        fold_scores=won.entry.record.fold_scores,
        dummy=fold_scores(plan, DUMMY, plan.data.folds),
        folds=plan.options.folds,
        assessment=_assess(plan, won, settings),
        parity=won.parity,
        predict=lambda rows: calibration.apply(run_graph(session, rows)),
        rows=plan.train.X.to_numpy(),
        findings=findings(plan),
        challenger=ours,
        champion=theirs,
    )
    return Evaluation(assessment=evidence.assessment, gates=judge(evidence, settings))


def decide(plan: Plan, evaluation: Evaluation, version: str) -> Decision:
    """Whether a version becomes champion: of the served cohort, and through all gates."""
    if plan.cohort != SERVED_COHORT:
        reason = f"cohort {plan.cohort}: the served cohort is {SERVED_COHORT}"
        return Decision(version, False, reason, gates=evaluation.gates)
    if not evaluation.passed:
        reason = f"stopped by a gate: {failures(evaluation.gates)}"
        return Decision(version, False, reason, gates=evaluation.gates)
    reason = f"passed {len(evaluation.gates)} gates"
    return Decision(version, True, reason, gates=evaluation.gates)


def fold_scores(plan: Plan, recipe: Recipe, folds: Sequence[Fold]) -> list[float]:
    """ROC-AUC of a recipe on each fold.

    A champion that served is scored though a fit of it does not converge on these folds,
    which makes a candidate fail.
    """
    model = _model(recipe, seed=plan.data.seed)
    found: list[float] = []
    # One thread, as in the workers: the scores are the same, and threads spin.
    with threadpool_limits(limits=1):
        for fit, score in folds:
            model.fit(plan.data.X.iloc[fit], plan.data.y[fit])
            p = probabilities(model, plan.data.X.iloc[score])
            found.append(scores(plan.data.y[score], p)["roc_auc"])
    return found


def _met(plan: Plan, recipe: Recipe) -> Scored:
    """A recipe on folds that neither side was chosen on."""
    folds = make_folds(
        plan.train.y,
        folds=plan.options.folds,
        repeats=REPEATS,
        seed=plan.options.seed + SEED_APART,
    )
    return Scored(recipe.family, fold_scores(plan, recipe, folds))


def _assess(plan: Plan, won: Winner, settings: Settings) -> Assessment:
    calibration = won.out_of_fold.calibration

    def fit(patients: Cohort) -> Callable[[pd.DataFrame], Floats]:
        model = _model(recipe(plan, won.entry), seed=plan.data.seed)
        with threadpool_limits(limits=1):
            model.fit(patients.X, patients.y)
        return lambda X: probabilities(model, X)

    return assess(
        Predicted(plan.train, won.out_of_fold.p),
        Predicted(plan.test, calibration.apply(probabilities(won.pipeline, plan.test.X))),
        fit=fit,
        bounds=won.out_of_fold.bounds,
        briers=won.out_of_fold.briers,
        threshold=settings.threshold,
        seed=plan.options.seed,
    )


def findings(plan: Plan) -> list[str]:
    """What the audit of the rows, and of both sides of the split, finds serious."""
    train, test = (
        part.X.assign(target=part.y, site=part.sites) for part in (plan.train, plan.test)
    )
    return [
        f"{finding.name}: {finding.found}"
        for finding in audit(train, test=test).findings
        if finding.severity == "serious"
    ]


def _model(recipe: Recipe, *, seed: int) -> Pipeline:
    checked = next((p for p in pipelines.PREPROCESSINGS if p == recipe.preprocessing), None)
    if checked is None:
        raise UsageError(f'"{recipe.preprocessing}" is no preprocessing', field="preprocessing")
    return pipelines.build(recipe.family, recipe.params, seed=seed, preprocessing=checked)
