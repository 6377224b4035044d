"""A search made ready: the rows, the folds and the candidates; nothing is written yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from heart import cohorts
from heart.cohorts import Cohort, CohortName
from heart.errors import UsageError
from tune.candidates import Candidate, grid, sample
from tune.feasibility import check_feasible
from tune.options import Options
from tune.space import Space
from tune.spaces import find_space
from tune.trial import Folds, make_folds


@dataclass(frozen=True)
class Plan:
    """Everything a search needs to know; the test rows are set aside in it."""

    options: Options
    space: Space
    cohort: CohortName
    algorithm: str
    scheduler: str
    train: Cohort
    test: Cohort
    data: Folds
    candidates: tuple[Candidate, ...]

    @property
    def number(self) -> int:
        """How many candidates are to be tried."""
        return len(self.candidates) or self.options.num_samples

    @property
    def registers(self) -> bool:
        """Whether the winner goes to the registry."""
        return self.options.register_model and self.space.registers


def make_plan(options: Options) -> Plan:
    """Load, split and draw. Raises `UsageError` and `DataError` before anything is written."""
    space = find_space(options.space)
    cohort = _cohort(options, space)
    table = cohorts.load(cohort, treatment=space.treatment)
    train, test = cohorts.split(
        table, test_size=options.test_size, seed=options.split_seed, by_site=space.split_by_site
    )
    folds = make_folds(train.y, folds=options.folds, repeats=options.repeats, seed=options.seed)
    data = Folds(train.X, train.y, folds, space.preprocessing, options.seed)
    check_feasible(space, data)
    algorithm = options.algorithm or ("grid" if space.finite else "random")
    scheduler = options.scheduler or ("none" if algorithm == "grid" else "asha")
    return Plan(
        options=options,
        space=space,
        cohort=cohort,
        algorithm=algorithm,
        scheduler=scheduler,
        train=train,
        test=test,
        data=data,
        candidates=tuple(_candidates(space, algorithm, options)),
    )


def _cohort(options: Options, space: Space) -> CohortName:
    if options.cohort and space.cohort and options.cohort != space.cohort:
        raise UsageError(
            f"--space {space.name} is for --cohort {space.cohort}, got {options.cohort}",
            field="cohort",
        )
    return cast(CohortName, options.cohort or space.cohort or "all")


def _candidates(space: Space, algorithm: str, options: Options) -> list[Candidate]:
    """Made beforehand, so that they do not depend on workers; Optuna's are made on the way."""
    if algorithm == "optuna":
        return []
    if algorithm == "grid":
        return grid(space)
    return sample(space, number=options.num_samples, seed=options.seed)
