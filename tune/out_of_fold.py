"""The winner's probabilities of rows it did not see, and what is chosen by them.

The calibration and the decision bounds come from the folds of the search: no further fit, and
no look at the test rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from heart.calibration import Calibration, Floats, Method, fit_calibration
from heart.calibration_choice import choose_calibration, cross_calibrated
from heart.decision import Bounds, conformal_bounds
from tune.journal import TrialRecord
from tune.plan import Plan
from tune.trial import decode


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Calibrated probabilities p of the training rows, shape (n,), and the map that made them."""

    p: Floats
    calibration: Calibration
    briers: Mapping[Method, float]
    bounds: Bounds


def out_of_fold(plan: Plan, record: TrialRecord, *, error_rate: float) -> OutOfFold:
    """Choose the calibration on the folds; p is the first repeat's.

    Each part is calibrated by the others, so that p and the bounds from it are honest.
    """
    y, k = plan.train.y, plan.options.folds
    scored = [rows for _, rows in plan.data.folds]
    parts = [scored[start : start + k] for start in range(0, len(scored), k)]
    found = [decode(fold.probabilities) for fold in record.folds]
    repeats = []
    for start, rows in zip(range(0, len(scored), k), parts, strict=True):
        p = np.empty(len(y))
        p[np.concatenate(rows)] = np.concatenate(found[start : start + k])
        repeats.append(p)
    method, briers = choose_calibration(y, repeats, parts)
    p = cross_calibrated(method, y, repeats[0], parts[0])
    return OutOfFold(
        p=p,
        calibration=fit_calibration(method, np.tile(y, len(repeats)), np.concatenate(repeats)),
        briers=briers,
        bounds=conformal_bounds(y, p, error_rate=error_rate),
    )
