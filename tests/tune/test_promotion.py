"""Whether a winner replaces the champion: the evidence is made, the gates decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from records import LINEAGE, fitted, one_core, plan_of

from heart.bundle import Bundle
from heart.errors import UsageError
from heart.gates import Evaluation, Gate
from heart.metadata import Recipe
from heart.settings import Settings
from tune.candidates import Candidate
from tune.leaderboard import rank
from tune.plan import Plan
from tune.promotion import DUMMY, decide, evaluate, findings, fold_scores
from tune.trial import Preparer
from tune.winner import Winner, choose, metadata

LOGISTIC = Candidate("logistic_regression", {"C": 0.1})
WEAK = Candidate("logistic_regression", {"C": 0.00001})
NEIGHBOURS = Candidate("k_nearest_neighbours", {"n_neighbors": 25})
SETTINGS = Settings()


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> Iterator[None]:
    with one_core():
        yield


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(cohort="all")


def winner_of(plan: Plan, candidate: Candidate) -> Winner:
    return choose(plan, rank(plan, [fitted(plan, candidate)]), SETTINGS)


def champion_of(plan: Plan, candidate: Candidate) -> Bundle:
    won = winner_of(plan, candidate)
    assert won.graph is not None
    made = metadata(plan, won, LINEAGE, threshold=0.5, evaluation=b"{}")
    return Bundle(won.graph, made, version="7")


def verdict(evaluation: Evaluation, name: str) -> Gate:
    (gate,) = [gate for gate in evaluation.gates if gate.name == name]
    return gate


@pytest.fixture(scope="module")
def first(plan: Plan) -> Evaluation:
    return evaluate(plan, winner_of(plan, LOGISTIC), None, SETTINGS)


def test_a_good_model_passes_every_gate(plan: Plan, first: Evaluation) -> None:
    assert [gate for gate in first.gates if not gate.passed] == []
    decision = decide(plan, first, "1")
    assert (decision.version, decision.champion) == ("1", True)
    assert decision.reason == f"passed {len(first.gates)} gates"


def test_the_first_has_no_champion_to_meet(first: Evaluation) -> None:
    assert "against the champion" not in {gate.name for gate in first.gates}


@pytest.mark.full
def test_a_model_that_learnt_nothing_is_stopped(plan: Plan) -> None:
    evaluation = evaluate(plan, winner_of(plan, WEAK), None, SETTINGS)
    assert verdict(evaluation, "beats the dummy").passed
    strict = SETTINGS.model_copy(update={"gate_roc_auc_floor": 0.95})
    stopped = evaluate(plan, winner_of(plan, LOGISTIC), None, strict)
    assert not verdict(stopped, "ROC-AUC floor").passed
    decision = decide(plan, stopped, "2")
    assert not decision.champion
    assert "ROC-AUC floor: lower bound" in decision.reason


@pytest.mark.full
@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (lambda X, y: (X, 1 - y), "inverted target"),
        (lambda X, y: (X.assign(chol=200.0 + 100 * y), y), "leak"),
        (lambda X, y: (X.assign(thal=X["thal"].map({3: 2.0, 6: 1.0, 7: 3.0})), y), "mixed coding"),
    ],
)
def test_a_spoilt_table_is_stopped_by_the_audit(plan: Plan, spoil, finding: str) -> None:  # type: ignore[no-untyped-def]
    X, y = spoil(plan.train.X, plan.train.y)
    spoilt = replace(plan, train=replace(plan.train, X=X, y=y))
    (told,) = findings(spoilt)
    assert told.startswith(f"{finding}: ")
    assert findings(plan) == []


@pytest.mark.full
def test_the_same_recipe_again_replaces_nothing(plan: Plan) -> None:
    evaluation = evaluate(plan, winner_of(plan, LOGISTIC), champion_of(plan, LOGISTIC), SETTINGS)
    gate = verdict(evaluation, "against the champion")
    assert not gate.passed
    assert gate.found.startswith("+0.0000 [+0.0000, +0.0000]")


@pytest.mark.full
def test_a_simpler_family_that_is_near_replaces_the_champion(plan: Plan) -> None:
    evaluation = evaluate(plan, winner_of(plan, LOGISTIC), champion_of(plan, NEIGHBOURS), SETTINGS)
    assert verdict(evaluation, "against the champion").passed


@pytest.mark.full
def test_a_more_complex_one_must_be_better_beyond_noise(plan: Plan) -> None:
    evaluation = evaluate(plan, winner_of(plan, NEIGHBOURS), champion_of(plan, LOGISTIC), SETTINGS)
    assert not verdict(evaluation, "against the champion").passed


def test_another_cohort_is_never_champion(first: Evaluation) -> None:
    decision = decide(plan_of(), first, "8")
    assert (decision.version, decision.champion) == ("8", False)
    assert decision.reason == "cohort cleveland: the served cohort is all"


@pytest.mark.full
def test_another_cohort_does_not_meet_the_champion(plan: Plan) -> None:
    cleveland = plan_of()
    evaluation = evaluate(
        cleveland, winner_of(cleveland, LOGISTIC), champion_of(plan, LOGISTIC), SETTINGS
    )
    assert "against the champion" not in {gate.name for gate in evaluation.gates}
    assert evaluation.assessment.hospitals == ()


def test_a_champion_of_another_preprocessing_is_fitted_with_its_own(plan: Plan) -> None:
    recipe = Recipe(family="random_forest", params={"n_estimators": 10}, preprocessing="default")
    pooled = recipe.model_copy(update={"preprocessing": "reference-pooled"})
    folds = plan.data.folds[:1]
    assert fold_scores(plan, recipe, folds) != fold_scores(plan, pooled, folds)


def test_a_champion_that_does_not_converge_here_is_scored_all_the_same(plan: Plan) -> None:
    hasty = Recipe(
        family="mlp", params={"hidden": 2, "alpha": 1.0, "max_iter": 2}, preprocessing="default"
    )
    with pytest.warns(match="converge"):
        (area,) = fold_scores(plan, hasty, plan.data.folds[:1])
    assert 0 < area < 1


def test_fold_scores_are_those_of_a_trial(plan: Plan) -> None:
    preparer = Preparer(plan.data)
    for family, params in ((LOGISTIC.family, LOGISTIC.params), (DUMMY.family, DUMMY.params)):
        recipe = Recipe(family=family, params=dict(params), preprocessing="default")
        candidate = Candidate(family, params)
        expected = [preparer.score(candidate, fold).scores["roc_auc"] for fold in range(3)]
        np.testing.assert_allclose(
            fold_scores(plan, recipe, plan.data.folds), expected, rtol=0, atol=1e-12
        )


def test_an_unknown_preprocessing_is_told(plan: Plan) -> None:
    recipe = Recipe(family="dummy", params={}, preprocessing="modern")
    with pytest.raises(UsageError, match='"modern" is no preprocessing'):
        fold_scores(plan, recipe, plan.data.folds)


def test_what_makes_no_bundle_is_not_evaluated(plan: Plan) -> None:
    won = replace(winner_of(plan, LOGISTIC), graph=None)
    with pytest.raises(UsageError, match="makes no bundle"):
        evaluate(plan, won, None, SETTINGS)
