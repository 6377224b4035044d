"""Bounds that hold at their error rate, and net benefit by its definition."""

from __future__ import annotations

import numpy as np
import pytest

from heart.calibration import Floats, Labels, expit
from heart.decision import NET_BENEFIT_THRESHOLDS, Bounds, conformal_bounds, coverage, net_benefit


def drawn(n: int, seed: int) -> tuple[Labels, Floats]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.5, n)
    return (rng.random(n) < expit(truth)).astype(np.int64), expit(truth)


@pytest.mark.parametrize("error_rate", [0.05, 0.1, 0.3])
def test_the_bounds_keep_their_promise_on_new_patients(error_rate: float) -> None:
    with_disease, without = [], []
    for seed in range(200):
        y, p = drawn(400, seed)
        bounds = conformal_bounds(y[:200], p[:200], error_rate=error_rate)
        found = coverage(bounds, y[200:], p[200:])
        with_disease.append(found.with_disease)
        without.append(found.without_disease)
    for shares in (with_disease, without):
        # The mean of 200 draws is known to about 0.003.
        assert np.mean(np.array(shares, dtype=np.float64)) > 1 - error_rate - 0.01


def test_the_bounds_are_no_wider_than_they_need() -> None:
    y, p = drawn(20_000, 0)
    bounds = conformal_bounds(y, p, error_rate=0.1)
    assert (p[y == 1] < bounds.low).mean() == pytest.approx(0.1, abs=0.001)
    assert (p[y == 0] >= bounds.high).mean() == pytest.approx(0.1, abs=0.001)


def test_each_side_of_the_bounds_has_its_word() -> None:
    bounds = Bounds(error_rate=0.1, low=0.2, high=0.7)
    said = [bounds.decide(p) for p in (0.0, 0.19, 0.2, 0.5, 0.69, 0.7, 1.0)]
    assert said == ["low", "low", "uncertain", "uncertain", "uncertain", "high", "high"]


def test_where_both_classes_could_be_excluded_nothing_is_said() -> None:
    bounds = Bounds(error_rate=0.4, low=0.6, high=0.4)
    assert [bounds.decide(p) for p in (0.3, 0.5, 0.7)] == ["low", "uncertain", "high"]


def test_a_class_with_few_patients_is_never_excluded() -> None:
    y, p = np.array([0] * 50 + [1] * 5), np.linspace(0, 1, 55)
    bounds = conformal_bounds(y, p, error_rate=0.1)
    assert bounds.low == 0.0
    assert not (p < bounds.low).any()
    bounds = conformal_bounds(1 - y, 1 - p, error_rate=0.1)
    assert not (np.array([1.0]) >= bounds.high).any()


def test_coverage_is_told_where_it_fails() -> None:
    y, p = drawn(2000, 0)
    bounds = conformal_bounds(y, p, error_rate=0.1)
    assert coverage(bounds, y, p).holds
    turned = coverage(bounds, 1 - y, p)
    assert not turned.holds
    assert turned.with_disease is not None
    assert turned.with_disease < 0.9


def test_a_group_of_one_class_has_one_share() -> None:
    bounds = Bounds(error_rate=0.1, low=0.2, high=0.7)
    found = coverage(bounds, np.array([1, 1]), np.array([0.1, 0.9]))
    assert (found.n, found.with_disease, found.without_disease) == (2, 0.5, None)
    assert found.uncertain == 0.0


def test_net_benefit_by_hand() -> None:
    y = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    p = np.array([0.9, 0.4, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    at_half = next(found for found in net_benefit(y, p) if found.threshold == 0.5)
    assert at_half.model == pytest.approx(0.1 - 0.1)
    assert at_half.treat_all == pytest.approx(0.2 - 0.8)
    low = net_benefit(y, p)[0]
    assert low.threshold == 0.05
    assert low.model == pytest.approx(low.treat_all)


def test_the_thresholds_go_from_5_to_60_percent() -> None:
    assert (NET_BENEFIT_THRESHOLDS[0], NET_BENEFIT_THRESHOLDS[-1]) == (0.05, 0.6)
    assert len(NET_BENEFIT_THRESHOLDS) == 12
