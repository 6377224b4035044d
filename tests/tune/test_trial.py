"""One candidate over the folds: the same scores as the plain pipeline, prepared once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import one_core, plan_of
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from heart.errors import UsageError
from heart.pipelines import PREPROCESSINGS, Preprocessing, build
from tune.candidates import Candidate, sample
from tune.journal import record_of
from tune.plan import Plan
from tune.searchers import config_of
from tune.space import FamilySpace, Space
from tune.spaces import WIDE
from tune.trial import OBJECTIVE, CandidateTrial, Preparer, decode, encode, make_folds

LOGISTIC = Candidate("logistic_regression", {"C": 0.1})
CANDIDATES = {
    candidate.family: Candidate(
        candidate.family,
        {k: 20 if k == "n_estimators" else v for k, v in candidate.params.items()},
    )
    for candidate in sample(WIDE, number=len(WIDE.families), seed=5)
}


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> Iterator[None]:
    with one_core():
        yield


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of()


@pytest.fixture(scope="module")
def preparer(plan: Plan) -> Preparer:
    return Preparer(plan.data)


def plain(
    plan: Plan, candidate: Candidate, number: int, preprocessing: Preprocessing
) -> np.ndarray[Any, Any]:
    """Probabilities of the ordinary way: a pipeline fitted on the fold's own frame."""
    fit, score = plan.data.folds[number]
    pipeline = build(candidate.family, candidate.params, seed=42, preprocessing=preprocessing)
    pipeline.fit(plan.data.X.iloc[fit], plan.data.y[fit])
    return np.asarray(pipeline.predict_proba(plan.data.X.iloc[score]))[:, 1]


@pytest.mark.parametrize("family", CANDIDATES)
def test_scores_are_those_of_the_plain_pipeline(
    plan: Plan, preparer: Preparer, family: str
) -> None:
    found = preparer.score(CANDIDATES[family], 1)
    p = plain(plan, CANDIDATES[family], 1, "default")
    y = plan.data.y[plan.data.folds[1][1]]
    np.testing.assert_allclose(found.probabilities, p, rtol=0, atol=1e-12)
    assert found.scores == pytest.approx(
        {
            "roc_auc": roc_auc_score(y, p),
            "f1": f1_score(y, p >= 0.5),
            "accuracy": accuracy_score(y, p >= 0.5),
            "brier_score": brier_score_loss(y, p),
        },
        rel=0,
        abs=1e-12,
    )


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
@pytest.mark.parametrize("family", ["logistic_regression", "decision_tree"])
def test_and_for_every_preprocessing(family: str, preprocessing: Preprocessing) -> None:
    treated = Space("mine", (FamilySpace(family),), preprocessing=preprocessing)
    plan = plan_of(treated)
    found = Preparer(plan.data).score(CANDIDATES[family], 0)
    p = plain(plan, CANDIDATES[family], 0, preprocessing)
    np.testing.assert_allclose(found.probabilities, p, rtol=0, atol=1e-12)


def test_a_fold_is_prepared_once_for_each_scaling(preparer: Preparer) -> None:
    scaled, plain_ = preparer.fold(0, "svm"), preparer.fold(0, "random_forest")
    assert preparer.fold(0, "mlp") is scaled
    assert preparer.fold(0, "extra_trees") is plain_
    assert scaled is not plain_
    assert preparer.fold(2, "svm") is not scaled
    assert np.abs(scaled.X_fit.mean(axis=0)[:5]).max() < 1e-12
    assert plain_.X_fit[:, 0].mean() > 40, "an age in years"


def test_nothing_is_learnt_from_the_rows_to_score(plan: Plan) -> None:
    fit, score = plan.data.folds[0]
    changed = plan.data.X.copy()
    changed.loc[score, "age"] += 1000
    before = Preparer(plan.data).fold(0, "svm")
    after = Preparer(type(plan.data)(changed, plan.data.y, plan.data.folds, "default", 42))
    np.testing.assert_array_equal(before.X_fit, after.fold(0, "svm").X_fit)
    assert len(before.X_fit) == len(fit)


def test_scoring_twice_gives_the_same(preparer: Preparer) -> None:
    for family in ("random_forest", "mlp", "svm"):
        first, second = (preparer.score(CANDIDATES[family], 0) for _ in range(2))
        np.testing.assert_array_equal(first.probabilities, second.probabilities)


@pytest.mark.parametrize("repeats", [1, 3])
def test_each_repeat_scores_each_row_once(repeats: int) -> None:
    y = np.repeat([0, 1], [30, 20])
    folds = make_folds(y, folds=5, repeats=repeats, seed=3)
    assert len(folds) == 5 * repeats
    for k in range(repeats):
        rows = np.concatenate([score for _, score in folds[5 * k : 5 * k + 5]])
        np.testing.assert_array_equal(np.sort(rows), np.arange(50))
        splitter = StratifiedKFold(5, shuffle=True, random_state=3 + k)
        for (_, score), (_, expected) in zip(
            folds[5 * k :], splitter.split(y.reshape(-1, 1), y), strict=False
        ):
            np.testing.assert_array_equal(score, expected)


def test_repeats_differ() -> None:
    y = np.repeat([0, 1], [30, 20])
    first, second = make_folds(y, folds=2, repeats=2, seed=3)[::2]
    assert not np.array_equal(first[1], second[1])


@pytest.mark.parametrize("folds", [-1, 0, 1, 21])
def test_folds_must_have_a_row_of_each_class(folds: int) -> None:
    with pytest.raises(UsageError, match=rf"--folds must be from 2 to 20, .*, got {folds}$"):
        make_folds(np.repeat([0, 1], [30, 20]), folds=folds, repeats=1, seed=0)
    assert len(make_folds(np.repeat([0, 1], [30, 20]), folds=20, repeats=1, seed=0)) == 20


def test_a_fit_that_does_not_converge_raises(preparer: Preparer) -> None:
    with pytest.raises(ConvergenceWarning, match="converge"):
        preparer.score(Candidate("mlp", {"hidden": 8, "alpha": 0.1, "max_iter": 2}), 0)


def test_a_probability_that_is_not_finite_raises(preparer: Preparer) -> None:
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match="a predicted probability is not finite"),
    ):
        preparer.score(Candidate("naive_bayes", {"var_smoothing": 0.0}), 0)


class Alone(CandidateTrial):
    """A worker that has no others to wait for."""

    def _wait_for_others(self) -> None:
        pass


def worker(plan: Plan, candidate: Candidate, *, stoppable: bool = True) -> Alone:
    made = Alone.__new__(Alone)
    made.setup(config_of(candidate), plan.data, None, 1, stoppable)
    return made


def last_result(trial: CandidateTrial) -> Mapping[str, Any]:
    while not (result := trial.step())["done"]:
        pass
    return result


def test_a_trial_ends_with_its_last_fold(plan: Plan) -> None:
    trial = worker(plan, LOGISTIC)
    assert [trial.step()["done"] for _ in range(3)] == [False, False, True]


def test_a_trial_that_nothing_may_stop_reports_once_and_the_same(plan: Plan) -> None:
    once = worker(plan, LOGISTIC, stoppable=False).step()
    assert once["done"]
    timed = {"folds": 0}
    assert once | timed == last_result(worker(plan, LOGISTIC)) | timed
    assert len(once["folds"]) == 3


def test_a_trial_reports_the_mean_of_the_folds_so_far(plan: Plan, preparer: Preparer) -> None:
    scores = [preparer.score(LOGISTIC, fold).scores["roc_auc"] for fold in range(3)]
    trial = worker(plan, LOGISTIC)
    for fold in range(3):
        assert trial.step()[OBJECTIVE] == pytest.approx(np.mean(scores[: fold + 1]), abs=1e-15)


def test_a_worker_takes_the_next_candidate(plan: Plan) -> None:
    trial = worker(plan, Candidate("dummy", {"strategy": "prior"}))
    assert last_result(trial)[OBJECTIVE] == 0.5
    assert trial.reset_config(config_of(LOGISTIC))
    assert last_result(trial) | {"folds": 0} == last_result(worker(plan, LOGISTIC)) | {"folds": 0}


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (Candidate("k_nearest_neighbours", {"n_neighbors": 9999}), "ValueError: .*9999"),
        (Candidate("logistic_regression", {"c": 1}), "UsageError: .*'c'"),
        (Candidate("mlp", {"hidden": 8, "max_iter": 2}), "ConvergenceWarning: .*converge"),
        (Candidate("naive_bayes", {"var_smoothing": 0.0}), "ValueError: .*not finite"),
    ],
    ids=["raises", "takes no such parameter", "does not converge", "gives NaN"],
)
def test_a_candidate_that_fails_tells_why(plan: Plan, candidate: Candidate, message: str) -> None:
    with np.errstate(all="ignore"):
        result = last_result(worker(plan, candidate))
    assert result[OBJECTIVE] == 0.0
    record = record_of(config_of(candidate), result, folds=3, ended=1.0)
    assert record.status == "failed"
    assert record.folds == ()
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(record.message)


@given(st.lists(st.floats(0, 1, width=32), max_size=50))
def test_probabilities_survive_as_text(values: list[float]) -> None:
    np.testing.assert_array_equal(decode(encode(np.array(values))), values)
