"""The winner: what may be served, fitted and calibrated on the training rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from records import LINEAGE, fitted, one_core, plan_of, scored
from sklearn.metrics import roc_auc_score

from heart.bundle import Bundle
from heart.conversion import PARITY_BOUND
from heart.errors import UsageError
from heart.settings import Settings
from tune.candidates import Candidate
from tune.leaderboard import rank
from tune.plan import Plan
from tune.space import FamilySpace, Space
from tune.trial import METRICS
from tune.winner import Winner, choose, metadata

LOGISTIC = Candidate("logistic_regression", {"C": 0.1})
DUMMY = Candidate("dummy", {"strategy": "prior"})
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
    return choose(plan, rank(plan, [fitted(plan, LOGISTIC), fitted(plan, DUMMY)]), Settings())


@pytest.fixture(scope="module")
def champion(plan: Plan, won: Winner) -> Bundle:
    assert won.graph is not None
    return Bundle(
        won.graph, metadata(plan, won, LINEAGE, threshold=0.5, evaluation=b"{}"), version="7"
    )


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
    served = won.out_of_fold.calibration.apply(p)
    assert won.test["roc_auc"].value == pytest.approx(roc_auc_score(plan.test.y, served))
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
    p = won.out_of_fold.calibration.apply(won.pipeline.predict_proba(plan.test.X)[:, 1])
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
    records = [
        scored(FOREST, [0.95, 0.95, 0.95], plan=plan),
        scored(LOGISTIC, [0.8, 0.8, 0.8], plan=plan),
    ]
    won = choose(plan, rank(plan, records), Settings())
    assert won.entry.candidate == LOGISTIC
    assert won.entry.rank == 2
    (reason,) = won.passed_over
    assert reason.startswith(f"random_forest {FOREST.id} (rank 1): its ONNX graph differs by ")
    assert reason.endswith("in probability, more than 1e-05")


def test_a_candidate_that_does_not_convert_is_passed_over(plan: Plan) -> None:
    odd = Candidate("k_nearest_neighbours", {"n_neighbors": 9, "metric": "chebyshev"})
    records = [
        scored(odd, [0.95, 0.95, 0.95], plan=plan),
        scored(LOGISTIC, [0.8, 0.8, 0.8], plan=plan),
    ]
    won = choose(plan, rank(plan, records), Settings())
    assert won.entry.candidate == LOGISTIC
    assert "it does not convert to ONNX: metric='chebyshev'" in won.passed_over[0]


def test_the_dummy_is_not_served(plan: Plan) -> None:
    records = [
        scored(DUMMY, [0.95, 0.95, 0.95], plan=plan),
        scored(LOGISTIC, [0.8, 0.8, 0.8], plan=plan),
    ]
    won = choose(plan, rank(plan, records), Settings())
    assert won.entry.candidate == LOGISTIC
    assert "the dummy is what a model must beat" in won.passed_over[0]


def test_one_se_prefers_the_simpler_one() -> None:
    plan = plan_of(select="one-se")
    records = [
        scored(FOREST, [0.9, 0.8, 0.85], plan=plan),
        scored(LOGISTIC, [0.9, 0.8, 0.82], plan=plan),
    ]
    assert choose(plan, rank(plan, records), Settings()).entry.candidate == LOGISTIC


def test_a_space_that_does_not_register_makes_no_graph() -> None:
    plan = plan_of(cohort="cleveland", space="reference")
    won = choose(plan, rank(plan, [scored(FOREST, [0.9, 0.9, 0.9], plan=plan)]), Settings())
    assert (won.graph, won.parity) == (None, None)
    assert won.entry.candidate == FOREST
    with pytest.raises(UsageError, match="space reference makes no bundle"):
        metadata(plan, won, LINEAGE, threshold=0.5, evaluation=b"{}")


def test_nothing_finished_is_told(plan: Plan) -> None:
    unfinished = [
        scored(LOGISTIC, [0.9], status="stopped"),
        scored(FOREST, [], status="failed", message="it raised"),
    ]
    for records in (unfinished, []):
        with pytest.raises(UsageError, match="no candidate finished all its folds"):
            choose(plan, rank(plan, records), Settings())


def test_the_dummy_alone_is_told(plan: Plan) -> None:
    with pytest.raises(UsageError, match=r"no model to serve: dummy .* the dummy is what"):
        choose(plan, rank(plan, [scored(DUMMY, [0.5, 0.5, 0.5], plan=plan)]), Settings())
