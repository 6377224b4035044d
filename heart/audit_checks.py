"""Values that no patient can have, and columns that tell the label without the heart."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import TargetEncoder

from heart.attributes import ATTRIBUTES
from heart.audit_table import Finding, Floats, Patients
from heart.evaluation import roc_auc

FOLDS: Final = 5
SEED: Final = 42
MEASURABLE: Final = 10
"""The rows of a class below which nothing is measured: of ten columns of noise beside 10 and 10
rows, two in a thousand tables have one with a ROC-AUC above `LEAK_BOUND`."""

LEAK_BOUND: Final = 0.95
"""The whole models of this project reach 0.90 in cross-validation; the best column of the bundled
table, cp, reaches 0.77 in all of it and 0.79 in one hospital."""

MISSINGNESS_BOUND: Final = 0.85
"""The bundled table has 0.75 (95% interval 0.72 to 0.78), since hospitals differ in what they
left out and in prevalence. Single hospitals have 0.49 to 0.76, with intervals up to 0.83."""


def values(patients: Patients) -> list[Finding]:
    """Cells that no patient can have, zeros that mean missing, rows without a label."""
    table = patients.table
    found = [
        patients.finding(
            f"impossible {a.name}",
            "serious",
            table.impossible[a.name].to_numpy(),
            rule=a.rule(),
            found="with a code of no coding" if a.words else "outside this range",
        )
        for a in ATTRIBUTES
    ]
    found += [
        patients.finding(
            f"zero {a.name}",
            "note",
            table.numbers[a.name].eq(0).to_numpy(),
            rule="no living patient has it: it means missing",
            found=f"with {a.name} 0",
        )
        for a in ATTRIBUTES
        if a.zero_is_missing
    ]
    found.append(
        patients.finding(
            "no label",
            "serious",
            np.isnan(patients.y),
            rule=f"{table.target} is 0 (no disease) or 1 to 4 (disease)",
            found=f"with another {table.target}, or none",
        )
    )
    return [finding for finding in found if finding.n_rows]


def classes(patients: Patients) -> list[Finding]:
    """Whether both classes are there, and enough of each to measure anything."""
    counts = np.bincount(patients.y[~np.isnan(patients.y)].astype(int), minlength=2)
    if counts.min() >= MEASURABLE:
        return []
    one = counts.min() == 0
    finding = Finding(
        name="one class" if one else "few of a class",
        severity="serious" if one else "note",
        table=patients.part,
        n_rows=len(patients),
        rule=f"there are {MEASURABLE} rows of each class, or no leak can be measured",
        found=f"{counts[0]} rows are without disease and {counts[1]} with it",
    )
    return [finding]


def missingness(patients: Patients) -> list[Finding]:
    """What the 13 indicators of a missing value tell of the label, and of the hospital.

    Logistic regression over five stratified folds: ROC-AUC for the label, accuracy beside the
    largest hospital's share for the hospital.
    """
    missing = patients.X.isna().to_numpy(np.float64)
    if not missing.any():
        return []
    found = []
    y = patients.y
    labelled = ~np.isnan(y)
    if is_measurable(y):
        p = _predicted(missing[labelled], y[labelled], "predict_proba")[:, 1]
        auc = _roc_auc(y[labelled], p)
        found.append(
            Finding(
                name="missingness tells the label",
                severity="serious" if auc > MISSINGNESS_BOUND else "note",
                table=patients.part,
                n_rows=int(labelled.sum()),
                rule=f"what is missing tells the label with ROC-AUC {MISSINGNESS_BOUND} at most",
                found=f"the 13 missing indicators tell it with ROC-AUC {auc:.2f}, chance with 0.50",
            )
        )
    return found + _missingness_by_site(patients, missing)


def _missingness_by_site(patients: Patients, missing: Floats) -> list[Finding]:
    if patients.table.site is None:
        return []
    site = patients.table.frame[patients.table.site].astype("string")
    counts = site.value_counts()
    rows = site.isin(counts.index[counts >= MEASURABLE]).to_numpy(np.bool_)
    sites = site[rows].to_numpy(np.str_)
    if len(np.unique(sites)) < 2:
        return []
    right = float((_predicted(missing[rows], sites, "predict") == sites).mean())
    chance = float(counts.max() / rows.sum())
    finding = Finding(
        name="missingness tells the hospital",
        severity="note",
        table=patients.part,
        n_rows=int(rows.sum()),
        rule="a model that sees what is missing can learn the hospital instead of the heart",
        found=f"the 13 missing indicators tell it in {right:.0%} of rows, chance in {chance:.0%}",
    )
    return [finding]


def leaks(patients: Patients) -> list[Finding]:
    """Single columns, the 13 and any other, that tell the label better than whole models do.

    A column's score is the ROC-AUC of its numbers in either direction, with missing ones below
    or above all others, or, if higher, of its values' mean label in the other folds
    (Micci-Barreca, 2001, SIGKDD Explorations 3(1), 27-32).
    """
    if not is_measurable(patients.y):
        return []
    labelled = ~np.isnan(patients.y)
    y = patients.y[labelled]
    columns = patients.table.frame.drop(columns=patients.table.target)[labelled]
    aucs = {str(name): _tells(column, y) for name, column in columns.items()}
    return [
        Finding(
            name="leak",
            severity="serious",
            table=patients.part,
            n_rows=len(y),
            rule=f"no column alone tells the label with ROC-AUC above {LEAK_BOUND}",
            found=f"the column {name} tells it with ROC-AUC {auc:.2f}",
        )
        for name, auc in aucs.items()
        if auc > LEAK_BOUND
    ]


def is_measurable(y: Floats) -> bool:
    """Whether labels y (n,), NaN for none, have enough rows of each class."""
    return bool(min((y == 0).sum(), (y == 1).sum()) >= MEASURABLE)


def _tells(column: pd.Series, y: Floats) -> float:
    text = column.astype("string").fillna("")
    encoder = TargetEncoder(target_type="binary", cv=_folds())
    means = np.asarray(encoder.fit_transform(text.to_numpy(object).reshape(-1, 1), y)).ravel()
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    low, high = (np.asarray(numbers.fillna(end), dtype=np.float64) for end in (-np.inf, np.inf))
    aucs = [_roc_auc(y, p) for p in (low, high)]
    return max(_roc_auc(y, means), *aucs, *(1 - auc for auc in aucs))


def _roc_auc(y: Floats, p: Floats) -> float:
    return float(roc_auc(y.astype(np.int64), p, np.ones((1, len(y))))[0])


def _predicted(X: Floats, y: Floats | npt.NDArray[np.str_], method: str) -> npt.NDArray[Any]:
    return np.asarray(cross_val_predict(LogisticRegression(), X, y, cv=_folds(), method=method))


def _folds() -> StratifiedKFold:
    return StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
