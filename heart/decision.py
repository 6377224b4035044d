"""From a probability to a decision: a declared threshold, conformal bounds, net benefit.

The threshold is declared (`Settings.threshold`), never fitted. The bounds say ``low`` or
``high`` where the other class can be excluded at a stated error rate, ``uncertain`` elsewhere.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict

from heart.calibration import Floats, Labels

Decision = Literal["low", "high", "uncertain"]
DECISIONS: Final[tuple[Decision, ...]] = get_args(Decision)

NET_BENEFIT_THRESHOLDS: Final = tuple(round(0.05 * k, 2) for k in range(1, 13))
"""From 5% to 60%: who would not act at 5%, and who would only act at 60%."""


class Bounds(BaseModel):
    """Where each class can be excluded, at an error rate for each class.

    Disease is excluded below ``low`` and its absence at or above ``high``: of patients with
    disease at most ``error_rate`` fall below ``low``, of those without at or above ``high``.
    """

    model_config = ConfigDict(frozen=True)

    error_rate: float
    low: float
    high: float

    def decide(self, p: float) -> Decision:
        """What a probability says; ``uncertain`` where neither class can be excluded, or both."""
        no_disease, disease = p < self.low, p >= self.high
        if no_disease == disease:
            return "uncertain"
        return "high" if disease else "low"

    def sides(self, p: Floats) -> Labels:
        """The position in `DECISIONS` of what each probability says, shape (n,)."""
        return np.array([DECISIONS.index(self.decide(float(value))) for value in p], dtype=np.int64)


class Coverage(BaseModel):
    """How often the bounds held among n patients of a group, by class, and what they said.

    ``with_disease`` is the share of patients with disease who were not called ``low``,
    ``without_disease`` the share of those without who were not called ``high``; None where
    there is no such patient.
    """

    model_config = ConfigDict(frozen=True)

    n: int
    with_disease: float | None
    without_disease: float | None
    uncertain: float
    holds: bool


class NetBenefit(BaseModel):
    """Net benefit at one threshold: of the model, of treating all; treating none has 0."""

    model_config = ConfigDict(frozen=True)

    threshold: float
    model: float
    treat_all: float


def conformal_bounds(y: Labels, p: Floats, *, error_rate: float) -> Bounds:
    """The bounds from probabilities p of patients the model did not see, both of shape (n,).

    Class-conditional conformal prediction (Vovk, Gammerman and Shafer, 2005): of m patients
    of a class, the (m + 1)(1 - error rate) least strange ones must be kept. A class with too
    few patients is never excluded.
    """
    with_disease, without = np.sort(p[y == 1])[::-1], np.sort(p[y == 0])
    return Bounds(
        error_rate=error_rate,
        low=_kept(with_disease, error_rate, never=0.0),
        high=float(np.nextafter(_kept(without, error_rate, never=1.0), 2.0)),
    )


def coverage(bounds: Bounds, y: Labels, p: Floats) -> Coverage:
    """How the bounds did among patients of one group, shape (n,).

    ``holds`` unless a class's share is under what chance allows below one minus the error
    rate: two standard errors of that many patients.
    """
    sides = bounds.sides(p)
    wrong = {label: sides[y == label] == side for label, side in ((1, 0), (0, 1))}
    shares = {label: 1 - float(w.mean()) if w.size else None for label, w in wrong.items()}
    return Coverage(
        n=len(y),
        with_disease=shares[1],
        without_disease=shares[0],
        uncertain=float((sides == 2).mean()),
        holds=all(
            share is None or share >= _least(bounds.error_rate, wrong[label].size)
            for label, share in shares.items()
        ),
    )


def net_benefit(y: Labels, p: Floats) -> list[NetBenefit]:
    """Net benefit at each of `NET_BENEFIT_THRESHOLDS` (Vickers and Elkin, 2006)."""
    prevalence = float(y.mean())
    found = []
    for threshold in NET_BENEFIT_THRESHOLDS:
        odds = threshold / (1 - threshold)
        called = p >= threshold
        gain = float((called & (y == 1)).mean()) - odds * float((called & (y == 0)).mean())
        everyone = prevalence - odds * (1 - prevalence)
        found.append(NetBenefit(threshold=threshold, model=gain, treat_all=everyone))
    return found


def _kept(ordered: Floats, error_rate: float, *, never: float) -> float:
    """The last of the values that must be kept, least strange first."""
    needed = math.ceil((len(ordered) + 1) * (1 - error_rate))
    return float(ordered[needed - 1]) if needed <= len(ordered) else never


def _least(error_rate: float, n: int) -> float:
    return 1 - error_rate - 2 * math.sqrt(error_rate * (1 - error_rate) / n)
