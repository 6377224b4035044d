"""Shapley values against their definition and their axioms, on games of a few members."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heart import coalitions
from heart.coalitions import Design, Floats, design, exact, sampled

D = 5
GAMES = arrays(np.float64, 2**D, elements=st.floats(-1, 1, width=32))


def by_definition(values: Floats, d: int) -> list[float]:
    """The mean, over all orders of d members, of what each adds; values by the bits of a set."""
    added = np.zeros(d)
    for order in itertools.permutations(range(d)):
        there = 0
        for member in order:
            added[member] += values[there | 1 << member] - values[there]
            there |= 1 << member
    return list(added / math.factorial(d))


def worth(plan: Design, values: Floats) -> Floats:
    """The values of a plan's coalitions in a game."""
    return np.asarray(values[plan.members @ (1 << np.arange(plan.members.shape[1]))])


@given(GAMES)
@settings(deadline=None)
def test_exact_values_are_those_of_the_definition(values: Floats) -> None:
    plan = exact(D)
    shares, errors = plan.shares(worth(plan, values))
    np.testing.assert_allclose(shares, by_definition(values, D), rtol=0, atol=1e-12)
    assert not errors.any()


@pytest.mark.parametrize("d", range(14))
def test_all_coalitions_once_from_none_to_all(d: int) -> None:
    members = exact(d).members
    assert members.shape == (2**d, d)
    assert len(np.unique(members, axis=0)) == 2**d
    assert not members[0].any()
    assert members[-1].all()


@given(GAMES)
@settings(deadline=None)
def test_shares_add_up(values: Floats) -> None:
    for plan in (exact(D), sampled(D, 20)):
        shares, _ = plan.shares(worth(plan, values))
        assert shares.sum() == pytest.approx(values[-1] - values[0], abs=1e-12)


@given(GAMES, st.integers(0, D - 1))
@settings(deadline=None)
def test_who_adds_nothing_has_nothing(values: Floats, idle: int) -> None:
    without = values[np.arange(2**D) & ~(1 << idle)]
    for plan in (exact(D), sampled(D, 20)):
        shares, errors = plan.shares(worth(plan, without))
        assert shares[idle] == pytest.approx(0, abs=1e-12)
        assert errors[idle] == pytest.approx(0, abs=1e-12)


@given(GAMES)
@settings(deadline=None)
def test_who_are_treated_alike_have_the_same(values: Floats) -> None:
    sets = np.arange(2**D)
    swapped = sets & ~3 | (sets & 1) << 1 | (sets & 2) >> 1
    plan = exact(D)
    shares, _ = plan.shares(worth(plan, values + values[swapped]))
    assert shares[0] == pytest.approx(shares[1], abs=1e-12)


def test_a_sample_shares_polynomials_of_the_third_degree_exactly() -> None:
    rng = np.random.default_rng(5)
    plan, whole = sampled(9, 350), exact(9)
    groups = [rng.permutation(9)[:size] for size in (1, 1, 2, 2, 2, 3, 3, 3, 3)]
    worths = rng.normal(size=len(groups))

    def value(plan: Design) -> Floats:
        whole_groups = [plan.members[:, group].all(axis=1) for group in groups]
        return np.asarray(worths @ np.array(whole_groups))

    shares, errors = plan.shares(value(plan))
    np.testing.assert_allclose(shares, whole.shares(value(whole))[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(errors, 0, atol=1e-10)
    expected = np.zeros(9)
    for group, worth_of in zip(groups, worths, strict=True):
        expected[group] += worth_of / len(group)
    np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("d", "rows"), [(9, 350), (10, 996), (11, 600), (13, 1000), (13, 2048)])
def test_the_fit_of_a_sample_is_sound(d: int, rows: int) -> None:
    plan = sampled(d, rows)
    k = sum(math.comb(d, size) for size in range(4))
    assert plan.basis.shape == (len(plan.members), k)
    np.testing.assert_allclose(plan.basis.T @ plan.basis, np.eye(k), atol=1e-10)
    assert np.abs(plan.credit).max() < 1e4
    values = np.random.default_rng(d).random(len(plan.members))
    shares, _ = plan.shares(values)
    assert shares.sum() == pytest.approx(values[-1] - values[0], abs=1e-10)


def test_a_sum_is_shared_as_it_is_made_with_and_without_all_coalitions() -> None:
    each = np.array([0.3, -0.2, 0.0, 1.5, 0.01])
    for plan in (exact(D), sampled(D, 20)):
        shares, errors = plan.shares(plan.members @ each)
        np.testing.assert_allclose(shares, each, rtol=0, atol=1e-12)
        np.testing.assert_allclose(errors, 0, atol=1e-12)


@pytest.mark.parametrize(("d", "rows"), [(6, 50), (9, 250), (9, 400), (13, 800), (13, 1600)])
def test_a_sample_is_off_by_what_it_says(d: int, rows: int) -> None:
    """Over games and members, the true value lies within two standard errors mostly."""
    rng = np.random.default_rng(d)
    plan, whole = sampled(d, rows), exact(d)
    off = []
    for _ in range(40):
        # A logistic function of a sum with interactions: what models are like.
        single, pairs = rng.normal(0, 1, d), np.triu(rng.normal(0, 0.7, (d, d)), 1)

        def value(plan: Design, single: Floats = single, pairs: Floats = pairs) -> Floats:
            joined = plan.members.astype(np.float64)
            x = joined @ single + np.einsum("mi,ij,mj->m", joined, pairs, joined)
            return np.asarray(1 / (1 + np.exp(-x)))

        shares, errors = plan.shares(value(plan))
        assert (errors > 0).all()
        off.append((shares - whole.shares(value(whole))[0]) / errors)
    distances = np.abs(np.concatenate(off))
    assert (distances < 2).mean() > 0.85
    assert 0.5 < np.sqrt((distances**2).mean()) < 1.4


@pytest.mark.parametrize(("d", "rows"), [(13, 200), (13, 1000), (10, 300), (8, 255)])
def test_a_sample_stays_within_its_rows_and_uses_them(d: int, rows: int) -> None:
    plan = sampled(d, rows)
    assert rows - 2 * d < len(plan.members) <= rows
    assert len(np.unique(plan.members, axis=0)) == len(plan.members)
    assert not plan.members[0].any()
    assert plan.members[-1].all()


def test_the_second_order_of_a_pair_is_the_first_reversed() -> None:
    orders = sampled(7, 60).orders
    np.testing.assert_array_equal(orders[:, 0], orders[:, 1, ::-1])
    assert (np.sort(orders, axis=2) == np.arange(7)).all()
    assert len(np.unique(orders[:, 0], axis=0)) > 1


def test_a_sample_is_the_same_in_every_process() -> None:
    first = sampled(9, 100)
    coalitions.sampled.cache_clear()
    again = sampled(9, 100)
    assert again is not first
    np.testing.assert_array_equal(again.walks, first.walks)
    np.testing.assert_array_equal(again.members, first.members)


@pytest.mark.parametrize(
    ("d", "rows", "method"), [(0, 1, "exact"), (8, 256, "exact"), (8, 255, "sampled")]
)
def test_all_coalitions_are_taken_where_the_rows_suffice(d: int, rows: int, method: str) -> None:
    assert design(d, rows=rows).method == method
