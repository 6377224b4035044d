"""Scores against scikit-learn's, intervals against a bootstrap of one row at a time."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics

from heart.evaluation import (
    LEVEL,
    RESAMPLES,
    Floats,
    Interval,
    Labels,
    average_precision,
    intervals,
    roc_auc,
    scores,
)

UNBOUNDED = {"brier_skill", "calibration_intercept", "calibration_slope"}
Sample = tuple[Labels, Floats]


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Labels of both classes with probabilities, many of them tied."""
    n = draw(st.integers(2, 40))
    values = st.integers(0, 10).map(lambda tenth: tenth / 10) | st.floats(0, 1)
    p = draw(st.lists(values, min_size=n, max_size=n))
    rest = draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))
    return np.array([0, 1, *rest]), np.array(p)


def by_scikit_learn(y: Labels, p: Floats, threshold: float) -> dict[str, float]:
    called = (p >= threshold).astype(int)
    inside = np.clip(p, 1e-15, 1 - 1e-15)
    return {
        "roc_auc": metrics.roc_auc_score(y, p),
        "average_precision": metrics.average_precision_score(y, p),
        "brier_score": metrics.brier_score_loss(y, p),
        "log_loss": metrics.log_loss(y, inside),
        "accuracy": metrics.accuracy_score(y, called),
        "precision": metrics.precision_score(y, called, zero_division=0),
        "recall": metrics.recall_score(y, called),
        "specificity": metrics.recall_score(y, called, pos_label=0),
        "negative_predictive_value": metrics.precision_score(
            y, called, pos_label=0, zero_division=0
        ),
        "brier_skill": 1 - metrics.brier_score_loss(y, p) / (y.mean() * (1 - y.mean())),
        "f1": metrics.f1_score(y, called, zero_division=0),
    }


def simulated(n: int, seed: int, distance: float = 1.5) -> Sample:
    """Two normal distributions, ``distance`` apart, as probabilities."""
    rng = np.random.default_rng(seed)
    y = (rng.permutation(n) < n // 2).astype(np.int64)
    return y, norm.cdf(rng.normal(size=n) + distance * (y - 0.5))


@given(sample=samples(), threshold=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
@settings(deadline=None, max_examples=40)
def test_every_score_is_scikit_learns(sample: Sample, threshold: float) -> None:
    y, p = sample
    expected = by_scikit_learn(y, p, threshold)
    found = scores(y, p, threshold=threshold)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert set(found) - set(expected) == {
        "calibration_intercept",
        "calibration_slope",
        "expected_calibration_error",
    }


@given(sample=samples(), data=st.data())
@settings(deadline=None, max_examples=30)
def test_weights_are_scikit_learns(sample: Sample, data: st.DataObject) -> None:
    y, p = sample
    weights = np.array(data.draw(st.lists(st.integers(1, 5), min_size=len(y), max_size=len(y))))
    rows = weights[None, :].astype(float)
    assert roc_auc(y, p, rows)[0] == pytest.approx(
        metrics.roc_auc_score(y, p, sample_weight=weights)
    )
    assert average_precision(y, p, rows)[0] == pytest.approx(
        metrics.average_precision_score(y, p, sample_weight=weights)
    )


@given(sample=samples())
@settings(deadline=None, max_examples=50)
def test_roc_auc_knows_only_the_order(sample: Sample) -> None:
    y, p = sample
    area = scores(y, p)["roc_auc"]
    ranks = np.unique(p, return_inverse=True)[1] / len(p)
    assert scores(y, ranks)["roc_auc"] == pytest.approx(area)
    assert scores(y, 1 - ranks)["roc_auc"] == pytest.approx(1 - area)


def test_a_probability_at_the_threshold_is_called_disease() -> None:
    found = scores(np.array([0, 1]), np.array([0.49, 0.5]))
    assert (found["recall"], found["specificity"]) == (1.0, 1.0)


def test_a_certain_mistake_has_a_finite_log_loss() -> None:
    found = scores(np.array([0, 1]), np.array([1.0, 0.0]))["log_loss"]
    assert 30 < found < 40


@given(sample=samples(), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_bounds_are_in_order_and_are_scores(sample: Sample, seed: int) -> None:
    y, p = sample
    for name, found in intervals(y, p, seed=seed, resamples=200).items():
        if name in UNBOUNDED:
            assert math.isnan(found.low) or found.low <= found.high
        else:
            assert 0 <= found.low <= found.high <= (math.inf if name == "log_loss" else 1)


def test_intervals_hold_the_values_that_scores_gives() -> None:
    y, p = simulated(150, seed=3)
    found = intervals(y, p, threshold=0.4)
    assert {name: i.value for name, i in found.items()} == scores(y, p, threshold=0.4)
    assert all(i.low < i.value < i.high for i in found.values())


def test_two_thousand_resamples_unless_told_otherwise() -> None:
    y, p = simulated(60, seed=0)
    assert RESAMPLES == 2000
    assert intervals(y, p) == intervals(y, p, resamples=2000) != intervals(y, p, resamples=1999)


def test_the_seed_decides_the_bounds() -> None:
    y, p = simulated(60, seed=0)
    assert intervals(y, p, seed=5) == intervals(y, p, seed=5) != intervals(y, p, seed=6)


@pytest.mark.full
def test_bounds_are_those_of_a_bootstrap_row_by_row() -> None:
    y, p = simulated(100, seed=1)
    rng = np.random.default_rng(99)
    groups = [np.flatnonzero(y == label) for label in (0, 1)]
    draws: dict[str, list[float]] = {name: [] for name in scores(y, p)}
    for _ in range(1000):
        plain = rng.integers(0, len(y), len(y))
        for name, value in scores(y[plain], p[plain]).items():
            draws[name].append(value)
        within = np.concatenate([rng.choice(group, len(group)) for group in groups])
        draws["roc_auc"][-1] = scores(y[within], p[within])["roc_auc"]
    # The groups of the calibration error are those of the rows, here of each resample.
    del draws["expected_calibration_error"]
    for name, found in intervals(y, p).items():
        if name not in draws:
            continue
        low, high = np.quantile(draws[name], [0.025, 0.975])
        # The quantiles of 1,000 draws vary by some hundredths of the width.
        assert found.low == pytest.approx(low, abs=(high - low) / 8)
        assert found.high == pytest.approx(high, abs=(high - low) / 8)


@pytest.mark.parametrize("seed", range(5))
def test_roc_auc_is_resampled_within_the_classes(seed: int) -> None:
    # Five negatives, one of them on the wrong side: two right ones of five drawn, or fewer,
    # are 5.8% of the resamples, one or fewer 0.7%. A resample of all rows has other numbers
    # of negatives, and 3.5% of them are below two in five.
    y, p = np.array([0] * 5 + [1] * 60), np.array([0.1] * 4 + [0.9] + [0.5] * 60)
    assert intervals(y, p, seed=seed)["roc_auc"].low == pytest.approx(0.4)


@pytest.mark.full
def test_about_95_of_100_intervals_hold_the_truth() -> None:
    truth = norm.cdf(1.5 / math.sqrt(2))
    found = [intervals(*simulated(60, seed=seed), resamples=200)["roc_auc"] for seed in range(200)]
    covered = np.mean([i.low <= truth <= i.high for i in found])
    assert LEVEL - 0.05 < covered < LEVEL + 0.04


@pytest.mark.parametrize(
    ("label", "undefined"),
    [(1, {"specificity"}), (0, {"average_precision", "recall"})],
)
def test_rows_of_one_class_leave_scores_undefined(label: int, undefined: set[str]) -> None:
    y, p = np.full(20, label), np.linspace(0.1, 0.9, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = intervals(y, p)
    undefined |= {"roc_auc"} | UNBOUNDED
    assert {name for name, i in found.items() if math.isnan(i.value)} == undefined
    assert {name for name, i in found.items() if math.isnan(i.low)} == undefined
    assert found["brier_score"].value == pytest.approx(np.mean((p - y) ** 2))


def test_calibration_error_is_the_distance_of_tenths() -> None:
    p = np.repeat(np.arange(0.05, 1, 0.1), 10)
    y = np.concatenate([np.r_[np.ones(k), np.zeros(10 - k)] for k in range(10)]).astype(np.int64)
    # Every tenth is 0.05 below what was predicted.
    assert scores(y, p)["expected_calibration_error"] == pytest.approx(0.05)


def test_probabilities_that_are_right_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 4000)
    found = intervals((rng.random(4000) < p).astype(np.int64), p, resamples=200)
    for name, ideal in (("calibration_slope", 1.0), ("calibration_intercept", 0.0)):
        assert found[name].low < ideal < found[name].high
    assert found["expected_calibration_error"].value < 0.03


def test_an_interval_reads_as_a_report_prints_it() -> None:
    assert str(Interval(value=0.91236, low=0.88, high=1)) == "0.912 [0.880, 1.000]"
