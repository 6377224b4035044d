"""The families and their preprocessing; the published baselines come out of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline

from heart import cohorts
from heart.attributes import BY_NAME, CATEGORICAL, NAMES, NUMERIC
from heart.cohorts import Cohort, CohortName, Treatment
from heart.errors import UsageError
from heart.evaluation import scores
from heart.pipelines import (
    FAMILIES,
    PREPROCESSINGS,
    Preprocessing,
    as_frame,
    build,
    columns,
    is_scaled,
    preprocessor,
)
from tests.heart.families import PARAMS, SERVABLE, TREES


def prepared(cohort: Cohort, family: str, preprocessing: Preprocessing = "default") -> pd.DataFrame:
    """A cohort as the estimator sees it, with the names of the columns."""
    transform = preprocessor(family, preprocessing)
    values = transform.fit_transform(cohort.X)
    return pd.DataFrame(values, columns=transform.get_feature_names_out())


def test_the_families_are_those_that_are_tested() -> None:
    assert set(PARAMS) == set(FAMILIES)


@pytest.mark.parametrize("family", PARAMS)
def test_a_family_learns_and_repeats_itself(family: str, train: Cohort, patients: Cohort) -> None:
    first, second = (
        build(family, PARAMS[family], seed=3).fit(train.X, train.y).predict_proba(patients.X)
        for _ in range(2)
    )
    assert first.shape == (len(patients), 2)
    np.testing.assert_allclose(first.sum(axis=1), 1)
    np.testing.assert_array_equal(first, second)
    # Better than the sign of any one attribute; the dummy knows nothing.
    area = scores(patients.y, first[:, 1])["roc_auc"]
    assert area == 0.5 if family == "dummy" else area > 0.85


def test_the_seed_reaches_the_estimator(train: Cohort) -> None:
    one, other = (
        build("random_forest", {"n_estimators": 5}, seed=seed).fit(train.X, train.y)
        for seed in (1, 2)
    )
    assert not np.array_equal(one.predict_proba(train.X), other.predict_proba(train.X))


def test_an_unknown_family_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r'"xgboost" is no family; .*svm') as error:
        build("xgboost", {}, seed=1)
    assert error.value.field == "xgboost"


@pytest.mark.parametrize("family", SERVABLE)
def test_an_unknown_parameter_is_named(family: str) -> None:
    with pytest.raises(UsageError, match=f"{family} takes no such parameters: .*'colour'"):
        build(family, PARAMS[family] | {"colour": "red"}, seed=1)


def test_the_seed_is_no_parameter() -> None:
    with pytest.raises(UsageError, match="random_state"):
        build("logistic_regression", {"random_state": 1}, seed=1)


@pytest.mark.parametrize("family", SERVABLE)
def test_trees_see_units_and_the_others_standard_deviations(family: str, train: Cohort) -> None:
    numbers = prepared(train, family).iloc[:, : len(NUMERIC)]
    assert is_scaled(family, "default") == (family not in TREES)
    if family in TREES:
        assert numbers.max().tolist() == train.X[list(NUMERIC)].max().tolist()
    else:
        np.testing.assert_allclose(numbers.mean(), 0, atol=1e-9)
        np.testing.assert_allclose(numbers.std(ddof=0), 1)


@pytest.mark.parametrize("preprocessing", ["reference", "reference-pooled"])
@pytest.mark.parametrize("family", sorted(TREES))
def test_the_references_scale_trees_too(
    family: str, preprocessing: Preprocessing, train: Cohort
) -> None:
    found = prepared(train, family, preprocessing)
    numbers = found[[name for name in found if str(name).startswith("numeric")]]
    assert is_scaled(family, preprocessing)
    np.testing.assert_allclose(numbers.std(ddof=0), 1)


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_a_missing_number_is_the_median_and_a_missing_code_the_commonest(
    preprocessing: Preprocessing,
) -> None:
    rows = np.tile([a.example for a in BY_NAME.values()], (5, 1))
    rows[:, NAMES.index("age")] = [40, 50, 70, 80, np.nan]
    rows[:, NAMES.index("thal")] = [7, 7, 7, 3, np.nan]
    X = as_frame(rows)
    filled = as_frame(rows)
    filled.loc[4, ["age", "thal"]] = [60, 7]
    transform = preprocessor("logistic_regression", preprocessing).fit(X)
    np.testing.assert_array_equal(transform.transform(X), transform.transform(filled))


def test_no_column_tells_that_a_value_was_missing(patients: Cohort) -> None:
    names = prepared(patients, "random_forest").columns
    assert not any("indicator" in str(name) for name in names)


def test_a_code_without_patients_has_its_column(patients: Cohort) -> None:
    everyone = prepared(patients, "random_forest").columns
    without = patients.take(~patients.X["thal"].eq(6).to_numpy())
    assert prepared(without, "random_forest").columns.equals(everyone)
    codes = sum(len(BY_NAME[n].words) for n in CATEGORICAL if len(BY_NAME[n].words) > 2)
    binary = sum(len(BY_NAME[name].words) == 2 for name in CATEGORICAL)
    assert len(everyone) == len(NUMERIC) + codes + binary


def test_the_references_differ_in_what_ca_is(patients: Cohort) -> None:
    assert columns("reference") == columns("default") == (list(NUMERIC), list(CATEGORICAL))
    assert "numeric__ca" in prepared(patients, "dummy", "reference").columns
    pooled = prepared(patients, "dummy", "reference-pooled").columns
    assert {f"categorical__ca_{vessels}.0" for vessels in range(4)} <= set(pooled)
    numeric, categorical = columns("reference-pooled")
    assert "ca" not in numeric
    assert sorted(numeric + categorical) == sorted(NAMES)


def test_the_references_ignore_a_code_they_never_saw(patients: Cohort) -> None:
    known = patients.take((patients.X["thal"] == 3).to_numpy())
    transform = preprocessor("dummy", "reference").fit(known.X)
    row = known.X.iloc[[0]].assign(thal=7.0)
    names = list(transform.get_feature_names_out())
    assert transform.transform(row)[0, names.index("categorical__thal_3.0")] == 0


def published(cohort: CohortName, treatment: Treatment) -> tuple[Cohort, Cohort, StratifiedKFold]:
    """Rows to train on, rows to test on and folds, as the published baselines had them."""
    table = cohorts.load(cohort, treatment=treatment)
    train, test = cohorts.split(table, test_size=0.2, seed=42, by_site=False)
    return train, test, StratifiedKFold(5, shuffle=True, random_state=42)


def on_test_rows(model: Pipeline, train: Cohort, test: Cohort) -> dict[str, float]:
    p = model.fit(train.X, train.y).predict_proba(test.X)[:, 1]
    called = model.predict(test.X)
    return {
        "roc_auc": metrics.roc_auc_score(test.y, p),
        "accuracy": metrics.accuracy_score(test.y, called),
        "precision": metrics.precision_score(test.y, called),
        "recall": metrics.recall_score(test.y, called),
        "f1": metrics.f1_score(test.y, called),
    }


REFERENCE = [
    (
        "logistic_regression",
        {"C": 0.1, "solver": "liblinear", "max_iter": 500},
        0.896,
        {"roc_auc": 0.953, "accuracy": 0.867, "precision": 0.885, "recall": 0.821},
    ),
    ("random_forest", {"n_estimators": 150, "min_samples_split": 5}, None, {"roc_auc": 0.939}),
]


@pytest.mark.parametrize(("family", "params", "cv", "test"), REFERENCE)
def test_reference(
    family: str, params: dict[str, Any], cv: float | None, test: dict[str, float]
) -> None:
    training, testing, folds = published("cleveland", "complete")
    assert (len(training), len(testing)) == (237, 60)
    model = build(family, params, seed=42, preprocessing="reference")
    if cv is not None:
        found = cross_val_score(model, training.X, training.y, cv=folds, scoring="roc_auc")
        assert found.mean() == pytest.approx(cv, abs=5e-4)
    figures = on_test_rows(model, training, testing)
    assert {name: figures[name] for name in test} == pytest.approx(test, abs=5e-4)


POOLED = [
    (
        "logistic_regression",
        {"max_iter": 1000},
        (0.878, 0.042),
        (0.919, 0.832, 0.826, 0.882, 0.853),
    ),
    ("random_forest", {"n_estimators": 200}, (0.875, 0.046), (0.910, 0.848, 0.849, 0.882, 0.865)),
]


@pytest.mark.parametrize(("family", "params", "cv", "test"), POOLED)
def test_reference_pooled(
    family: str, params: dict[str, Any], cv: tuple[float, float], test: tuple[float, ...]
) -> None:
    training, testing, folds = published("all", "raw")
    assert (len(training), len(testing)) == (734, 184)
    model = build(family, params, seed=42, preprocessing="reference-pooled")
    found = cross_val_score(model, training.X, training.y, cv=folds, scoring="roc_auc")
    assert (found.mean(), found.std()) == pytest.approx(cv, abs=5e-4)
    figures = on_test_rows(model, training, testing)
    assert list(figures.values()) == pytest.approx(list(test), abs=5e-4)
