"""Patients who are there twice: in one table, across train and test, and in the bundled table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from heart import cohorts
from heart.attributes import NAMES
from heart.audit_table import Finding, Floats, Mask, Patients, keys

DUPLICATES_BOUND: Final = 0.01
"""The share of repeated rows from which they are serious: as many percentage points of a test
score can then be patients of the training rows. The bundled table has 2 of 920."""

TOLERANCE: Final[Mapping[str, float]] = MappingProxyType(
    {"age": 1, "trestbps": 2, "chol": 5, "thalach": 2, "oldpeak": 0.2}
)
"""In the attributes' units: what a second entry of one examination may differ by. A year is a
birthday, 2 mmHg the scale of a manometer, 5 mg/dl a laboratory's 2%. No two patients of the
bundled table are that close in all five with the same codes."""

NEAR_RULE: Final = "two patients differ in more than one attribute, or by more than " + ", ".join(
    f"{name} {value:g}" for name, value in TOLERANCE.items()
)


def within(patients: Patients) -> list[Finding]:
    """Rows that repeat an earlier row, contradict another, or nearly equal one."""
    patient = pd.Series(keys(patients.X))
    repeats = pd.Series(keys(patients.X, patients.y)).duplicated().to_numpy()
    labels = pd.Series(patients.y).groupby(patient).transform("nunique").to_numpy()
    close = near(patients.X, patients.X)
    found = [
        patients.finding(
            "exact duplicates",
            "serious" if repeats.mean() > DUPLICATES_BOUND else "note",
            repeats,
            rule=f"no patient is there twice; serious above {DUPLICATES_BOUND:.0%} of the rows",
            found="equal to an earlier one in all attributes and the target",
        ),
        patients.finding(
            "contradictory labels",
            "note",
            labels > 1,
            rule="equal attributes go with one target",
            found="with the attributes of another and not its target",
        ),
        patients.finding(
            "near duplicates",
            "note",
            close,
            rule=NEAR_RULE,
            found="nearly equal to another",
        ),
    ]
    return [finding for finding in found if finding.n_rows]


def across(file: Patients, test: Patients) -> list[Finding]:
    """Rows of the test table whose patient, or nearly so, is among the other table's."""
    both = Patients(table=test.table, X=test.X, y=test.y, part="both")
    exact = np.isin(keys(test.X, test.y), keys(file.X, file.y))
    same = np.isin(keys(test.X), keys(file.X)) & ~exact
    found = [
        both.finding(
            "exact duplicates",
            "serious",
            exact,
            rule="no patient is both trained on and tested on",
            found="of the test table equal to one of the file in all attributes and the target",
        ),
        both.finding(
            "contradictory labels",
            "note",
            same,
            rule="equal attributes go with one target",
            found="of the test table with the attributes of one of the file and not its target",
        ),
        both.finding(
            "near duplicates",
            "note",
            near(test.X, file.X),
            rule=NEAR_RULE,
            found="of the test table nearly equal to one of the file",
        ),
    ]
    return [finding for finding in found if finding.n_rows]


def overlap(patients: Patients) -> list[Finding]:
    """Rows that are patients of the bundled table, whatever their target, and of which site."""
    bundled = cohorts.load("all")
    site = pd.Series(bundled.sites, index=keys(bundled.X)).reindex(keys(patients.X))
    rows = site.notna().to_numpy()
    if not rows.any():
        return []
    counts = ", ".join(f"{name} {count}" for name, count in site.value_counts().items())
    finding = patients.finding(
        "known patients",
        "note",
        rows,
        rule="a table that is to judge this project's models has none of their patients",
        found=f"of the bundled table, {rows.mean():.1%} of all: {counts}",
    )
    return [finding]


def near(X: pd.DataFrame, others: pd.DataFrame) -> Mask:
    """Which rows of X (n, 13) nearly equal, and do not equal, some row of others (m, 13).

    They agree in all attributes but one, or in all codes and in the rest within `TOLERANCE`.
    A missing value agrees with a missing one.
    """
    distinct = others[~pd.Series(keys(others)).duplicated().to_numpy()]
    itself = np.isin(keys(X), keys(distinct))
    close = _neighbours(X, distinct) > itself
    for name in NAMES:
        rest = pd.Series(keys(distinct.drop(columns=name))).value_counts()
        agreeing = rest.reindex(keys(X.drop(columns=name)), fill_value=0).to_numpy()
        close |= agreeing > itself
    return np.asarray(close, dtype=np.bool_)


def _neighbours(X: pd.DataFrame, others: pd.DataFrame) -> Floats:
    """How many rows of others lie within the tolerance of each row of X, itself included."""
    tree = cKDTree(_scaled(others))
    # A difference of 0.2 is a little more in binary.
    count = tree.query_ball_point(_scaled(X), r=1 + 1e-6, p=np.inf, return_length=True)
    return np.asarray(count, dtype=np.float64)


def _scaled(X: pd.DataFrame) -> Floats:
    """In units of the tolerance, where codes that differ, and missing values, lie far apart."""
    tolerance = np.array([TOLERANCE.get(name, 0.1) for name in NAMES])
    return np.asarray(np.nan_to_num(X.to_numpy(np.float64) / tolerance, nan=-1e6))
