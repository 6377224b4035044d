"""Which coding a table is in, and whether its target is inverted, told by the data themselves.

The codings in circulation are UCI's; the permutation of `heart.attributes`, whose target is
inverted; and UCI's codes numbered in their order from 0, whose target is not. Either target
occurs with either coding, so there are six readings. The evidence, in its order:

1. A code that a coding lacks: the codings with the fewest such rows remain.
2. Where several remain, the likelihood of each reading under the bundled table. A row counts
   log p(y | x) + sum over the codes c of log p(c | x, y) / p(c), where x are the eight
   attributes that no coding touches, y is the label and c are cp, restecg, slope and thal once
   translated: all multinomial logistic regressions. The first term depends on the inversion
   alone. Dividing by p(c) conditions on the codes: a table whose rows were selected by them,
   such as those that are valid everywhere, is judged by what goes with a code and not by how
   often it occurs. A row that, so read, is a patient of the bundled table counts `KNOWN` more.

The likeliest reading holds where it beats each rival by Vuong's test (1989, Econometrica 57,
307-333, doi:10.2307/1912557): the mean difference of a row's log-likelihoods over its standard
error. Measured with each hospital judged by models of the other three, none of its patients
known: of samples of 10, 20 and 40 rows, in each coding, no wrong target was sure, and a wrong
coding in 2 of 100 at most (20 rows of va, chosen for codes that are valid everywhere). Of 40 rows
1 in 9 left the coding open and 1 in 10 the target; of 10 rows 3 and 7 in 10. Rows chosen for
codes that are valid everywhere are mostly left open, unless they are many or known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from heart import cohorts
from heart.attributes import ATTRIBUTES
from heart.audit_table import (
    CODINGS,
    Finding,
    Floats,
    Mask,
    Part,
    Table,
    TableCoding,
    keys,
    numbered,
)

UNTOUCHED: Final = tuple(a.name for a in ATTRIBUTES if not a.kaggle)
# ca counts vessels in every coding; only its 4, for missing, gives one away.
CODED: Final = tuple(a.name for a in ATTRIBUTES if a.kaggle and a.kind == "categorical")
SURE: Final = 3.0
"""Standard errors; at 2 up to 8 of 100 samples of 20 rows were judged wrongly and surely."""
KNOWN: Final = float(np.log(918 / 3))
"""None of 918 patients equals another, so by the rule of three chance explains less than 3 of
918 rows that equal one of them (Hanley and Lippman-Hand, 1983, JAMA 249, 1743-1745)."""

DESCRIPTIONS: Final[Mapping[TableCoding, str]] = MappingProxyType(
    {
        "kaggle": "the other coding in circulation, the one that coding=kaggle translates",
        "from_zero": "UCI's codes numbered from 0, which nothing here translates",
    }
)
UNSURE: Final = "a coding other than UCI's; too few rows tell which"


@dataclass(frozen=True)
class Reading:
    """How a table is to be read: the coding of its attributes, and whether 0 means disease."""

    coding: TableCoding
    inverted: bool


@dataclass(frozen=True, eq=False)
class Judgement:
    """A reading, and which of its halves are sure.

    ``strays`` (n,) are rows with a code that the reading's coding lacks and another has. UCI's
    coding is assumed where it is possible and another is not sure, and so is the target as it
    stands.
    """

    reading: Reading
    coding_is_sure: bool
    target_is_sure: bool
    strays: Mask


@dataclass(frozen=True, eq=False)
class Reference:
    """Models of the bundled table: the label, and each code with its share; its patients."""

    label: Pipeline
    codes: Mapping[str, Pipeline]
    shares: Mapping[str, pd.Series]
    patients: npt.NDArray[np.uint64]

    def log_likelihood(self, X: pd.DataFrame, y: Floats) -> Floats:
        """Of each row (n,): X (n, 13) in UCI coding, y (n,) with 1 for disease."""
        total = _log_probability(self.label, X[list(UNTOUCHED)], pd.Series(y))
        given = _given(X, y)
        for name, model in self.codes.items():
            code = X[name]
            surprise = _log_probability(model, given, code) - np.log(code.map(self.shares[name]))
            total += np.where(code.isna(), 0, surprise)
        return np.asarray(total + KNOWN * np.isin(keys(X, y), self.patients), dtype=np.float64)


@cache
def reference() -> Reference:
    """Fit the models; raises `DataError` where the bundled table is not what it should be."""
    cohort = cohorts.load("all")
    X, y = cohort.X, cohort.y.astype(np.float64)
    rows = {name: X[name].notna() for name in CODED}
    return Reference(
        # Balanced: a hospital's prevalence says nothing about its coding.
        label=_model(class_weight="balanced").fit(X[list(UNTOUCHED)], y),
        codes={name: _model().fit(_given(X, y)[rows[name]], X[name][rows[name]]) for name in CODED},
        shares={name: X[name].value_counts(normalize=True) for name in CODED},
        patients=keys(X, y),
    )


def judge(table: Table) -> Judgement:
    """Find the reading of a table by its codes, then by its likelihood; see the module."""
    likelihoods = {
        Reading(coding, inverted): _likelihood(table, Reading(coding, inverted))
        for coding in _possible(table)
        for inverted in (False, True)
    }
    best = max(likelihoods, key=lambda reading: likelihoods[reading].sum())
    margins = {rival: _vuong(likelihoods[best] - likelihoods[rival]) for rival in likelihoods}
    coding = [z for rival, z in margins.items() if rival.coding != best.coding]
    target = [z for rival, z in margins.items() if rival.inverted != best.inverted]
    coding_is_sure, target_is_sure = min(coding, default=np.inf) > SURE, min(target) > SURE
    reading = Reading(
        coding=best.coding if coding_is_sure else next(iter(likelihoods)).coding,
        inverted=best.inverted and target_is_sure,
    )
    return Judgement(reading, coding_is_sure, target_is_sure, table.strays(reading.coding))


def findings(table: Table, judgement: Judgement, part: Part) -> list[Finding]:
    """What the judgement says against a table, if anything."""
    found = _about_coding(table, judgement, part) + _about_target(table, judgement, part)
    strays = judgement.strays
    if strays.any():
        finding = Finding(
            name="mixed coding",
            severity="serious",
            table=part,
            n_rows=int(strays.sum()),
            rows=numbered(strays),
            rule="a table is in one coding",
            found=f"{strays.sum()} rows with codes of another coding than most",
        )
        found.append(finding)
    return found


def _about_coding(table: Table, judgement: Judgement, part: Part) -> list[Finding]:
    if judgement.reading.coding == "uci":
        return [] if judgement.coding_is_sure else [_undecided("coding", table, part)]
    which = DESCRIPTIONS[judgement.reading.coding]
    finding = Finding(
        name="other coding",
        severity="serious",
        table=part,
        n_rows=len(table),
        rule="attributes are in UCI's codes",
        found=f"{len(table)} rows in {which if judgement.coding_is_sure else UNSURE}",
    )
    return [finding]


def _about_target(table: Table, judgement: Judgement, part: Part) -> list[Finding]:
    if not judgement.reading.inverted:
        return [] if judgement.target_is_sure else [_undecided("target", table, part)]
    finding = Finding(
        name="inverted target",
        severity="serious",
        table=part,
        n_rows=len(table),
        rule=f"{table.target} is 0 without disease, and more with it",
        found=f"{len(table)} rows in which 0 goes with disease, and the rest with health",
    )
    return [finding]


def _undecided(what: str, table: Table, part: Part) -> Finding:
    return Finding(
        name=f"{what} undecided",
        severity="note",
        table=part,
        n_rows=len(table),
        rule=f"the rows tell the {what} by {SURE:g} standard errors",
        found=f"{len(table)} rows that fit another {what} about as well; taken as UCI has it",
    )


def _possible(table: Table) -> list[TableCoding]:
    """The codings that the fewest rows contradict; of those that read alike, the first."""
    against = {coding: int(table.strays(coding).sum()) for coding in CODINGS}
    fewest = [c for c in CODINGS if against[c] == min(against.values())]
    read = {c: table.in_uci(c) for c in fewest}
    return [c for i, c in enumerate(fewest) if not any(read[c].equals(read[b]) for b in fewest[:i])]


def _likelihood(table: Table, reading: Reading) -> Floats:
    """Of each row that has a label."""
    labelled = ~np.isnan(table.label)
    label = table.label[labelled]
    X = table.in_uci(reading.coding)[labelled].reset_index(drop=True)
    return reference().log_likelihood(X, 1 - label if reading.inverted else label)


def _vuong(difference: Floats) -> float:
    """The mean of n differences over its standard error; 0 where n cannot tell."""
    n = len(difference)
    spread = difference.std(ddof=1) if n > 1 else 0.0
    return float(difference.mean() * np.sqrt(n) / spread) if spread else 0.0


def _given(X: pd.DataFrame, y: Floats) -> pd.DataFrame:
    return X[list(UNTOUCHED)].assign(disease=y)


def _model(class_weight: str | None = None) -> Pipeline:
    regression = LogisticRegression(max_iter=1000, class_weight=class_weight)
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), regression)


def _log_probability(model: Pipeline, X: pd.DataFrame, outcome: pd.Series) -> Floats:
    """Of each row's outcome (n,); meaningless where that is missing."""
    column = pd.Index(model.classes_).get_indexer(outcome)
    rows = np.arange(len(X))
    return np.asarray(model.predict_log_proba(X)[rows, column], dtype=np.float64)
