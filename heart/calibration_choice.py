"""Which calibration a model gets: chosen on folds, none unless another is better beyond noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heart.calibration import METHODS, Floats, Labels, Method, fit_calibration
from heart.comparison import corrected_standard_error

Rows = npt.NDArray[np.int64]


def cross_calibrated(method: Method, y: Labels, p: Floats, parts: Sequence[Rows]) -> Floats:
    """Each part's probabilities as the map fitted on the other parts gives them, shape (n,).

    ``parts`` are row numbers that together are all rows once: the folds of a repeat.
    """
    found = np.empty(len(p))
    for part in parts:
        others = np.setdiff1d(np.arange(len(p)), part)
        found[part] = fit_calibration(method, y[others], p[others]).apply(p[part])
    return found


def choose_calibration(
    y: Labels, repeats: Sequence[Floats], parts: Sequence[Sequence[Rows]]
) -> tuple[Method, dict[Method, float]]:
    """The method, and the cross-validated Brier score of each.

    ``repeats`` are out-of-fold probabilities, shape (n,), and ``parts`` their folds. In order of
    simplicity a method takes over where its Brier score is lower than that of the one so far by
    more than a corrected standard error of the paired folds: the lowest mean alone would often
    choose isotonic's steps by luck, and they cost ROC-AUC.
    """
    folds = {method: _fold_scores(method, y, repeats, parts) for method in METHODS}
    chosen: Method = "none"
    for method in METHODS:
        gain = np.subtract(folds[chosen], folds[method])
        if gain.mean() > corrected_standard_error(gain.tolist(), folds=len(parts[0])):
            chosen = method
    return chosen, {method: float(np.mean(found)) for method, found in folds.items()}


def _fold_scores(
    method: Method, y: Labels, repeats: Sequence[Floats], parts: Sequence[Sequence[Rows]]
) -> list[float]:
    found = []
    for p, folds in zip(repeats, parts, strict=True):
        apart = (cross_calibrated(method, y, p, folds) - y) ** 2
        found += [float(apart[rows].mean()) for rows in folds]
    return found
