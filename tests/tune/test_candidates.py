"""Candidates: their names, and how they are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heart.errors import UsageError
from tune.candidates import Candidate, fixed, grid, sample, suggest
from tune.space import Choice, FamilySpace, Integer, LogUniform, Space, Uniform
from tune.spaces import DEFAULT, REFERENCE, WIDE

SEEDS = st.integers(0, 2**32 - 1)
SPACES = st.sampled_from((DEFAULT, WIDE, REFERENCE))


def inside(space: Space, candidate: Candidate) -> bool:
    """Whether each value of a candidate is one that its space allows."""
    (family,) = (f for f in space.families if f.family == candidate.family)
    return set(candidate.params) == set(family.params) and all(
        allowed(value, candidate.params[name]) for name, value in family.params.items()
    )


def allowed(distribution: object, value: object) -> bool:
    match distribution:
        case Choice(values):
            return value in values
        case Integer(low, high):
            return type(value) is int and low <= value <= high
        case Uniform(low, high) | LogUniform(low, high):
            return type(value) is float and low <= value <= high
        case constant:
            return value == constant


def test_the_id_is_the_same_on_every_machine() -> None:
    assert Candidate("svm", {"C": 1.5, "gamma": 0.1}).id == "ec11bc6c7ea1"


def test_the_id_does_not_depend_on_the_order_of_parameters() -> None:
    assert Candidate("svm", {"C": 1, "gamma": 2}).id == Candidate("svm", {"gamma": 2, "C": 1}).id


def test_the_id_tells_candidates_apart() -> None:
    ids = {
        Candidate("svm", {"C": 1.0}).id,
        Candidate("svm", {"C": 1.1}).id,
        Candidate("svm", {"gamma": 1.0}).id,
        Candidate("logistic_regression", {"C": 1.0}).id,
        Candidate("svm", {"C": None}).id,
        Candidate("svm", {}).id,
    }
    assert len(ids) == 6


def test_a_grid_has_each_combination_once() -> None:
    space = Space(
        "mine",
        (
            FamilySpace("dummy", {"strategy": "prior"}),
            FamilySpace("svm", {"C": Choice((1, 2)), "gamma": Choice((3, 4, 5))}),
        ),
    )
    assert [(c.family, *c.params.values()) for c in grid(space)] == [
        ("dummy", "prior"),
        *(("svm", c, gamma) for c in (1, 2) for gamma in (3, 4, 5)),
    ]


def test_a_range_has_no_grid() -> None:
    with pytest.raises(UsageError, match=r"--algorithm grid .* logistic_regression's C in space"):
        grid(DEFAULT)


@given(SPACES, SEEDS)
def test_candidates_are_inside_the_space(space: Space, seed: int) -> None:
    assert all(inside(space, candidate) for candidate in sample(space, number=20, seed=seed))


@given(SPACES, SEEDS, st.integers(1, 30))
def test_the_same_seed_gives_the_same_candidates(space: Space, seed: int, number: int) -> None:
    first = sample(space, number=number, seed=seed)
    assert first == sample(space, number=30, seed=seed)[:number]
    assert len(first) == len({candidate.id for candidate in first}) == number


def test_another_seed_gives_other_candidates() -> None:
    first, second = (sample(DEFAULT, number=20, seed=seed) for seed in (0, 1))
    assert {c.id for c in first} & {c.id for c in second} == {first[0].id}, "the dummy alone"


def test_the_families_take_turns() -> None:
    drawn = [candidate.family for candidate in sample(DEFAULT, number=22, seed=0)]
    every = [family.family for family in DEFAULT.families]
    assert drawn == every + every[1:] * 2, "the dummy has one candidate"


def test_a_small_space_is_used_up() -> None:
    found = sample(REFERENCE, number=100, seed=0)
    assert {candidate.id for candidate in found} == {c.id for c in grid(REFERENCE)}


def test_a_log_uniform_range_is_even_in_its_logarithm() -> None:
    space = Space("mine", (FamilySpace("svm", {"C": LogUniform(0.001, 1000.0)}),))
    drawn = np.log10([c.params["C"] for c in sample(space, number=2000, seed=0)])
    counts, _ = np.histogram(drawn, bins=6, range=(-3, 3))
    assert counts.sum() == 2000
    assert counts.min() > 270


@given(SPACES, SEEDS)
def test_optuna_with_a_candidates_values_suggests_that_candidate(space: Space, seed: int) -> None:
    for candidate in sample(space, number=len(space.families), seed=seed):
        trial = optuna.trial.FixedTrial(fixed(space, candidate))
        assert suggest(space, trial) == candidate


@given(SEEDS)
def test_what_optuna_suggests_is_inside_the_space(seed: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for space in (DEFAULT, replace(DEFAULT, name="another")):
        assert inside(space, suggest(space, study.ask()))
