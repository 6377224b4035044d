"""What `bench_search.py` gives to all programs: candidates, folds, and tables of any height."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from heart.attributes import CATEGORICAL, NUMERIC
from heart.cohorts import Cohort
from tune.candidates import sample
from tune.options import Options
from tune.plan import Plan, make_plan
from tune.space import Choice, FamilySpace, Integer, LogUniform, Space
from tune.trial import Folds, make_folds

REFERENCE_CANDIDATES: Final = 31
NUMERIC_NOISE: Final = 0.1
CODE_NOISE: Final = 0.05

TALL: Final = Space(
    name="tall",
    families=(
        FamilySpace(
            "logistic_regression",
            {"C": LogUniform(0.003, 3.0), "solver": "lbfgs", "max_iter": 1000},
        ),
        FamilySpace(
            "random_forest",
            {
                "n_estimators": 100,
                "max_depth": Choice((4, 6, 8)),
                "max_features": Choice(("sqrt", 0.3)),
                "min_samples_leaf": Integer(1, 20),
            },
        ),
    ),
)
"""Two families within the default ranges; l2 alone, since saga takes minutes on 100,000 rows."""


@dataclass(frozen=True)
class Workload:
    """What all programs are given: candidates, and rows where the table is resampled."""

    name: str
    space: str
    number: int
    seed: int
    rows: int | None = None

    def options(self, scheduler: str = "none") -> Options:
        """The same as options of the search."""
        return Options(
            space=self.space,
            num_samples=self.number,
            algorithm="grid" if self.space == "reference" else "random",
            scheduler=scheduler,
            seed=self.seed,
            register_model=False,
        )

    def plan(self, scheduler: str = "none") -> Plan:
        """The rows, folds and candidates."""
        plan = make_plan(self.options(scheduler))
        return plan if self.rows is None else tall_plan(plan, rows=self.rows)


def tall_plan(plan: Plan, *, rows: int) -> Plan:
    """A plan on a table of that many rows to train on, with the candidates of `TALL`."""
    options = plan.options
    train = resample(plan.train, rows=rows, seed=options.seed)
    folds = make_folds(train.y, folds=options.folds, repeats=options.repeats, seed=options.seed)
    return replace(
        plan,
        space=TALL,
        train=train,
        data=Folds(train.X, train.y, folds, TALL.preprocessing, options.seed),
        candidates=tuple(sample(TALL, number=options.num_samples, seed=options.seed)),
    )


def resample(cohort: Cohort, *, rows: int, seed: int) -> Cohort:
    """Patients drawn with replacement, their numbers jittered and some of their codes swapped.

    A table to measure time with, not to learn from.
    """
    rng = np.random.default_rng(seed)
    drawn = cohort.take(rng.integers(len(cohort), size=rows))
    X = drawn.X.copy()
    for name in NUMERIC:
        X[name] += rng.normal(scale=NUMERIC_NOISE * float(X[name].std()), size=rows)
    for name in CATEGORICAL:
        other = X[name].to_numpy()[rng.permutation(rows)]
        X[name] = X[name].where(rng.random(rows) >= CODE_NOISE, other)
    return replace(drawn, X=X)
