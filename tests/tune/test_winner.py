"""The winner: what may be served, and whether it replaces the champion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from records import LINEAGE, fitted, one_core, plan_of, scored
from sklearn.metrics import roc_auc_score

from heart.bundle import Bundle
from heart.conversion import PARITY_BOUND
from heart.errors import UsageError
from tune.candidates import Candidate
from tune.leaderboard import Entry, rank
from tune.plan import Plan
from tune.spaces import FamilySpace, Space
from tune.trial import METRICS, Preparer
from tune.winner import DUMMY, Decision, Winner, choose, decide, fold_scores, metadata

LOGISTIC = Candidate("logistic_regression", {"C": 0.1})
WEAK = Candidate("logistic_regression", {"C": 0.00001})
FOREST = Candidate("random_forest", {"n_estimators": 30})
SCALED = Space(
    "scaled",
    (FamilySpace("dummy"), FamilySpace("logistic_regression"), FamilySpace("random_forest")),
    preprocessing="reference-pooled",
)


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> Iterator[None]:
    with one_core():
        yield


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(cohort="all")


@pytest.fixture(scope="module")
def won(plan: Plan) -> Winner:
    return choose(plan, rank(plan, [fitted(plan, LOGISTIC), fitted(plan, DUMMY)]))


@pytest.fixture(scope="module")
def champion(plan: Plan, won: Winner) -> Bundle:
    assert won.graph is not None
    return Bundle(won.graph, metadata(plan, won, LINEAGE), version="7")


def winner_with(won: Winner, candidate: Candidate, scores: list[float]) -> Winner:
    """The winner of another search: its scores on the same folds."""
    return replace(won, entry=Entry(1, scored(candidate, scores), 0.0))


def test_the_first_in_rank_wins(won: Winner) -> None:
    assert won.entry.rank == 1
    assert won.entry.candidate == LOGISTIC
    assert won.passed_over == ()
    assert won.parity is not None
    assert won.parity <= PARITY_BOUND


def test_it_is_fitted_on_the_training_rows_and_scored_on_the_test_rows(
    plan: Plan, won: Winner
) -> None:
    again = won.pipeline.__sklearn_clone__().fit(plan.train.X, plan.train.y)
    p = again.predict_proba(plan.test.X)[:, 1]
    np.testing.assert_array_equal(won.pipeline.predict_proba(plan.test.X)[:, 1], p)
    assert won.test["roc_auc"].value == pytest.approx(roc_auc_score(plan.test.y, p))
    assert won.test["roc_auc"].low < won.test["roc_auc"].value < won.test["roc_auc"].high


def test_its_cross_validation_is_that_of_its_folds(won: Winner) -> None:
    assert set(won.cv) == set(METRICS)
    for name, interval in won.cv.items():
        folds = [fold.scores[name] for fold in won.entry.record.folds]
        assert interval.value == pytest.approx(np.mean(folds))
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_its_bundle_predicts_what_its_pipeline_does(
    plan: Plan, won: Winner, champion: Bundle
) -> None:
    served = champion.predict(plan.test.X.to_numpy())
    p = won.pipeline.predict_proba(plan.test.X)[:, 1]
    np.testing.assert_allclose(served, p, rtol=0, atol=PARITY_BOUND)


def test_its_bundle_says_how_to_fit_it_again(plan: Plan, champion: Bundle) -> None:
    recipe = champion.metadata.recipe
    assert (recipe.family, recipe.params) == (LOGISTIC.family, LOGISTIC.params)
    assert recipe.preprocessing == "default"
    ages = plan.train.X["age"]
    known = champion.metadata.training_ranges["age"]
    assert (known.low, known.high) == (ages.min(), ages.max())


def test_a_candidate_whose_graph_differs_is_passed_over() -> None:
    plan = plan_of(SCALED, cohort="all")
    records = [scored(FOREST, [0.95, 0.95, 0.95]), scored(LOGISTIC, [0.8, 0.8, 0.8])]
    won = choose(plan, rank(plan, records))
    assert won.entry.candidate == LOGISTIC
    assert won.entry.rank == 2
    (reason,) = won.passed_over
    assert reason.startswith(f"random_forest {FOREST.id} (rank 1): its ONNX graph differs by ")
    assert reason.endswith("in probability, more than 1e-05")


def test_a_candidate_that_does_not_convert_is_passed_over(plan: Plan) -> None:
    odd = Candidate("k_nearest_neighbours", {"n_neighbors": 9, "metric": "chebyshev"})
    records = [scored(odd, [0.95, 0.95, 0.95]), scored(LOGISTIC, [0.8, 0.8, 0.8])]
    won = choose(plan, rank(plan, records))
    assert won.entry.candidate == LOGISTIC
    assert "it does not convert to ONNX: metric='chebyshev'" in won.passed_over[0]


def test_the_dummy_is_not_served(plan: Plan) -> None:
    records = [scored(DUMMY, [0.95, 0.95, 0.95]), scored(LOGISTIC, [0.8, 0.8, 0.8])]
    won = choose(plan, rank(plan, records))
    assert won.entry.candidate == LOGISTIC
    assert "the dummy is what a model must beat" in won.passed_over[0]


def test_one_se_prefers_the_simpler_one() -> None:
    plan = plan_of(select="one-se")
    records = [scored(FOREST, [0.9, 0.8, 0.85]), scored(LOGISTIC, [0.9, 0.8, 0.82])]
    assert choose(plan, rank(plan, records)).entry.candidate == LOGISTIC


def test_a_space_that_does_not_register_makes_no_graph() -> None:
    plan = plan_of(cohort="cleveland", space="reference")
    won = choose(plan, rank(plan, [scored(FOREST, [0.9, 0.9, 0.9])]))
    assert (won.graph, won.parity) == (None, None)
    assert won.entry.candidate == FOREST
    with pytest.raises(UsageError, match="space reference makes no bundle"):
        metadata(plan, won, LINEAGE)


def test_nothing_finished_is_told(plan: Plan) -> None:
    unfinished = [
        scored(LOGISTIC, [0.9], status="stopped"),
        scored(FOREST, [], status="failed", message="it raised"),
    ]
    for records in (unfinished, []):
        with pytest.raises(UsageError, match="no candidate finished all its folds"):
            choose(plan, rank(plan, records))


def test_the_dummy_alone_is_told(plan: Plan) -> None:
    with pytest.raises(UsageError, match=r"no model to serve: dummy .* the dummy is what"):
        choose(plan, rank(plan, [scored(DUMMY, [0.5, 0.5, 0.5])]))


def test_the_first_good_model_becomes_champion(plan: Plan, won: Winner) -> None:
    decision = decide(plan, won, [], None, "1")
    assert decision == Decision("1", True, decision.reason)
    assert decision.reason.startswith("first champion: CV ROC-AUC 0.8")
    assert decision.reason.endswith("the dummy's 0.5000")


@pytest.mark.parametrize("score", [0.4, 0.5])
def test_what_does_not_beat_the_dummy_is_no_champion(plan: Plan, won: Winner, score: float) -> None:
    decision = decide(plan, winner_with(won, LOGISTIC, [score] * 3), [], None, "1")
    assert not decision.champion
    assert decision.version == "1"
    assert f"CV ROC-AUC {score:.4f} does not beat the dummy's 0.5000" in decision.reason


def test_another_cohort_is_never_champion(won: Winner, champion: Bundle) -> None:
    perfect = winner_with(won, FOREST, [1.0, 1.0, 1.0])
    for before in (None, champion):
        decision = decide(plan_of(), perfect, [], before, "8")
        assert (decision.version, decision.champion) == ("8", False)
        assert decision.reason == "cohort cleveland: the served cohort is all"


def test_better_on_the_same_folds_replaces_the_champion(
    plan: Plan, won: Winner, champion: Bundle
) -> None:
    theirs = won.entry.record.fold_scores
    for apart, becomes in ((0.01, True), (-0.01, False), (0.0, False)):
        scores = [score + apart for score in theirs]
        decision = decide(plan, winner_with(won, FOREST, scores), [], champion, "8")
        assert decision.champion is becomes
        assert f"against {np.mean(theirs):.4f} of champion version 7 on the same folds" in (
            decision.reason
        )
        assert f"difference {apart:+.4f} [{apart:+.4f}, {apart:+.4f}]" in decision.reason.replace(
            "-0.0000", "+0.0000"
        )


def test_a_champion_among_the_trials_is_not_fitted_again(
    plan: Plan, won: Winner, champion: Bundle
) -> None:
    told = [scored(LOGISTIC, [0.99, 0.99, 0.99])]
    decision = decide(plan, winner_with(won, FOREST, [0.9] * 3), told, champion, "8")
    assert not decision.champion
    assert "against 0.9900 of champion" in decision.reason


def test_a_champion_that_was_stopped_here_is_fitted(
    plan: Plan, won: Winner, champion: Bundle
) -> None:
    told = [scored(LOGISTIC, [0.99, 0.99], status="stopped")]
    decision = decide(plan, winner_with(won, FOREST, [0.95] * 3), told, champion, "8")
    assert decision.champion


def test_a_champion_of_another_preprocessing_is_fitted_with_its_own(
    won: Winner, champion: Bundle
) -> None:
    plan = plan_of(SCALED, cohort="all")
    told = [scored(LOGISTIC, [0.99, 0.99, 0.99])]
    decision = decide(plan, winner_with(won, FOREST, [0.95] * 3), told, champion, "8")
    assert decision.champion
    assert f"against {won.entry.record.mean:.4f}" in decision.reason


def test_a_champion_that_does_not_converge_here_is_compared_all_the_same(
    plan: Plan, won: Winner
) -> None:
    hasty = Candidate("mlp", {"hidden": 2, "alpha": 1.0, "max_iter": 2})
    assert won.graph is not None
    made = metadata(plan, winner_with(won, hasty, [0.9] * 3), LINEAGE)
    with pytest.warns(match="converge"):
        decision = decide(plan, won, [], Bundle(won.graph, made, version="7"), "8")
    assert "of champion version 7" in decision.reason


def test_fold_scores_are_those_of_a_trial(plan: Plan) -> None:
    preparer = Preparer(plan.data)
    for candidate in (LOGISTIC, WEAK, DUMMY):
        expected = [preparer.score(candidate, fold).scores["roc_auc"] for fold in range(3)]
        found = fold_scores(plan, candidate, "default")
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_an_unknown_preprocessing_is_told(plan: Plan) -> None:
    with pytest.raises(UsageError, match='"modern" is no preprocessing'):
        fold_scores(plan, LOGISTIC, "modern")
