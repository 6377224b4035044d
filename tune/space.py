"""What a space is: families of models, and the values that their hyperparameters may take.

A parameter is a constant or one of the distributions below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from heart.cohorts import COHORTS, TREATMENTS, CohortName, Treatment
from heart.errors import UsageError
from heart.pipelines import FAMILIES, PREPROCESSINGS, Preprocessing

SERVED_TREATMENT: Final = "clean"


def _check_bounds(distribution: object, low: float, high: float) -> None:
    if not -math.inf < low < high < math.inf:
        name = type(distribution).__name__
        raise UsageError(f"{name}'s bounds must be finite, low below high, got {low} and {high}")


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
    for spaces that repeat somebody else's recipe; one that registers must treat the rows as
    the service does. ``split_by_site`` stratifies the test rows by hospital as well as by
    target.
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
        names = [family.family for family in self.families]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"space {self.name} must name a family once, got {twice} twice")
        self._check_one_of("preprocessing", self.preprocessing, PREPROCESSINGS)
        self._check_one_of("treatment", self.treatment, TREATMENTS)
        self._check_one_of("cohort", self.cohort, (None, *COHORTS))
        if self.registers and self.treatment != SERVED_TREATMENT:
            raise UsageError(
                f"space {self.name} registers, so its treatment must be {SERVED_TREATMENT}, as "
                f'the service treats a patient, got "{self.treatment}"',
                field="space",
            )

    def _check_one_of(self, what: str, value: object, choices: tuple[object, ...]) -> None:
        if value not in choices:
            told = ", ".join(map(str, choices))
            raise UsageError(
                f'space {self.name}: {what} must be one of {told}, got "{value}"', field="space"
            )

    @property
    def finite(self) -> bool:
        """Whether a grid can walk it."""
        return all(
            not isinstance(value, Uniform | LogUniform | Integer)
            for family in self.families
            for value in family.params.values()
        )
