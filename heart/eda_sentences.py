"""What the figures of the exploratory analysis show, in one sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from heart.attributes import BY_NAME
from heart.evaluation import Interval, Labels, wilson

CLASSES: Final = ("no disease", "disease")


class Share(Interval):
    """How many of n patients have the disease: the share, with its 95% Wilson interval."""

    n: int
    with_disease: int

    @classmethod
    def of(cls, y: Labels) -> Share:
        """The share of ones among labels of shape (n,), n at least 1 (Wilson, 1927)."""
        n, count = len(y), int(y.sum())
        return cls(**wilson(count, n).model_dump(), n=n, with_disease=count)

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


class Correlation(BaseModel):
    """Spearman's correlation over the n patients who have both; None where it is undefined."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    rho: float | None
    n: int


def percent(value: float) -> str:
    """A whole percentage, where 0 means none and 100 means all."""
    if 0 < value < 1:
        return "<1"
    return ">99" if 99 < value < 100 else f"{value:.0f}"


def signed(value: float) -> str:
    """Two decimals, with the minus sign that the axes have."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def medians(X: pd.DataFrame, y: Labels) -> str:
    """In which attributes the medians differ, of X of shape (n, k) and labels y of shape (n,)."""
    found: dict[str, list[str]] = {"higher": [], "lower": [], "equal": []}
    for name, (without, ill) in X.groupby(y).median().items():
        if ill == without:
            found["equal"].append(f"{name} ({ill:g})")
        elif not np.isnan(ill - without):
            word = "higher" if ill > without else "lower"
            found[word].append(f"{name} ({ill:g} against {without:g} {BY_NAME[str(name)].unit})")
    told = [f"{word} in {', '.join(names)}" for word, names in found.items() if names]
    return f"With disease the median is {'; '.join(told)}."


def widest(groups: Mapping[str, Mapping[str, Share]]) -> str:
    """The attribute by whose groups the share with disease differs most."""
    ordered = {name: sorted(s.items(), key=lambda x: x[1].value) for name, s in groups.items() if s}
    name = max(ordered, key=lambda name: ordered[name][-1][1].value - ordered[name][0][1].value)
    (least, low), (most, high) = ordered[name][0], ordered[name][-1]
    if least == most:
        return f"Of the patients of {most}, the one {name}, {high} have the disease."
    most_of_all = ", the widest range of all" if len(ordered) > 1 else ""
    told = f"from {low} ({least.replace('_', ' ')}) to {high} ({most.replace('_', ' ')})"
    return f"By {name} the share with disease runs {told}{most_of_all}."


def most_missing(shares: pd.DataFrame) -> str:
    """Which attribute is missing most often, and where the hospitals differ most."""
    everyone, hospitals = shares["all"], shares.drop(columns="all")
    if not everyone.any():
        return "No value is missing."
    told = f"Missing most often is {everyone.idxmax()}, in {everyone.max():.1%} of all patients"
    gap = hospitals.max(axis=1) - hospitals.min(axis=1)
    name = str(gap.idxmax())
    if not gap[name]:
        return f"{told}."
    row = hospitals.loc[name]
    ends = f"{row.min():.1%} ({row.idxmin()}) to {row.max():.1%} ({row.idxmax()})"
    return f"{told}; the hospitals differ most in {name}, from {ends}."


def strongest(pairs: Sequence[Correlation]) -> str:
    """The attribute that goes with disease most."""
    defined = {p: p.rho for p in pairs if p.rho is not None and p.second == CLASSES[1]}
    if not defined:
        return "No correlation with disease is defined."
    first = max(defined, key=lambda pair: abs(defined[pair]))
    told = f"{first.first} ({signed(defined[first])}, n = {first.n})"
    return f"The attribute that correlates most strongly with disease is {told}."
