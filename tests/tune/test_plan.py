"""A search made ready: rows, folds, candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold, train_test_split

from heart import cohorts
from heart.cohorts import Cohort
from heart.errors import DataError, UsageError
from tune.options import Options
from tune.plan import make_plan
from tune.spaces import REFERENCE, REFERENCE_POOLED


def traces(cohort: Cohort) -> list[tuple[str, int]]:
    return [(str(s), int(r)) for s, r in zip(cohort.sites, cohort.rows, strict=True)]


def test_by_default_sixty_random_candidates_with_asha_on_all_patients() -> None:
    plan = make_plan(Options())
    assert (plan.cohort, plan.algorithm, plan.scheduler) == ("all", "random", "asha")
    assert plan.number == len(plan.candidates) == 60
    assert (len(plan.train), len(plan.test), len(plan.data)) == (734, 184, 5)
    assert plan.registers


def test_reference_is_a_grid_of_31_on_the_complete_cleveland_rows() -> None:
    plan = make_plan(Options(space="reference"))
    assert (plan.cohort, plan.algorithm, plan.scheduler) == ("cleveland", "grid", "none")
    assert plan.number == len(plan.candidates) == 31
    assert (len(plan.train), len(plan.test)) == (237, 60)
    assert not plan.train.X.isna().to_numpy().any()
    assert not plan.registers


def test_pooled_reference_keeps_the_zeros_of_all_patients() -> None:
    plan = make_plan(Options(space="reference-pooled"))
    assert (plan.cohort, plan.algorithm, plan.scheduler) == ("all", "grid", "none")
    assert plan.number == 2
    assert (len(plan.train), len(plan.test)) == (734, 184)
    assert (plan.train.X["chol"] == 0).sum() > 100


@pytest.mark.parametrize("space", [REFERENCE, REFERENCE_POOLED], ids=lambda space: space.name)
def test_reference_rows_and_folds_are_scikit_learns(space: object) -> None:
    assert space in (REFERENCE, REFERENCE_POOLED)
    plan = make_plan(Options(space=space.name))  # type: ignore[attr-defined]
    table = cohorts.load(plan.cohort, treatment=plan.space.treatment)
    train, test = train_test_split(
        np.arange(len(table)), test_size=0.2, random_state=42, stratify=table.y
    )
    assert traces(plan.train) == traces(table.take(train))
    assert traces(plan.test) == traces(table.take(test))
    expected = StratifiedKFold(5, shuffle=True, random_state=42).split(plan.train.X, plan.train.y)
    for (fit, score), (other_fit, other_score) in zip(plan.data.folds, expected, strict=True):
        np.testing.assert_array_equal(fit, other_fit)
        np.testing.assert_array_equal(score, other_score)


def test_the_same_seed_gives_the_same_plan() -> None:
    first, second = (make_plan(Options(seed=7)) for _ in range(2))
    assert first.candidates == second.candidates
    assert traces(first.train) == traces(second.train)
    for one, other in zip(first.data.folds, second.data.folds, strict=True):
        np.testing.assert_array_equal(one[1], other[1])


def test_another_seed_gives_other_candidates_and_folds_and_the_same_test_rows() -> None:
    first, second = (make_plan(Options(seed=seed)) for seed in (1, 2))
    assert first.candidates != second.candidates
    assert not np.array_equal(first.data.folds[0][1], second.data.folds[0][1])
    assert traces(first.test) == traces(second.test)
    assert traces(first.train) == traces(second.train)


def test_another_split_seed_gives_other_test_rows_and_the_same_candidates() -> None:
    first, second = (make_plan(Options(split_seed=seed)) for seed in (1, 2))
    assert set(traces(first.test)) != set(traces(second.test))
    assert first.candidates == second.candidates


@pytest.mark.parametrize("options", [{"folds": 3}, {"space": "wide"}, {"num_samples": 2}])
def test_test_rows_depend_on_nothing_else(options: dict[str, object]) -> None:
    other = make_plan(Options.model_validate(options))
    assert traces(other.test) == traces(make_plan(Options()).test)


def test_no_row_is_both_trained_and_tested_on() -> None:
    plan = make_plan(Options())
    assert not set(traces(plan.train)) & set(traces(plan.test))
    for fit, score in plan.data.folds:
        assert not set(fit) & set(score)
        assert max(*fit, *score) < len(plan.train)


def test_test_rows_hold_each_hospital_in_its_share() -> None:
    plan = make_plan(Options())
    for site in np.unique(plan.train.sites):
        inside = int((plan.test.sites == site).sum())
        assert inside == pytest.approx(0.2 * (inside + (plan.train.sites == site).sum()), abs=2)


def test_optuna_makes_its_candidates_on_the_way() -> None:
    plan = make_plan(Options(algorithm="optuna", num_samples=12))
    assert plan.candidates == ()
    assert plan.number == 12


def test_a_finite_space_can_be_sampled() -> None:
    plan = make_plan(Options(space="reference", algorithm="random", num_samples=5))
    assert plan.number == 5
    assert plan.scheduler == "asha"


def test_no_register_keeps_a_search_from_the_registry() -> None:
    assert not make_plan(Options(register_model=False)).registers


def test_a_space_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from tune.space import Choice, FamilySpace, Space\n"
        "MINE = Space('mine', (FamilySpace('logistic_regression', {'C': Choice((1, 2, 3))}),))\n"
    )
    plan = make_plan(Options(space=f"{path}:MINE"))
    assert (plan.space.name, plan.number, plan.algorithm) == ("mine", 3, "grid")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "reference", "cohort": "all"}, "--space reference is for --cohort cleveland"),
        ({"space": "reference-pooled", "cohort": "cleveland"}, "is for --cohort all"),
        ({"space": "narrow"}, '--space must be .*, got "narrow"'),
        ({"algorithm": "grid"}, "--algorithm grid needs a Choice"),
        ({"folds": 1}, "--folds must be from 2 to .*, got 1"),
        ({"folds": 329}, "--folds must be from 2 to 328, .*, got 329"),
    ],
)
def test_what_means_nothing_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_plan(Options.model_validate(options))


def test_a_test_size_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(DataError, match=r"0\.001 cannot divide"):
        make_plan(Options(test_size=0.001))
