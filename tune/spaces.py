"""What is searched: families of models and the values of their hyperparameters, as data.

A space lists its families from the simplest to the most complex; that order decides which of
two equally good candidates is chosen by ``--select one-se``. A parameter is a constant or one
of the distributions below. A space of one's own is a module-level `Space` in a Python file,
passed as ``--space path.py:NAME``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from heart.cohorts import CohortName, Treatment
from heart.errors import UsageError
from heart.pipelines import FAMILIES, Preprocessing


def _check_bounds(distribution: object, low: float, high: float) -> None:
    if not low < high:
        name = type(distribution).__name__
        raise UsageError(f"{name}'s low must be below its high, got {low} and {high}")


@dataclass(frozen=True)
class Choice:
    """One of some values, each as likely; the only distribution that a grid can walk."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise UsageError("Choice must have at least one value, got none")


@dataclass(frozen=True)
class Uniform:
    """A number between two bounds."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds(self, self.low, self.high)


@dataclass(frozen=True)
class LogUniform:
    """A positive number between two bounds, its logarithm uniform."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds(self, self.low, self.high)
        if self.low <= 0:
            raise UsageError(f"LogUniform's low must be above 0, got {self.low}")


@dataclass(frozen=True)
class Integer:
    """A whole number between two bounds, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _check_bounds(self, self.low, self.high)


Distribution = Choice | Uniform | LogUniform | Integer


@dataclass(frozen=True)
class FamilySpace:
    """A family and its parameters, each a distribution or a constant."""

    family: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise UsageError(
                f'"{self.family}" is no family; the families are {", ".join(FAMILIES)}',
                field="space",
            )


@dataclass(frozen=True)
class Space:
    """Families in order of complexity, and how the table is prepared for them.

    ``cohort`` is the only cohort the space is meant for, None for any. ``registers`` is False
    for spaces that repeat somebody else's recipe. ``split_by_site`` stratifies the test rows
    by hospital as well as by target.
    """

    name: str
    families: tuple[FamilySpace, ...]
    preprocessing: Preprocessing = "default"
    treatment: Treatment = "clean"
    cohort: CohortName | None = None
    split_by_site: bool = True
    registers: bool = True

    def __post_init__(self) -> None:
        if not self.families:
            raise UsageError(f"space {self.name} must have at least one family, got none")

    @property
    def finite(self) -> bool:
        """Whether a grid can walk it."""
        return all(
            not isinstance(value, Uniform | LogUniform | Integer)
            for family in self.families
            for value in family.params.values()
        )


REFERENCE: Final = Space(
    name="reference",
    cohort="cleveland",
    treatment="complete",
    preprocessing="reference",
    split_by_site=False,
    registers=False,
    families=(
        FamilySpace("dummy", {"strategy": "most_frequent"}),
        FamilySpace(
            "logistic_regression",
            {
                "C": Choice((0.1, 1.0, 10.0)),
                "solver": Choice(("liblinear", "lbfgs")),
                "max_iter": 500,
            },
        ),
        FamilySpace(
            "random_forest",
            {
                "n_estimators": Choice((150, 250)),
                "max_depth": Choice((None, 8, 12)),
                "min_samples_split": Choice((2, 5)),
                "min_samples_leaf": Choice((1, 2)),
            },
        ),
    ),
)
"""The grid of a published one-machine system on the complete Cleveland rows."""

REFERENCE_POOLED: Final = Space(
    name="reference-pooled",
    cohort="all",
    treatment="raw",
    preprocessing="reference-pooled",
    split_by_site=False,
    registers=False,
    families=(
        FamilySpace("logistic_regression", {"max_iter": 1000}),
        FamilySpace("random_forest", {"n_estimators": 200}),
    ),
)
"""The two models of another, on the pooled hospitals with zeros left as they are."""

_TREES: Final = {
    "n_estimators": Choice((100, 200, 300)),
    "max_depth": Choice((None, 4, 6, 8)),
    "max_features": Choice(("sqrt", 0.3, 0.5)),
    "min_samples_leaf": Integer(1, 20),
}

DEFAULT: Final = Space(
    name="default",
    families=(
        FamilySpace("dummy", {"strategy": "prior"}),
        FamilySpace(
            "logistic_regression",
            {
                "C": LogUniform(0.003, 30.0),
                "l1_ratio": Choice((0.0, 0.25, 0.5, 0.75, 1.0)),
                "solver": "saga",
                "max_iter": 5000,
            },
        ),
        FamilySpace(
            "k_nearest_neighbours",
            {
                "n_neighbors": Integer(5, 75),
                "weights": Choice(("uniform", "distance")),
                "p": Choice((1, 2)),
            },
        ),
        FamilySpace("svm", {"C": LogUniform(0.03, 30.0), "gamma": LogUniform(0.001, 0.3)}),
        FamilySpace("extra_trees", _TREES),
        FamilySpace("random_forest", _TREES),
        FamilySpace(
            "gradient_boosting",
            {
                "n_estimators": Integer(50, 300),
                "learning_rate": LogUniform(0.01, 0.2),
                "max_depth": Integer(1, 4),
                "subsample": Uniform(0.5, 1.0),
                "min_samples_leaf": Integer(1, 30),
            },
        ),
        FamilySpace(
            "mlp",
            {"hidden": Integer(2, 16), "alpha": LogUniform(0.1, 30.0), "max_iter": 5000},
        ),
    ),
)
"""Ranges for 300 to 900 rows: from strong shrinkage to hardly any, from stumps to full trees."""

SPACES: Final[Mapping[str, Space]] = {
    space.name: space for space in (DEFAULT, REFERENCE, REFERENCE_POOLED)
}


def find_space(name: str) -> Space:
    """A space by its name, or from ``path.py:NAME``; raises `UsageError`."""
    if name in SPACES:
        return SPACES[name]
    path, colon, attribute = name.rpartition(":")
    if not colon:
        raise UsageError(
            f'--space must be {", ".join(SPACES)} or path.py:NAME, got "{name}"', field="space"
        )
    return _from_file(Path(path), attribute)


def _from_file(path: Path, attribute: str) -> Space:
    spec = importlib.util.spec_from_file_location("heart_user_space", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"--space: {path} is no Python file", field="space")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, TypeError, ValueError) as error:
        raise UsageError(f"--space: {path}: {error}", field="space") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Space):
        raise UsageError(f"--space: {path} has no Space named {attribute}", field="space")
    return found
