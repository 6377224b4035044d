"""Why a probability is what it is: each attribute's share of the difference from a reference.

The shares are baseline Shapley values (Sundararajan and Najmi, 2020): of all ways to turn a
stated reference patient into the patient, attribute by attribute, the mean change of the
probability that is served when the attribute's turn comes. They add up exactly; an attribute
that the model does not use has none, and two that it treats alike have the same, but for the
error that is told where the shares are sampled. A missing value is a value like any other: its
share is what the model's imputation does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from heart.attribute import Attribute
from heart.attributes import ATTRIBUTES, NAMES
from heart.bundle import Bundle
from heart.coalitions import Bools, Integers, Method, design
from heart.metadata import Recipe

Row = npt.NDArray[np.floating[Any]]

BUDGET_US: Final = 12_000.0
"""What the graph may take for one explanation, so that the answer takes at most 15 ms."""
FEWEST_ROWS: Final = 256
"""However slow the graph is: fewer orders say little of thirteen attributes, or of their error."""
ROW_US: Final = {
    "naive_bayes": 0.7,
    "logistic_regression": 0.4,
    "decision_tree": 0.3,
    "logistic_interactions": 4.0,
    "quadratic_discriminant": 0.5,
    "svm": 12.0,
    "k_nearest_neighbours": 50.0,
    "mlp": 0.5,
}
TREE_US: Final = {
    "bagging": 0.09,
    "random_forest": 0.04,
    "extra_trees": 0.05,
    "adaboost": 0.12,
    "gradient_boosting": 0.025,
}
"""Microseconds of one core that a row takes among hundreds, and a row in one tree: measured with
onnxruntime 1.31 on an idle cloud machine, the trees as deep as the searches grow them."""
TREES: Final = 100
"""Where a recipe leaves their number to scikit-learn: its default is this or fewer."""


@dataclass(frozen=True)
class Explanation:
    """A patient's probability, the reference's, and what lies between them.

    ``contributions`` has all thirteen attributes and adds up to the difference of the two.
    ``coalitions`` is how many rows the graph judged, ``error`` the largest standard error of a
    contribution, 0 where they are exact.
    """

    probability: float
    base_probability: float
    contributions: dict[str, float]
    method: Method
    coalitions: int
    error: float


class Explainer:
    """Explains the patients of one bundle; the base probability is computed once."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.reference = bundle.metadata.reference
        self._reference = np.array([self.reference[name] for name in NAMES], dtype=np.float32)
        self.base_probability = float(bundle.predict(self._reference[None])[0])
        self._rows = affordable_rows(bundle.metadata.recipe)

    def explain(self, patient: Sequence[float]) -> Explanation:
        """The contributions to one patient's probability: thirteen floats, NaN where missing.

        Attributes with the reference's own value contribute nothing, and their coalitions are
        not judged. The same patient gets the same answer.
        """
        given = np.asarray(patient, dtype=np.float32)
        differs = np.flatnonzero(given != self._reference)  # as NaN does from any number
        plan = design(len(differs), rows=self._rows)
        values = self.bundle.predict(mixtures(plan.members, given, self._reference, differs))
        probability = float(self.bundle.predict(given[None])[0])
        # A quadratic discriminant's last bits depend on the rows beside; the sum must not.
        values[0], values[-1] = self.base_probability, probability
        shares, errors = plan.shares(values)
        contributions = np.zeros(len(NAMES))
        contributions[differs] = shares
        return Explanation(
            probability=probability,
            base_probability=self.base_probability,
            contributions=dict(zip(NAMES, contributions.tolist(), strict=True)),
            method=plan.method,
            coalitions=len(plan.members),
            error=float(errors.max(initial=0.0)),
        )


def mixtures(members: Bools, given: Row, reference: Row, differs: Integers) -> Row:
    """The rows of coalitions ``members``, shape (m, d), of the d attributes that differ: (m, 13).

    The members have the value given, all others the reference's.
    """
    rows = np.tile(reference, (len(members), 1))
    rows[:, differs] = np.where(members, given[differs], reference[differs])
    return rows


def affordable_rows(recipe: Recipe) -> int:
    """How many rows a graph judges within `BUDGET_US`, by its recipe; at least `FEWEST_ROWS`.

    A rule rather than a stopwatch: whether an answer is exact must not depend on the replica.
    """
    if recipe.family in ROW_US:
        row_us = ROW_US[recipe.family]
    else:
        row_us = TREE_US[recipe.family] * recipe.params.get("n_estimators", TREES)
    return max(FEWEST_ROWS, int(BUDGET_US / row_us))


def reference_patient(rows: npt.NDArray[np.float64]) -> dict[str, float]:
    """The reference of training rows, shape (n, 13): what a patient's missing values become.

    The median of a number and the most frequent code, over the rows that have one; of a number
    that has codes the lower median, since between two codes there is none.
    """
    return {
        attribute.name: _typical(attribute, column[~np.isnan(column)])
        for attribute, column in zip(ATTRIBUTES, rows.T, strict=True)
    }


def _typical(attribute: Attribute, known: npt.NDArray[np.float64]) -> float:
    if attribute.kind == "categorical":
        codes, counts = np.unique(known, return_counts=True)
        return float(codes[counts.argmax()])
    if attribute.words:
        return float(np.quantile(known, 0.5, method="lower"))
    return float(np.median(known))
