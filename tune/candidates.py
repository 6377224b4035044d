"""Candidates: what one trial fits. Drawn from a space by grid, at random, or by Optuna."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from heart.errors import UsageError
from tune.space import Choice, Distribution, FamilySpace, Integer, LogUniform, Space, Uniform

if TYPE_CHECKING:
    import optuna  # Every worker imports this module, and none needs optuna.

ID_LENGTH: Final = 12
TRIES_PER_CANDIDATE: Final = 100
"""Draws before a space counts as used up: small families repeat themselves."""


@dataclass(frozen=True)
class Candidate:
    """A family with a value for each of its parameters."""

    family: str
    params: Mapping[str, Any]

    @property
    def id(self) -> str:
        """A name that is the same in every run and on every machine."""
        canonical = json.dumps([self.family, dict(self.params)], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def grid(space: Space) -> list[Candidate]:
    """Every candidate of a finite space; raises `UsageError` where a range has no grid."""
    for family in space.families:
        for name, value in family.params.items():
            if isinstance(value, Uniform | LogUniform | Integer):
                raise UsageError(
                    f"--algorithm grid needs a Choice for every parameter, but {family.family}'s "
                    f"{name} in space {space.name} is a range: use random or optuna",
                    field="algorithm",
                )
    return [candidate for family in space.families for candidate in _grid_of(family)]


def sample(space: Space, *, number: int, seed: int) -> list[Candidate]:
    """Different candidates at random, the families in turn; fewer if the space has no more."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, Candidate] = {}
    families = itertools.cycle(space.families)
    for family in itertools.islice(families, number * TRIES_PER_CANDIDATE):
        if len(drawn) == number:
            break
        candidate = Candidate(
            family.family, {name: _draw(value, rng) for name, value in family.params.items()}
        )
        drawn.setdefault(candidate.id, candidate)
    return list(drawn.values())


def suggest(space: Space, trial: optuna.trial.BaseTrial) -> Candidate:
    """The candidate that Optuna proposes: first the family, then its own parameters."""
    by_name = {family.family: family for family in space.families}
    name = trial.suggest_categorical("family", list(by_name))
    family = by_name[str(name)]
    return Candidate(
        family.family,
        {
            param: _suggested(f"{family.family}.{param}", value, trial)
            for param, value in family.params.items()
        },
    )


def fixed(space: Space, candidate: Candidate) -> dict[str, Any]:
    """The values with which `suggest` would have given this candidate."""
    family = next(f for f in space.families if f.family == candidate.family)
    values: dict[str, Any] = {"family": candidate.family}
    for param, value in family.params.items():
        found = candidate.params[param]
        name = f"{candidate.family}.{param}"
        if isinstance(value, Choice):
            values[name] = value.values.index(found)
        elif isinstance(value, Uniform | LogUniform | Integer):
            values[name] = found
    return values


def _grid_of(family: FamilySpace) -> Iterator[Candidate]:
    axes = [
        value.values if isinstance(value, Choice) else (value,) for value in family.params.values()
    ]
    for values in itertools.product(*axes):
        yield Candidate(family.family, dict(zip(family.params, values, strict=True)))


def _draw(value: Distribution | Any, rng: np.random.Generator) -> Any:
    match value:
        case Choice(values):
            return values[int(rng.integers(len(values)))]
        case Uniform(low, high):
            return float(rng.uniform(low, high))
        case LogUniform(low, high):
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))
        case Integer(low, high):
            return int(rng.integers(low, high, endpoint=True))
        case constant:
            return constant


def _suggested(name: str, value: Distribution | Any, trial: optuna.trial.BaseTrial) -> Any:
    match value:
        case Choice(values):
            return values[trial.suggest_categorical(name, list(range(len(values))))]
        case Uniform(low, high):
            return trial.suggest_float(name, low, high)
        case LogUniform(low, high):
            return trial.suggest_float(name, low, high, log=True)
        case Integer(low, high):
            return trial.suggest_int(name, low, high)
        case constant:
            return constant
