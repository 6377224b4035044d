"""The evidence: groups, hospitals left out, what is withheld."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from heart import pipelines
from heart.assessment import (
    SMALLEST_CELL,
    Assessment,
    Predicted,
    assess,
    defined,
    groups,
    leave_one_out,
)
from heart.calibration import expit
from heart.cohorts import Cohort
from heart.conversion import probabilities
from heart.decision import Bounds
from heart.evaluation import Interval

BOUNDS = Bounds(error_rate=0.1, low=0.2, high=0.8)


def fit(patients: Cohort):  # type: ignore[no-untyped-def]
    model = pipelines.build("logistic_regression", {"C": 0.1}, seed=1).fit(patients.X, patients.y)
    return lambda X: probabilities(model, X)


@pytest.fixture(scope="module")
def predicted(patients: Cohort) -> Predicted:
    rng = np.random.default_rng(0)
    return Predicted(patients, expit(2 * patients.y - 1 + rng.normal(size=len(patients))))


@pytest.fixture(scope="module")
def assessment(predicted: Predicted) -> Assessment:
    return assess(
        predicted,
        predicted,
        fit=fit,
        bounds=BOUNDS,
        briers={"none": 0.1},
        threshold=0.5,
        seed=0,
    )


def test_hospitals_left_out_are_as_known(assessment: Assessment) -> None:
    """About 0.87 for Cleveland, 0.89 Hungary, 0.75 Switzerland, 0.73 Long Beach."""
    found = {h.site: h.scores["roc_auc"].value for h in assessment.hospitals}
    expected = {"cleveland": 0.87, "hungarian": 0.89, "switzerland": 0.75, "va": 0.73}
    assert found == pytest.approx(expected, abs=0.02)
    assert sum(h.n for h in assessment.hospitals) == 918
    assert {h.site: h.negatives for h in assessment.hospitals}["switzerland"] == 8


def test_a_hospital_is_not_among_the_rows_it_is_predicted_from(patients: Cohort) -> None:
    seen: list[set[str]] = []

    def watch(part: Cohort):  # type: ignore[no-untyped-def]
        seen.append(set(part.sites.tolist()))
        return fit(part)

    found = leave_one_out(patients, fit=watch, threshold=0.5, seed=0)
    assert [h.site not in sites for h, sites in zip(found, seen, strict=True)] == [True] * 4
    assert {len(sites) for sites in seen} == {3}


def test_one_hospital_leaves_nobody_out(patients: Cohort) -> None:
    cleveland = patients.take(patients.sites == "cleveland")
    assert leave_one_out(cleveland, fit=fit, threshold=0.5, seed=0) == ()


def test_a_group_is_scored_on_its_own_rows(predicted: Predicted) -> None:
    found = {group.group: group for group in groups(predicted, threshold=0.5, seed=0)}
    women = (predicted.patients.X["sex"] == 0).to_numpy()
    expected = roc_auc_score(predicted.patients.y[women], predicted.p[women])
    scored = found["sex: female"].scores
    assert scored is not None
    assert scored["roc_auc"].value == pytest.approx(expected)
    assert found["sex: female"].n == women.sum()


@pytest.mark.full
def test_each_attribute_of_grouping_covers_everybody(predicted: Predicted) -> None:
    totals: dict[str, int] = {}
    for group in groups(predicted, threshold=0.5, seed=0):
        kind = group.group.partition(":")[0]
        totals[kind] = totals.get(kind, 0) + group.n
    assert totals == {"sex": 918, "age": 918, "site": 918}


@pytest.mark.full
def test_small_cells_are_withheld(predicted: Predicted) -> None:
    found = {group.group: group for group in groups(predicted, threshold=0.5, seed=0)}
    assert found["site: switzerland"].scores is None
    for group in found.values():
        if group.scores is None:
            continue
        assert group.n >= 2 * SMALLEST_CELL


def test_coverage_is_told_by_hospital(assessment: Assessment) -> None:
    assert set(assessment.coverage) == {*("test", "cleveland", "hungarian", "switzerland", "va")}


def test_bins_are_tenths_that_rise(assessment: Assessment) -> None:
    assert len(assessment.bins) == 10
    assert sum(part.n for part in assessment.bins) == 918
    assert (np.diff([part.predicted for part in assessment.bins]) > 0).all()


def test_it_survives_its_json(assessment: Assessment) -> None:
    assert Assessment.model_validate_json(assessment.model_dump_json()) == assessment


def test_undefined_scores_are_left_out() -> None:
    whole, undefined = (Interval(value=v, low=v, high=v) for v in (0.5, np.nan))
    assert defined({"a": whole, "b": undefined}) == {"a": whole}
