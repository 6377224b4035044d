"""A family that the rows cannot fit is refused before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import plan_of

from heart.errors import UsageError
from heart.pipelines import FAMILIES
from tune.feasibility import check_feasible
from tune.options import Options
from tune.plan import Plan, make_plan
from tune.space import Choice, FamilySpace, Integer, Space, Uniform
from tune.spaces import DEFAULT, SPACES, WIDE
from tune.trial import Folds, make_folds


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of()


def few(plan: Plan, *, of_each: int) -> Folds:
    """Two folds of so many rows of each class."""
    rows = np.concatenate([np.flatnonzero(plan.data.y == label)[:of_each] for label in (0, 1)])
    y = plan.data.y[rows]
    folds = make_folds(y, folds=2, repeats=1, seed=0)
    return replace(plan.data, X=plan.data.X.iloc[rows], y=y, folds=folds)


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
def test_every_space_of_ours_can_be_fitted(plan: Plan, space: Space) -> None:
    check_feasible(space, plan.data)


def test_it_looks_at_every_family(plan: Plan) -> None:
    assert {family.family for family in WIDE.families} == {*FAMILIES}
    for family in WIDE.families:
        wrong = FamilySpace(family.family, {**family.params, "colour": Choice(("red", "green"))})
        with pytest.raises(UsageError, match=f"{family.family} cannot be fitted: .*'colour'"):
            check_feasible(Space("mine", (wrong,)), plan.data)


@pytest.mark.parametrize(
    ("family", "params", "told"),
    [
        ("logistic_regression", {"c": 1.0}, "takes no such parameters: .*'c'"),
        ("mlp", {"alpha": 1.0}, "'hidden'"),
        ("logistic_regression", {"C": -1.0}, "'C' parameter of LogisticRegression must be .* -1.0"),
        ("logistic_regression", {"C": Choice((1.0, "1"))}, "'C' parameter .* Got '1'"),
        ("logistic_regression", {"l1_ratio": Uniform(0.0, 2.0)}, "'l1_ratio' .* Got 2.0"),
        ("logistic_interactions", {"C": 0.0}, "'C' parameter of LogisticRegression"),
        ("svm", {"gamma": "large"}, "'gamma' parameter of SVC"),
        ("adaboost", {"max_depth": 0}, "'max_depth' parameter of DecisionTreeClassifier"),
        ("random_forest", {"n_estimators": Choice((10, 0))}, "'n_estimators' .* Got 0"),
        ("k_nearest_neighbours", {"n_neighbors": 9999}, "must be at most 161, .* got 9999"),
        ("k_nearest_neighbours", {"n_neighbors": Choice((5, 162))}, "at most 161, .* got 162"),
        ("k_nearest_neighbours", {"n_neighbors": Integer(162, 170)}, "at most 161, .* got 162"),
        (
            "k_nearest_neighbours",
            {"n_neighbors": Choice(tuple(np.arange(5, 8)))},
            r"n_neighbors must be a number, .* got np.int64\(5\) of type int64",
        ),
    ],
)
def test_what_no_fit_can_take_is_refused(
    plan: Plan, family: str, params: Mapping[str, Any], told: str
) -> None:
    space = Space("mine", (FamilySpace("dummy"), FamilySpace(family, params)))
    with pytest.raises(UsageError, match=f"space mine: {family} cannot be fitted: .*{told}"):
        check_feasible(space, plan.data)


def test_a_range_may_reach_beyond_the_rows(plan: Plan) -> None:
    reaching = FamilySpace("k_nearest_neighbours", {"n_neighbors": Integer(5, 9999)})
    check_feasible(Space("mine", (reaching,)), plan.data)


def test_a_family_may_need_more_rows_than_there_are(plan: Plan) -> None:
    check_feasible(DEFAULT, few(plan, of_each=10))
    with pytest.raises(UsageError, match=r"svm cannot .* needs 5 rows of each class .* got 4"):
        check_feasible(DEFAULT, few(plan, of_each=8))


def test_a_plan_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\n"
        "from tune.space import Choice, FamilySpace, Space\n"
        "KNN = FamilySpace('k_nearest_neighbours', {'n_neighbors': Choice(tuple(np.arange(9)))})\n"
        "MINE = Space('mine', (KNN,))\n"
    )
    with pytest.raises(UsageError, match="space mine: k_nearest_neighbours cannot be fitted"):
        make_plan(Options(space=f"{path}:MINE"))
