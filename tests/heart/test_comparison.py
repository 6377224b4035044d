"""The corrected standard error (Nadeau and Bengio, 2003) and the intervals made of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from heart.comparison import (
    corrected_standard_error,
    mean_interval,
    paired_difference,
    score_interval,
)

FIVE = [0.90, 0.86, 0.94, 0.88, 0.92]
unit_scores = st.lists(st.floats(0, 1), min_size=2, max_size=20)


def test_the_correction_by_hand() -> None:
    # The variance is (0 + 16 + 16 + 4 + 4) / 4 = 10 in units of 1e-4; 1/5 + 1/4 = 0.45.
    assert corrected_standard_error(FIVE, folds=5) == pytest.approx(math.sqrt(10e-4 * 0.45))


def test_repeats_add_scores_and_leave_the_share_of_test_rows() -> None:
    twice = FIVE * 2
    variance = np.var(twice, ddof=1)
    found = corrected_standard_error(twice, folds=5)
    assert found == pytest.approx(math.sqrt(variance * (1 / 10 + 1 / 4)))


@given(values=unit_scores)
@settings(deadline=None)
def test_the_correction_only_widens(values: list[float]) -> None:
    plain = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert corrected_standard_error(values, folds=len(values)) >= plain


def test_the_mean_has_a_t_interval() -> None:
    found = mean_interval(FIVE, folds=5)
    reach = t.ppf(0.975, df=4) * math.sqrt(10e-4 * 0.45)
    assert (found.low, found.value, found.high) == pytest.approx((0.9 - reach, 0.9, 0.9 + reach))


def test_a_single_fold_has_no_error_to_tell() -> None:
    assert math.isnan(corrected_standard_error([0.9], folds=5))
    found = mean_interval([0.9], folds=5)
    assert (found.low, found.value, found.high) == (0.9, 0.9, 0.9)


def test_a_score_ends_at_0_and_1() -> None:
    upper, lower = score_interval([1.0, 0.8], folds=2), score_interval([0.0, 0.2], folds=2)
    assert (upper.high, lower.low) == (1.0, 0.0)
    assert mean_interval([1.0, 0.8], folds=2).high > 1 > upper.value > upper.low


def test_an_interval_inside_is_not_clipped() -> None:
    narrow = [0.90, 0.91, 0.89, 0.90, 0.90]
    assert score_interval(narrow, folds=5) == mean_interval(narrow, folds=5)


@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20))
@settings(deadline=None)
def test_a_difference_the_other_way_round_is_its_mirror(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    one, other = (
        paired_difference(first, second, folds=5),
        paired_difference(second, first, folds=5),
    )
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def test_folds_are_paired() -> None:
    better = [score + 0.01 for score in FIVE]
    found = paired_difference(better, FIVE, folds=5)
    assert (found.low, found.value, found.high) == pytest.approx((0.01, 0.01, 0.01))


def test_a_model_against_itself_differs_by_nothing() -> None:
    found = paired_difference(FIVE, FIVE, folds=5)
    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)


def test_folds_that_do_not_match_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="shapes"):
        paired_difference(FIVE, FIVE[:4], folds=5)
