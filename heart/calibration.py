"""Calibration: how far probabilities are from what happens, and moving them nearer.

A model's probabilities are recalibrated after the graph, by a few numbers kept in its
metadata: nothing is pickled, and a hospital's own recalibration takes the same way.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Method = Literal["none", "sigmoid", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)

EDGE: Final = 1e-3
"""Probabilities are moved this far from 0 and 1 before their logit is taken: of a model that
saw hundreds of patients, none supports odds beyond one in a thousand."""
STEPS: Final = 25
TOLERANCE: Final = 1e-6


class Calibration(BaseModel):
    """A monotone map from a model's probability to the one that is served.

    ``sigmoid`` is a logistic regression on the logit (Platt, 1999; Cox, 1958), ``isotonic`` the
    straight lines between the corners of a monotone fit (Zadrozny and Elkan, 2002).
    """

    model_config = ConfigDict(frozen=True)

    method: Method = "none"
    intercept: float = 0.0
    slope: float = 1.0
    corners: tuple[tuple[float, float], ...] = ()

    def apply(self, p: Floats) -> Floats:
        """Calibrated probabilities, shape (n,), of probabilities p, shape (n,)."""
        if self.method == "sigmoid":
            return expit(self.intercept + self.slope * logit(p))
        if self.method == "isotonic":
            x, y = np.asarray(self.corners).T
            return np.asarray(np.interp(p, x, y), dtype=np.float64)
        return p


def logit(p: Floats) -> Floats:
    """The logarithm of the odds, of probabilities kept `EDGE` away from 0 and 1."""
    inside = np.clip(p, EDGE, 1 - EDGE)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def expit(x: Floats) -> Floats:
    """The probability of a logit."""
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float64)


def fit_calibration(method: Method, y: Labels, p: Floats) -> Calibration:
    """The map of a method that fits labels y and probabilities p, both of shape (n,)."""
    if method == "sigmoid":
        intercept, slope = logistic_line(y, logit(p), np.ones((1, len(y))))
        return Calibration(method=method, intercept=float(intercept[0]), slope=float(slope[0]))
    if method == "isotonic":
        return Calibration(method=method, corners=_corners(y, p))
    return Calibration()


def logistic_line(y: Labels, x: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Intercepts and slopes, shape (b,) each, of logistic regressions of y on x, shape (n,).

    One regression a row of ``weights``, shape (b, n), all at once by Newton's method. NaN
    where none exists, and Newton's method finds no end: x is constant, or divides the classes.
    """
    intercept, slope = np.zeros(len(weights)), np.zeros(len(weights))
    if len(weights) > 1:
        # The resamples' lines lie near the line of all rows: half the steps from there.
        whole = logistic_line(y, x, weights.mean(axis=0, keepdims=True))
        intercept, slope = intercept + np.nan_to_num(whole[0]), slope + np.nan_to_num(whole[1])
    with np.errstate(all="ignore"):
        for _ in range(STEPS):
            p = expit(intercept[:, None] + slope[:, None] * x)
            error, spread = weights * (y - p), weights * p * (1 - p)
            g0, g1 = error.sum(axis=1), error @ x
            h0, h1, h2 = spread.sum(axis=1), spread @ x, spread @ (x * x)
            determinant = h0 * h2 - h1 * h1
            move0 = (h2 * g0 - h1 * g1) / determinant
            move1 = (h0 * g1 - h1 * g0) / determinant
            intercept, slope = intercept + move0, slope + move1
            moved = np.maximum(np.abs(move0), np.abs(move1))
            if np.nanmax(moved, initial=0.0) < TOLERANCE:
                break
    exists = moved < TOLERANCE
    return np.where(exists, intercept, np.nan), np.where(exists, slope, np.nan)


def logistic_shift(y: Labels, x: Floats, weights: Floats) -> Floats:
    """The same with the slope held at 1: the intercepts alone, shape (b,)."""
    shift = np.zeros(len(weights))
    with np.errstate(all="ignore"):
        for _ in range(STEPS):
            p = expit(shift[:, None] + x)
            move = (weights * (y - p)).sum(axis=1) / (weights * p * (1 - p)).sum(axis=1)
            # A whole Newton step overshoots where all probabilities are near 0 or 1.
            move = np.clip(move, -1, 1)
            shift = shift + move
            if np.nanmax(np.abs(move), initial=0.0) < TOLERANCE:
                break
    return np.where(np.abs(move) < TOLERANCE, shift, np.nan)


def _corners(y: Labels, p: Floats) -> tuple[tuple[float, float], ...]:
    """Where the isotonic fit bends; imported here, since a replica has no scikit-learn."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(p, y)
    found = zip(fitted.X_thresholds_, fitted.y_thresholds_, strict=True)
    return tuple((float(x), float(value)) for x, value in found)
