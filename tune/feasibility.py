"""Whether the families of a space can be fitted to the rows at all, before anything is written.

Parameters are looked at and nothing is fitted. What an estimator refuses for another reason,
such as two values that do not go together, makes that candidate fail, and the search goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from heart.errors import UsageError
from heart.pipelines import estimator
from tune.space import Choice, FamilySpace, Integer, LogUniform, Space, Uniform
from tune.trial import Folds

Values = Callable[[object], tuple[Any, ...]]


def check_feasible(space: Space, data: Folds) -> None:
    """Raise `UsageError` for a parameter that is no estimator's, or a value it cannot take."""
    rows = min(len(fit) for fit, _ in data.folds)
    smaller = min(int(np.bincount(data.y[fit], minlength=2).min()) for fit, _ in data.folds)
    for family in space.families:
        try:
            for params in _params(family, _bounds):
                _check_told(params)
                _check_taken(estimator(family.family, params, seed=data.seed))
            for params in _params(family, _least):
                model = estimator(family.family, params, seed=data.seed)
                _check_size(model.get_params(), rows=rows, smaller=smaller)
        except (UsageError, ValueError) as error:
            raise UsageError(
                f"space {space.name}: {family.family} cannot be fitted: {error}",
                field="space",
            ) from error


def _check_told(params: Mapping[str, Any]) -> None:
    """A candidate's name is made of its values, and the journal keeps them, as JSON."""
    for name, value in params.items():
        try:
            json.dumps(value)
        except TypeError:
            raise UsageError(
                f"{name} must be a number, text, True, False, None or a list of them, "
                f"got {value!r} of type {type(value).__name__}"
            ) from None


def _check_taken(model: BaseEstimator) -> None:
    """Raise ValueError for a value that an estimator, or one inside it, refuses whatever the rows.

    It is what each ``fit`` of scikit-learn begins with, and has no public name.
    """
    inner = [value for value in model.get_params().values() if isinstance(value, BaseEstimator)]
    for part in (model, *inner):
        part._validate_params()


def _check_size(params: Mapping[str, Any], *, rows: int, smaller: int) -> None:
    neighbours, folds = params.get("n_neighbors", 0), params.get("cv", 0)
    if neighbours > rows:
        raise UsageError(
            f"n_neighbors must be at most {rows}, the rows of the smallest training fold, "
            f"got {neighbours}"
        )
    if folds > smaller:
        raise UsageError(
            f"it needs {folds} rows of each class in every training fold, got {smaller}"
        )


def _params(family: FamilySpace, values: Values) -> Iterator[dict[str, Any]]:
    """The first value of each parameter, then each other value beside the first ones."""
    first = {name: values(value)[0] for name, value in family.params.items()}
    yield first
    for name, value in family.params.items():
        for other in values(value)[1:]:
            yield first | {name: other}


def _bounds(value: object) -> tuple[Any, ...]:
    match value:
        case Choice(values):
            return values
        case Uniform(low, high) | LogUniform(low, high) | Integer(low, high):
            return low, high
        case constant:
            return (constant,)


def _least(value: object) -> tuple[Any, ...]:
    """Of a range the lower bound: the rows may be too few for its upper part and not for all."""
    found = _bounds(value)
    return found if isinstance(value, Choice) else found[:1]
