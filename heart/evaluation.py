"""Scores of predicted probabilities, with bootstrap intervals; needs numpy alone."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from heart import calibration
from heart.calibration import logistic_line, logistic_shift, logit

Floats = calibration.Floats
Labels = calibration.Labels

RESAMPLES: Final = 2000
LEVEL: Final = 0.95
CLIP: Final = 1e-15
"""Probabilities of 0 and 1 are moved this far inside before a logarithm is taken."""
ERROR: Final = "expected_calibration_error"
BINS: Final = 10
"""Groups of equal size by predicted probability, for the expected calibration error."""


class Interval(BaseModel):
    """An estimate with the bounds of its 95% interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(count: int, n: int) -> Interval:
    """The share of ``count`` among n, at least 1, with its 95% interval (Wilson, 1927)."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    value, spread = count / n, z * z / n
    middle = (value + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (value * (1 - value) + spread / 4)) / (1 + spread)
    return Interval(value=value, low=max(0.0, middle - half), high=min(1.0, middle + half))


def scores(y: Labels, p: Floats, *, threshold: float = 0.5) -> dict[str, float]:
    """Every score of probabilities p, shape (n,), against labels y, shape (n,).

    NaN where y lacks the class that a score is about; without a row that is called positive,
    precision and F1 are 0, as in scikit-learn.
    """
    once = np.ones((1, len(y)))
    return {name: float(v[0]) for name, v in _weighted(y, p, once, threshold=threshold).items()}


def intervals(
    y: Labels,
    p: Floats,
    *,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every score with its 95% percentile bootstrap interval (Efron and Tibshirani, 1993).

    ROC-AUC is resampled within the classes: its value does not depend on prevalence, and a
    resample of one class has none. All other scores are resampled over all rows. A score that
    the rows leave undefined is NaN, and so are its bounds.
    """
    rng = np.random.default_rng(seed)
    plain = _weighted(y, p, _plain_weights(len(y), resamples, rng), threshold=threshold)
    stratified = roc_auc(y, p, _stratified_weights(y, resamples, rng))
    draws = {**plain, "roc_auc": stratified}
    values = scores(y, p, threshold=threshold)
    draws[ERROR] = _moved(draws[ERROR], values[ERROR])
    return {name: _interval(value, draws[name]) for name, value in values.items()}


def _moved(draws: Floats, value: float) -> Floats:
    """Draws moved to have the value for their mean, inside 0 and 1.

    A distance from the diagonal grows by the noise that a resample adds to it, so that its
    plain percentiles can lie above the value altogether.
    """
    moved: Floats = np.clip(draws - (draws.mean() - value), 0.0, 1.0)
    return moved


def _interval(value: float, draws: Floats) -> Interval:
    """A value with the quantiles of those draws that have one."""
    defined = draws[~np.isnan(draws)]
    if not defined.size:
        return Interval(value=value, low=np.nan, high=np.nan)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high))


def roc_auc(y: Labels, p: Floats, weights: Floats) -> Floats:
    """Weighted areas under the ROC curve, shape (b,), for weights of shape (b, n).

    The probability that a positive row outranks a negative one, ties counting half
    (Hanley and McNeil, 1982).
    """
    order = np.argsort(p, kind="stable")
    ranked = p[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    positive = np.add.reduceat(weights[:, order] * y[order], starts, axis=1)
    negative = np.add.reduceat(weights[:, order] * (1 - y[order]), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    wins = (positive * (below + negative / 2)).sum(axis=1)
    return _ratio(wins, positive.sum(axis=1) * negative.sum(axis=1), np.nan)


def average_precision(y: Labels, p: Floats, weights: Floats) -> Floats:
    """Weighted average precision, shape (b,): the precision at each step of the recall."""
    order = np.argsort(-p, kind="stable")
    ranked = p[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    positive = np.add.reduceat(weights[:, order] * y[order], starts, axis=1)
    everyone = np.add.reduceat(weights[:, order], starts, axis=1)
    precision = _ratio(np.cumsum(positive, axis=1), np.cumsum(everyone, axis=1), 0.0)
    return _ratio((precision * positive).sum(axis=1), positive.sum(axis=1), np.nan)


def calibration_error(y: Labels, p: Floats, weights: Floats) -> Floats:
    """Weighted expected calibration errors, shape (b,), for weights of shape (b, n).

    The mean distance between predicted and observed over `BINS` groups of equal size
    (Naeini and others, 2015); the groups are those of the rows, not of a resample.
    """
    groups = np.array_split(np.argsort(p, kind="stable"), min(BINS, len(p)))
    apart = sum(np.abs(weights[:, rows] @ (p[rows] - y[rows])) for rows in groups)
    return np.asarray(apart / weights.sum(axis=1), dtype=np.float64)


def _weighted(y: Labels, p: Floats, weights: Floats, *, threshold: float) -> dict[str, Floats]:
    """All scores, each of shape (b,), for weights of shape (b, n)."""
    total = weights.sum(axis=1)
    predicted = (p >= threshold).astype(np.float64)
    true_positive = weights @ (predicted * y)
    positive = weights @ y.astype(np.float64)
    called = weights @ predicted
    true_negative = total - positive - called + true_positive
    inside = np.clip(p, CLIP, 1 - CLIP)
    surprise = -(y * np.log(inside) + (1 - y) * np.log1p(-inside))
    brier = weights @ (p - y) ** 2 / total
    prevalence = positive / total
    return {
        "roc_auc": roc_auc(y, p, weights),
        "average_precision": average_precision(y, p, weights),
        "brier_score": brier,
        "brier_skill": 1 - _ratio(brier, prevalence * (1 - prevalence), np.nan),
        "log_loss": weights @ surprise / total,
        "accuracy": (true_positive + true_negative) / total,
        "precision": _ratio(true_positive, called, 0.0),
        "recall": _ratio(true_positive, positive, np.nan),
        "specificity": _ratio(true_negative, total - positive, np.nan),
        "negative_predictive_value": _ratio(true_negative, total - called, 0.0),
        "f1": _ratio(2 * true_positive, positive + called, 0.0),
        "calibration_intercept": logistic_shift(y, logit(p), weights),
        "calibration_slope": logistic_line(y, logit(p), weights)[1],
        ERROR: calibration_error(y, p, weights),
    }


def _ratio(above: Floats, below: Floats, undefined: float) -> Floats:
    """A quotient, with ``undefined`` where nothing is divided."""
    result = np.full_like(above, undefined)
    np.divide(above, below, out=result, where=below > 0)
    return result


def _plain_weights(n: int, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each of n rows is drawn in each resample, shape (resamples, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def _stratified_weights(y: Labels, resamples: int, rng: np.random.Generator) -> Floats:
    """The same, with each class drawn as often as it occurs."""
    weights = np.empty((resamples, len(y)))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        weights[:, rows] = _plain_weights(len(rows), resamples, rng)
    return weights
