"""What a model is worth, on rows it did not see: the evidence for gates, card and registry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, computed_field

from heart.attributes import BY_NAME
from heart.calibration import Floats, Labels, Method
from heart.cohorts import Cohort
from heart.decision import Bounds, Coverage, NetBenefit, coverage, net_benefit
from heart.evaluation import BINS, Interval, intervals, wilson

SMALLEST_CELL: Final = 20
"""Groups with fewer patients of either class are withheld: their scores are noise, and few
patients can be told from their figures."""
AGE_BANDS: Final = {"under 50": (0, 50), "50 to 59": (50, 60), "60 and over": (60, 150)}
"""Years; about a third of the patients lie in each."""

Fit = Callable[[Cohort], Callable[[pd.DataFrame], Floats]]
Mask = npt.NDArray[np.bool_]


class Group(BaseModel):
    """The scores of one group of patients; None where a class has under `SMALLEST_CELL`."""

    model_config = ConfigDict(frozen=True)

    group: str
    n: int
    scores: dict[str, Interval] | None


class Hospital(BaseModel):
    """A hospital that the model did not see: trained on the others, tested on all of this."""

    model_config = ConfigDict(frozen=True)

    site: str
    n: int
    negatives: int
    prevalence: float
    scores: dict[str, Interval]


class Bin(BaseModel):
    """A tenth of the patients: mean predicted probability and share with disease."""

    model_config = ConfigDict(frozen=True)

    predicted: float
    observed: float
    n: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def interval(self) -> Interval:
        """``observed`` with its 95% Wilson interval, stored for readers without statistics."""
        return wilson(round(self.n * self.observed), self.n)


class Assessment(BaseModel):
    """Everything measured of a version.

    ``out_of_fold`` are training rows, each predicted by a model that did not see it; ``test``
    the rows set aside. ``brier_by_calibration`` is what the calibration was chosen by.
    """

    model_config = ConfigDict(frozen=True)

    out_of_fold: dict[str, Interval]
    test: dict[str, Interval]
    groups: tuple[Group, ...]
    hospitals: tuple[Hospital, ...]
    net_benefit: tuple[NetBenefit, ...]
    coverage: dict[str, Coverage]
    bins: tuple[Bin, ...]
    brier_by_calibration: dict[Method, float]


@dataclass(frozen=True, eq=False)
class Predicted:
    """Patients with probabilities of a model that did not see them, shape (n,)."""

    patients: Cohort
    p: Floats


def assess(
    out_of_fold: Predicted,
    test: Predicted,
    *,
    fit: Fit,
    bounds: Bounds,
    briers: Mapping[Method, float],
    threshold: float,
    seed: int,
) -> Assessment:
    """Measure a version; ``fit`` trains its recipe on other rows, without calibration."""
    patients, p = out_of_fold.patients, out_of_fold.p
    return Assessment(
        out_of_fold=defined(intervals(patients.y, p, threshold=threshold, seed=seed)),
        test=defined(intervals(test.patients.y, test.p, threshold=threshold, seed=seed)),
        groups=tuple(groups(out_of_fold, threshold=threshold, seed=seed)),
        hospitals=leave_one_out(patients, fit=fit, threshold=threshold, seed=seed),
        net_benefit=tuple(net_benefit(patients.y, p)),
        coverage=_coverages(bounds, out_of_fold, test),
        bins=tuple(_bins(patients.y, p)),
        brier_by_calibration=dict(briers),
    )


def groups(predicted: Predicted, *, threshold: float, seed: int) -> Iterator[Group]:
    """The scores by sex, age band and hospital."""
    for name, mask in _masks(predicted.patients):
        y, p = predicted.patients.y[mask], predicted.p[mask]
        smallest = int(np.bincount(y, minlength=2).min())
        scored = None
        if smallest >= SMALLEST_CELL:
            scored = defined(intervals(y, p, threshold=threshold, seed=seed))
        yield Group(group=name, n=len(y), scores=scored)


def leave_one_out(
    patients: Cohort, *, fit: Fit, threshold: float, seed: int
) -> tuple[Hospital, ...]:
    """Each hospital predicted by a model of the others; none where there is one hospital.

    Without the version's calibration, which the hospital's own patients had a part in.
    """
    sites = list(dict.fromkeys(patients.sites.tolist()))
    if len(sites) < 2:
        return ()
    found = []
    for site in sites:
        inside = patients.sites == site
        predict = fit(patients.take(~inside))
        held_out = patients.take(inside)
        p = predict(held_out.X)
        found.append(hospital(site, held_out.y, p, threshold=threshold, seed=seed))
    return tuple(found)


def hospital(site: str, y: Labels, p: Floats, *, threshold: float, seed: int) -> Hospital:
    """The scores of one hospital's patients."""
    return Hospital(
        site=site,
        n=len(y),
        negatives=int((y == 0).sum()),
        prevalence=float(y.mean()),
        scores=defined(intervals(y, p, threshold=threshold, seed=seed)),
    )


def defined(scores: Mapping[str, Interval]) -> dict[str, Interval]:
    """The scores that the rows define: JSON has no NaN."""
    return {
        name: interval
        for name, interval in scores.items()
        if not any(math.isnan(bound) for bound in (interval.value, interval.low, interval.high))
    }


def _masks(patients: Cohort) -> Iterator[tuple[str, Mask]]:
    for code, word in BY_NAME["sex"].words.items():
        yield f"sex: {word}", np.asarray(patients.X["sex"] == code)
    age = patients.X["age"].to_numpy()
    for name, (low, high) in AGE_BANDS.items():
        yield f"age: {name}", (age >= low) & (age < high)
    for site in dict.fromkeys(patients.sites.tolist()):
        yield f"site: {site}", patients.sites == site


def _coverages(bounds: Bounds, out_of_fold: Predicted, test: Predicted) -> dict[str, Coverage]:
    """How the bounds held: among the rows they come from by hospital, and on the test rows."""
    found = {"test": coverage(bounds, test.patients.y, test.p)}
    for site in dict.fromkeys(out_of_fold.patients.sites.tolist()):
        inside = out_of_fold.patients.sites == site
        found[site] = coverage(bounds, out_of_fold.patients.y[inside], out_of_fold.p[inside])
    return found


def _bins(y: Labels, p: Floats) -> Iterator[Bin]:
    for rows in np.array_split(np.argsort(p, kind="stable"), min(BINS, len(p))):
        yield Bin(predicted=float(p[rows].mean()), observed=float(y[rows].mean()), n=len(rows))
