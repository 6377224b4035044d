"""Comparing models by their scores on the same folds.

The scores of cross-validation folds are not independent, since their training rows overlap;
the variance of their mean is corrected for that after Nadeau and Bengio (2003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from heart.evaluation import LEVEL, Interval


def corrected_standard_error(fold_scores: Sequence[float], *, folds: int) -> float:
    """Standard error of the mean over the folds, corrected; NaN for a single fold.

    ``folds`` is k of one repeat: a test fold is 1/(k-1) of its training rows.
    """
    n = len(fold_scores)
    if n < 2:
        return math.nan
    variance = float(np.var(fold_scores, ddof=1))
    return math.sqrt(variance * (1 / n + 1 / (folds - 1)))


def mean_interval(fold_scores: Sequence[float], *, folds: int) -> Interval:
    """The mean over the folds with a 95% t interval from the corrected standard error.

    For scores that lie in [0, 1] use `score_interval`.
    """
    mean = float(np.mean(fold_scores))
    if len(fold_scores) < 2:
        return Interval(value=mean, low=mean, high=mean)
    reach = float(stdtrit(len(fold_scores) - 1, (1 + LEVEL) / 2)) * corrected_standard_error(
        fold_scores, folds=folds
    )
    return Interval(value=mean, low=mean - reach, high=mean + reach)


def score_interval(fold_scores: Sequence[float], *, folds: int) -> Interval:
    """The same for a score, whose interval ends at 0 and at 1."""
    found = mean_interval(fold_scores, folds=folds)
    return Interval(value=found.value, low=max(found.low, 0.0), high=min(found.high, 1.0))


def paired_difference(first: Sequence[float], second: Sequence[float], *, folds: int) -> Interval:
    """The mean of first minus second over the same folds, with its corrected interval."""
    return mean_interval(np.subtract(first, second).tolist(), folds=folds)
