"""Calibration against scikit-learn, statsmodels' textbook definitions, and its own promises."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from heart.calibration import (
    EDGE,
    METHODS,
    Calibration,
    Floats,
    Labels,
    expit,
    fit_calibration,
    logistic_line,
    logistic_shift,
    logit,
)
from heart.calibration_choice import choose_calibration, cross_calibrated


def sample(
    n: int, *, slope: float = 1.0, shift: float = 0.0, seed: int = 0
) -> tuple[Labels, Floats]:
    """Labels, and probabilities whose logit is off by a shift and a slope."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.5, n)
    y = (rng.random(n) < expit(truth)).astype(np.int64)
    return y, expit((truth - shift) / slope)


def parts(n: int, k: int = 5) -> list[Labels]:
    return np.array_split(np.random.default_rng(1).permutation(n), k)


def test_the_line_is_that_of_scikit_learn() -> None:
    y, p = sample(400, slope=0.5, shift=0.7)
    intercept, slope = logistic_line(y, logit(p), np.ones((1, 400)))
    known = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(p)[:, None], y)
    assert slope[0] == pytest.approx(known.coef_[0, 0], abs=1e-5)
    assert intercept[0] == pytest.approx(known.intercept_[0], abs=1e-5)


def test_weights_are_repetitions() -> None:
    y, p = sample(100)
    weights = np.random.default_rng(2).integers(0, 4, (3, 100)).astype(np.float64)
    slopes = logistic_line(y, logit(p), weights)[1]
    shifts = logistic_shift(y, logit(p), weights)
    for row, counts in enumerate(weights.astype(int)):
        again = np.repeat(np.arange(100), counts)
        once = np.ones((1, len(again)))
        assert slopes[row] == pytest.approx(logistic_line(y[again], logit(p[again]), once)[1][0])
        assert shifts[row] == pytest.approx(logistic_shift(y[again], logit(p[again]), once)[0])


def test_probabilities_that_are_right_have_slope_1_and_shift_0() -> None:
    y, p = sample(50_000)
    assert logistic_line(y, logit(p), np.ones((1, len(y))))[1][0] == pytest.approx(1, abs=0.03)
    assert logistic_shift(y, logit(p), np.ones((1, len(y))))[0] == pytest.approx(0, abs=0.03)


def test_the_shift_makes_the_mean_right() -> None:
    y, p = sample(500, shift=1.0)
    shift = logistic_shift(y, logit(p), np.ones((1, 500)))[0]
    assert expit(shift + logit(p)).mean() == pytest.approx(y.mean(), abs=1e-9)


def test_the_shift_is_found_among_probabilities_that_are_too_sure() -> None:
    y, p = sample(500, slope=0.1, shift=2.0)
    shift = logistic_shift(y, logit(p), np.ones((1, 500)))[0]
    assert expit(shift + logit(p)).mean() == pytest.approx(y.mean(), abs=1e-9)


@pytest.mark.parametrize("p", [np.full(20, 0.4), np.r_[np.full(10, 0.2), np.full(10, 0.8)]])
def test_where_no_line_exists_it_is_nan(p: Floats) -> None:
    y = np.r_[np.zeros(10), np.ones(10)].astype(np.int64)
    assert np.isnan(logistic_line(y, logit(p), np.ones((1, 20)))[1][0])


def test_one_class_has_no_shift() -> None:
    assert np.isnan(logistic_shift(np.ones(9, dtype=np.int64), np.zeros(9), np.ones((1, 9)))[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_map_is_monotone_and_stays_inside(method: str) -> None:
    y, p = sample(300, slope=0.4)
    calibration = fit_calibration(next(m for m in METHODS if m == method), y, p)
    mapped = calibration.apply(np.linspace(0, 1, 1001))
    assert (np.diff(mapped) >= 0).all()
    assert 0 <= mapped.min() <= mapped.max() <= 1


def test_isotonic_is_scikit_learns() -> None:
    y, p = sample(300)
    known = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, y)
    x = np.linspace(0, 1, 200)
    np.testing.assert_allclose(fit_calibration("isotonic", y, p).apply(x), known.predict(x))


def test_none_changes_nothing_to_the_last_bit() -> None:
    p = np.array([0.0, 0.1 + 0.2, 1.0])
    assert Calibration().apply(p) is p


@pytest.mark.parametrize("method", METHODS)
def test_it_survives_its_json(method: str) -> None:
    y, p = sample(200, slope=0.5)
    made = fit_calibration(next(m for m in METHODS if m == method), y, p)
    again = Calibration.model_validate_json(made.model_dump_json())
    np.testing.assert_array_equal(again.apply(p), made.apply(p))


def test_no_row_calibrates_itself() -> None:
    y, p = sample(100)
    folds = parts(100)
    found = cross_calibrated("isotonic", y, p, folds)
    changed = y.copy()
    changed[folds[0]] = 1 - changed[folds[0]]
    again = cross_calibrated("isotonic", changed, p, folds)
    np.testing.assert_array_equal(found[folds[0]], again[folds[0]])
    assert not np.array_equal(found[folds[1]], again[folds[1]])


def test_what_is_off_is_calibrated_and_what_is_right_is_left() -> None:
    folds = parts(2000)
    y, p = sample(2000, slope=0.3)
    method, briers = choose_calibration(y, [p], [folds])
    assert method == "sigmoid"
    assert briers["sigmoid"] < briers["none"] - 0.01
    y, p = sample(2000)
    assert choose_calibration(y, [p], [folds])[0] == "none"


def test_a_step_is_isotonic() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(2000)
    y = (rng.random(2000) < np.where(p > 0.8, 0.9, 0.1)).astype(np.int64)
    assert choose_calibration(y, [p], [parts(2000)])[0] == "isotonic"


def test_equal_scores_choose_the_simpler() -> None:
    y = np.tile([0, 1], 20)
    p = y.astype(np.float64)
    method, briers = choose_calibration(y, [p], [parts(40)])
    assert (method, briers["none"]) == ("none", 0.0)


def test_zero_and_one_have_a_logit() -> None:
    assert logit(np.array([0.0, 1.0])) == pytest.approx(
        [np.log(EDGE / (1 - EDGE)), -np.log(EDGE / (1 - EDGE))]
    )
