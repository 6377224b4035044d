"""The spaces: what is in them, what a space must be, and spaces of a user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from records import one_core

from heart import cohorts
from heart.conversion import PARITY_BOUND, parity, to_onnx
from heart.errors import UsageError
from heart.pipelines import FAMILIES, build, estimator
from tune.candidates import Candidate, grid, sample
from tune.space import Choice, FamilySpace, Integer, LogUniform, Space, Uniform
from tune.spaces import DEFAULT, REFERENCE, REFERENCE_POOLED, SPACES, WIDE, find_space

DUMMY = FamilySpace("dummy", {"strategy": "prior"})
SERVED = [f.family for f in WIDE.families if f.family != "dummy"]


def names(space: Space) -> list[str]:
    return [family.family for family in space.families]


def test_there_are_four_spaces() -> None:
    assert set(SPACES) == {"default", "wide", "reference", "reference-pooled"}
    assert all(find_space(name) is space for name, space in SPACES.items())


def test_default_has_every_kind_of_model() -> None:
    assert names(DEFAULT) == [
        "dummy",
        "logistic_regression",
        "k_nearest_neighbours",
        "svm",
        "extra_trees",
        "random_forest",
        "gradient_boosting",
        "mlp",
    ]


def test_logistic_regression_goes_from_ridge_to_lasso() -> None:
    params = DEFAULT.families[1].params
    assert {0.0, 1.0} < set(params["l1_ratio"].values)


def test_wide_has_the_families_of_default_in_their_order_and_more() -> None:
    assert [name for name in names(WIDE) if name in names(DEFAULT)] == names(DEFAULT)
    assert set(names(WIDE)) == set(FAMILIES)
    assert "logistic_interactions" in names(WIDE)


def test_ranges_of_wide_hold_those_of_default() -> None:
    wide = {family.family: family.params for family in WIDE.families}
    for family in DEFAULT.families:
        for name, value in family.params.items():
            if isinstance(value, Uniform | LogUniform | Integer):
                other = wide[family.family][name]
                assert other.low <= value.low
                assert other.high >= value.high


def test_the_simplest_comes_first() -> None:
    for space in (DEFAULT, WIDE, REFERENCE):
        assert names(space)[:2] == ["dummy", "logistic_regression"]


def test_reference_spaces_repeat_and_register_nothing() -> None:
    assert (REFERENCE.cohort, REFERENCE.treatment) == ("cleveland", "complete")
    assert (REFERENCE_POOLED.cohort, REFERENCE_POOLED.treatment) == ("all", "raw")
    for space in (REFERENCE, REFERENCE_POOLED):
        assert space.preprocessing == space.name
        assert space.finite
        assert not space.split_by_site
        assert not space.registers
    assert [len(grid(space)) for space in (REFERENCE, REFERENCE_POOLED)] == [31, 2]


def test_default_and_wide_register_and_have_no_grid() -> None:
    for space in (DEFAULT, WIDE):
        assert space.registers
        assert space.cohort is None
        assert not space.finite


@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
def test_every_parameter_is_one_that_its_estimator_takes(space: Space) -> None:
    for candidate in sample(space, number=2 * len(space.families), seed=0):
        estimator(candidate.family, candidate.params, seed=0)


@pytest.mark.parametrize("family", SERVED)
def test_every_family_converts(family: str) -> None:
    space = Space("one", tuple(f for f in WIDE.families if f.family == family))
    train, test = cohorts.split(cohorts.load("cleveland"), test_size=0.2, seed=42)
    (candidate,) = sample(space, number=1, seed=3)
    few = {"n_estimators": 20} if "n_estimators" in candidate.params else {}
    with one_core():
        pipeline = build(family, {**candidate.params, **few}, seed=42).fit(train.X, train.y)
    rows = pd.concat([train.X, test.X])
    assert parity(pipeline, to_onnx(pipeline), rows) <= PARITY_BOUND


def test_interactions_are_the_pairs_of_columns() -> None:
    X = np.random.default_rng(0).normal(size=(400, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    params = {"C": 1.0, "solver": "liblinear"}
    plain = estimator("logistic_regression", params, seed=0).fit(X, y)
    pairs = estimator("logistic_interactions", params, seed=0).fit(X, y)
    assert plain.score(X, y) < 0.65
    assert pairs.score(X, y) > 0.95


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "choice of nothing": (lambda: Choice(()), "at least one value"),
    "low above high": (lambda: Uniform(2.0, 1.0), "low below high, got 2.0 and 1.0"),
    "low at high": (lambda: Integer(3, 3), "low below high, got 3 and 3"),
    "not a number": (lambda: Uniform(float("nan"), 1.0), "finite"),
    "no end": (lambda: LogUniform(1.0, float("inf")), "finite"),
    "log of zero": (lambda: LogUniform(0.0, 1.0), "above 0, got 0.0"),
    "unknown family": (lambda: FamilySpace("perceptron"), '"perceptron" is no family'),
    "no family": (lambda: Space("mine", ()), "space mine must have at least one family"),
    "a family twice": (lambda: Space("mine", (DUMMY, DUMMY)), "got dummy twice"),
    "preprocessing": (
        lambda: Space("mine", (DUMMY,), preprocessing="defualt"),  # type: ignore[arg-type]
        '"defualt"',
    ),
    "treatment": (
        lambda: Space("mine", (DUMMY,), treatment="dirty"),  # type: ignore[arg-type]
        '"dirty"',
    ),
    "cohort": (
        lambda: Space("mine", (DUMMY,), cohort="va"),  # type: ignore[arg-type]
        '"va"',
    ),
    "registers raw rows": (lambda: Space("mine", (DUMMY,), treatment="raw"), "must be clean"),
    "registers complete rows": (
        lambda: Space("mine", (DUMMY,), treatment="complete"),
        "must be clean",
    ),
}


@pytest.mark.parametrize("rule", WRONG)
def test_what_means_nothing_is_refused(rule: str) -> None:
    make, message = WRONG[rule]
    with pytest.raises(UsageError, match=message):
        make()


def test_rows_may_be_raw_where_nothing_is_registered() -> None:
    assert Space("mine", (DUMMY,), treatment="raw", registers=False).treatment == "raw"


def user_file(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_a_space_of_ones_own(tmp_path: Path) -> None:
    path = user_file(
        tmp_path,
        "from tune.space import Choice, FamilySpace, Space\n"
        "SMALL = Space('small', (FamilySpace('logistic_regression', {'C': Choice((1, 2))}),))\n",
    )
    space = find_space(f"{path}:SMALL")
    assert space.name == "small"
    assert grid(space) == [Candidate("logistic_regression", {"C": c}) for c in (1, 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def", "SyntaxError"),
        ("import no_such_module_of_mine", "no_such_module_of_mine"),
        ("import numpy as np\nnp.no_such_name", "AttributeError"),
        ("1 / 0", "ZeroDivisionError"),
        ("from tune.space import Choice\nChoice(())", "Choice must have at least one value"),
        ("OTHER = 1", "has no Space named SMALL"),
        ("SMALL = {'dummy': {}}", "has no Space named SMALL"),
    ],
)
def test_a_users_file_that_has_no_space(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_space(f"{user_file(tmp_path, text)}:SMALL")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("defualt", 'got "defualt"'),
        ("absent.py:SMALL", "absent.py is no Python file"),
        ("/:SMALL", "no Python file"),
        (__file__.replace("test_spaces.py", ":X"), "no Python file"),
    ],
)
def test_a_space_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_space(name)


def test_a_space_is_data() -> None:
    params: dict[str, Any] = {"C": LogUniform(0.1, 1.0)}
    assert FamilySpace("svm", params) == FamilySpace("svm", dict(params))
