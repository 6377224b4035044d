"""Explanations of real models: they add up, follow the axioms, and tell how exact they are."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.pipeline import Pipeline

from heart import coalitions
from heart.attributes import ATTRIBUTES, CATEGORICAL, NAMES, NUMERIC, parse_patient
from heart.bundle import METADATA_FILE, Bundle, load_bundle
from heart.calibration import Calibration, logit
from heart.coalitions import exact, sampled
from heart.cohorts import Cohort
from heart.conversion import to_onnx
from heart.errors import BundleError
from heart.explanation import (
    ROW_US,
    TREE_US,
    Explainer,
    Explanation,
    affordable_rows,
    mixtures,
    reference_patient,
)
from heart.metadata import Metadata, Recipe
from heart.pipelines import FAMILIES, build
from tests.heart.families import PARAMS, SERVABLE
from tune.spaces import SPACES

SIGMOID = Calibration(method="sigmoid", intercept=-0.3, slope=1.4)
ISOTONIC = Calibration(
    method="isotonic", corners=((0.0, 0.02), (0.3, 0.2), (0.31, 0.35), (0.8, 0.7), (1.0, 0.97))
)
PATIENTS = st.tuples(
    *(
        st.sampled_from([*map(float, a.words), *([] if a.required else [math.nan])])
        if a.words
        else st.floats(a.low, a.high) | st.just(a.example if a.required else math.nan)
        for a in ATTRIBUTES
    )
).map(list)
EXAMPLE = [attribute.example for attribute in ATTRIBUTES]


def bundle_of(
    family: str, train: Cohort, metadata: Metadata, *, calibration: Calibration | None = None
) -> Bundle:
    graph = to_onnx(build(family, PARAMS[family], seed=42).fit(train.X, train.y))
    changed = metadata.model_copy(
        update={
            "recipe": Recipe(family=family, params=PARAMS[family], preprocessing="default"),
            "calibration": calibration or Calibration(),
        }
    )
    return Bundle(graph, changed, version="1")


def patient(reference: dict[str, float], **values: float) -> list[float]:
    """The reference patient with some values changed."""
    return [{**reference, **values}[name] for name in NAMES]


@pytest.fixture(scope="module", params=SERVABLE)
def explainer(request: pytest.FixtureRequest, train: Cohort, metadata: Metadata) -> Explainer:
    """Of each family; every other one with a calibration."""
    calibrations = itertools.cycle([SIGMOID, None, ISOTONIC])
    of = dict(zip(SERVABLE, calibrations, strict=False))
    return Explainer(bundle_of(request.param, train, metadata, calibration=of[request.param]))


@pytest.fixture(scope="module")
def linear(train: Cohort, metadata: Metadata) -> Explainer:
    return Explainer(bundle_of("logistic_regression", train, metadata))


@pytest.fixture(scope="module")
def slow(train: Cohort, metadata: Metadata) -> Explainer:
    return Explainer(bundle_of("k_nearest_neighbours", train, metadata))


def check(explainer: Explainer, patient: list[float]) -> Explanation:
    """What holds of every explanation."""
    found = explainer.explain(patient)
    assert found.probability == explainer.bundle.predict([patient])[0]
    difference = found.probability - found.base_probability
    assert sum(found.contributions.values()) == pytest.approx(difference, rel=0, abs=1e-9)
    assert list(found.contributions) == list(NAMES)
    for name, value in zip(NAMES, patient, strict=True):
        if value == explainer.reference[name]:
            assert found.contributions[name] == 0
    assert (found.error > 0) == (found.method == "sampled")
    return found


def test_every_family_of_the_searches_is_explained_here() -> None:
    searched = {f.family for space in SPACES.values() for f in space.families} - {"dummy"}
    assert searched == set(SERVABLE)


@given(given_patient=PATIENTS)
@settings(
    deadline=None,
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_patients_contributions_add_up(
    explainer: Explainer, given_patient: list[float]
) -> None:
    check(explainer, given_patient)


def test_real_patients_contributions_add_up(explainer: Explainer, patients: Cohort) -> None:
    for row in patients.X.to_numpy()[::90]:
        check(explainer, row.tolist())


def test_the_base_probability_is_the_reference_patients(explainer: Explainer) -> None:
    reference = patient(explainer.reference)
    found = check(explainer, reference)
    assert found.base_probability == found.probability == explainer.bundle.predict([reference])[0]
    assert (found.method, found.coalitions, found.error) == ("exact", 1, 0)


def test_contributions_are_those_of_the_definition(explainer: Explainer) -> None:
    """Three attributes changed one by one, in all six orders."""
    changed = {"cp": 1.0, "oldpeak": 3.0, "chol": math.nan}
    added = dict.fromkeys(changed, 0.0)
    for order in itertools.permutations(changed):
        so_far: dict[str, float] = {}
        for name in order:
            before = explainer.bundle.predict([patient(explainer.reference, **so_far)])[0]
            so_far[name] = changed[name]
            after = explainer.bundle.predict([patient(explainer.reference, **so_far)])[0]
            added[name] += (after - before) / 6
    found = check(explainer, patient(explainer.reference, **changed))
    assert (found.method, found.coalitions) == ("exact", 8)
    for name, share in found.contributions.items():
        # 1e-6 is what the rows beside a row cost a quadratic discriminant.
        assert share == pytest.approx(added.get(name, 0.0), rel=0, abs=1e-6)


def test_on_the_logit_a_linear_models_are_coefficients_times_differences(
    linear: Explainer, pipeline: Pipeline, train: Cohort
) -> None:
    fitted = build("logistic_regression", PARAMS["logistic_regression"], seed=42)
    fitted.fit(train.X, train.y)
    scale = fitted["preprocess"].named_transformers_["numeric"]["scale"].scale_
    coefficients = dict(zip(NUMERIC, fitted["model"].coef_[0, : len(NUMERIC)] / scale, strict=True))
    values = {"age": 61.0, "trestbps": 150.0, "oldpeak": 1.5, "ca": 1.0, "thalach": 130.0}
    given = np.array(patient(linear.reference, **values))
    reference = np.array(patient(linear.reference))
    differs = np.flatnonzero(given != reference)
    plan = exact(len(differs))
    p = linear.bundle.predict(mixtures(plan.members, given, reference, differs))
    shares, _ = plan.shares(logit(p))
    for position, share in zip(differs, shares, strict=True):
        name = NAMES[position]
        expected = coefficients[name] * (values[name] - linear.reference[name])
        assert share == pytest.approx(expected, rel=0, abs=1e-5)


def test_an_attribute_that_the_model_does_not_use_has_nothing(
    train: Cohort, metadata: Metadata
) -> None:
    without = train.X.assign(chol=200.0, fbs=0.0)
    graph = to_onnx(build("random_forest", PARAMS["random_forest"], seed=42).fit(without, train.y))
    found = Explainer(Bundle(graph, metadata, version="1")).explain(
        parse_patient(dict(zip(NAMES, [*EXAMPLE[:4], 400.0, 1.0, *EXAMPLE[6:]], strict=True)))
    )
    assert found.contributions["chol"] == pytest.approx(0, abs=1e-12)
    assert found.contributions["fbs"] == pytest.approx(0, abs=1e-12)
    assert found.contributions["cp"] != 0


def test_a_missing_value_contributes_what_its_imputation_does(
    train: Cohort, metadata: Metadata
) -> None:
    unlike = {**metadata.reference, "thal": 7.0, "oldpeak": 2.5}
    bundle = bundle_of(
        "gradient_boosting", train, metadata.model_copy(update={"reference": unlike})
    )
    explainer = Explainer(bundle)
    missing = check(explainer, patient(unlike, cp=1, thal=math.nan, oldpeak=math.nan))
    imputed = {name: metadata.reference[name] for name in ("thal", "oldpeak")}
    filled = check(explainer, patient(unlike, cp=1, **imputed))
    assert missing.contributions == pytest.approx(filled.contributions, rel=0, abs=1e-9)
    assert missing.contributions["oldpeak"] < 0


def test_what_is_imputed_as_the_reference_has_it_contributes_nothing(
    linear: Explainer, metadata: Metadata
) -> None:
    optional = [a.name for a in ATTRIBUTES if not a.required]
    found = check(linear, patient(metadata.reference, age=70, **dict.fromkeys(optional, math.nan)))
    assert found.contributions["age"] > 0.01
    for name in optional:
        assert found.contributions[name] == pytest.approx(0, abs=1e-6)


def test_a_hospitals_recalibration_is_explained_too(train: Cohort, metadata: Metadata) -> None:
    bundle = bundle_of("logistic_regression", train, metadata, calibration=SIGMOID)
    before = Explainer(bundle).explain(EXAMPLE)
    bundle.recalibrate(Calibration(method="sigmoid", intercept=0.5, slope=0.7), name="ours.1")
    after = check(Explainer(bundle), EXAMPLE)
    assert after.base_probability != before.base_probability
    assert after.contributions["cp"] != before.contributions["cp"]


def test_the_same_patient_gets_the_same_answer(slow: Explainer) -> None:
    row = [67, 0, 1, 160, 286, 1, 2, 108, 1, 2.5, 3, 3, 7]
    first = slow.explain(row)
    coalitions.sampled.cache_clear()
    other = Explainer(slow.bundle)
    other.explain(EXAMPLE)
    assert other.explain(row) == first
    assert first.method == "sampled"


def test_a_sample_is_off_by_what_it_says(train: Cohort, metadata: Metadata) -> None:
    bundle = bundle_of("random_forest", train, metadata)
    given = np.array([67, 0, 1, 160, 286, 1, 2, 108, 1, 2.5, 3, 3, 7], dtype=np.float64)
    reference = np.array([metadata.reference[name] for name in NAMES])
    every = np.arange(len(NAMES))
    assert (given != reference).all()
    plan, whole = sampled(len(NAMES), 1000), exact(len(NAMES))
    shares, errors = plan.shares(bundle.predict(mixtures(plan.members, given, reference, every)))
    true, _ = whole.shares(bundle.predict(mixtures(whole.members, given, reference, every)))
    assert 0 < errors.max() < 0.005
    assert (np.abs(shares - true) <= 4 * errors).all()
    assert (np.abs(shares - true) <= 2 * errors).sum() >= 10


def test_the_rule_knows_every_family() -> None:
    assert {*ROW_US, *TREE_US} == set(FAMILIES) - {"dummy"}
    assert not set(ROW_US) & set(TREE_US)


@pytest.mark.parametrize(
    ("family", "trees", "differing"),
    [
        ("logistic_regression", 0, 13),
        ("gradient_boosting", 50, 13),
        ("gradient_boosting", 300, 10),
        ("random_forest", 300, 9),
    ],
)
def test_the_rule_follows_the_size_of_the_model(family: str, trees: int, differing: int) -> None:
    """So many attributes that differ are explained exactly, and no more."""
    recipe = Recipe(family=family, params={"n_estimators": trees}, preprocessing="default")
    assert 2**differing <= affordable_rows(recipe)
    if differing < len(NAMES):
        assert affordable_rows(recipe) < 2 ** (differing + 1)


def test_the_reference_is_the_middle_of_the_training_rows(train: Cohort) -> None:
    reference = reference_patient(train.X.to_numpy())
    for name in set(NUMERIC) - {"ca"}:
        assert reference[name] == train.X[name].median()
    for name in CATEGORICAL:
        assert reference[name] == train.X[name].mode()[0]
    values = [reference[name] for name in NAMES]
    assert parse_patient(reference) == values


def test_the_reference_is_what_the_model_imputes(pipeline: Pipeline, train: Cohort) -> None:
    reference = reference_patient(train.X.to_numpy())
    steps = pipeline["preprocess"].named_transformers_
    imputed = {
        **dict(zip(NUMERIC, steps["numeric"]["impute"].statistics_, strict=True)),
        **dict(zip(CATEGORICAL, steps["categorical"]["impute"].statistics_, strict=True)),
    }
    assert reference == imputed


def test_between_two_codes_the_reference_has_the_lower() -> None:
    rows = np.array([EXAMPLE, EXAMPLE])
    rows[1, NAMES.index("ca")] = 3
    rows[1, NAMES.index("age")] += 3
    reference = reference_patient(rows)
    assert (reference["ca"], reference["age"]) == (0, 55.5)


@pytest.mark.parametrize(
    "change", [{"thal": 2}, {"thal": None}, {"chol": 0}, {"x": 1}, {"age": 300}]
)
def test_metadata_without_a_reference_patient(bundle_folder: Path, change: dict[str, Any]) -> None:
    path = bundle_folder / METADATA_FILE
    content = json.loads(path.read_text())
    load_bundle(bundle_folder, version="1")
    content["reference"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"metadata\.json is no metadata of a bundle: 1 field"):
        load_bundle(bundle_folder, version="1")
