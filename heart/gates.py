"""What a model must show before it is promoted.

A gate is a rule with a bound from the settings; its verdict is stored with the version. No
gate looks at the test rows: what is chosen by a score must not report it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from heart.assessment import Assessment
from heart.attributes import NAMES
from heart.bundle import Bundle, Rows
from heart.calibration import Floats
from heart.comparison import paired_difference, score_interval
from heart.conversion import PARITY_BOUND
from heart.errors import BundleError
from heart.evaluation import Interval
from heart.pipelines import FAMILIES
from heart.settings import Settings

DIRECTIONS: Final[dict[str, tuple[float, ...]]] = {
    "ca": (0, 1, 2, 3),
    "oldpeak": (0, 1, 2, 3, 4),
    "exang": (0, 1),
    "thalach": (190, 160, 130, 100),
    "age": (35, 45, 55, 65),
}
"""Values in the order in which the risk rises: vessels with a narrowing, depression and angina
under effort, a low peak heart rate and age are each associated with coronary disease
(Diamond and Forrester, 1979; Detrano and others, 1989)."""
LARGEST_FALL: Final = 0.02
"""The mean risk may fall this much on the way, where a step function has its steps."""


class Gate(BaseModel):
    """A rule, what was found, and whether it was met."""

    model_config = ConfigDict(frozen=True)

    name: str
    rule: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Scored:
    """A recipe and its ROC-AUC on each fold of a repeated cross-validation."""

    family: str
    fold_scores: Sequence[float]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the gates look at.

    ``fold_scores`` and ``dummy`` are ROC-AUC on the same folds; ``findings`` are the serious
    ones of the audit of the training table; ``challenger`` and ``champion`` are scored on the
    same repeated folds, None where there is no champion; ``rows`` are (n, 13) of the cohort.
    """

    fold_scores: Sequence[float]
    dummy: Sequence[float]
    folds: int
    assessment: Assessment
    parity: float
    predict: Callable[[Rows], Floats]
    rows: Floats
    findings: Sequence[str] = ()
    challenger: Scored | None = None
    champion: Scored | None = None


class Evaluation(BaseModel):
    """What was measured of a version, and every gate's verdict; stored with it."""

    model_config = ConfigDict(frozen=True)

    assessment: Assessment
    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether all gates were passed."""
        return all(gate.passed for gate in self.gates)


def evaluation_of(bundle: Bundle) -> Evaluation:
    """What is stored with a version; raises `BundleError`."""
    try:
        return Evaluation.model_validate_json(bundle.evaluation)
    except ValidationError as error:
        raise BundleError(f"version {bundle.version} has no evaluation that can be read") from error


def judge(evidence: Evidence, settings: Settings) -> tuple[Gate, ...]:
    """Every gate's verdict; a model passes if all do."""
    return (
        _audit(evidence),
        _beats_dummy(evidence),
        _floor(evidence, settings),
        _ceiling(evidence, settings),
        _slope(evidence, settings),
        _intercept(evidence, settings),
        _skill(evidence),
        _parity(evidence),
        *_directions(evidence),
        *_groups(evidence, settings),
        *_against_champion(evidence, settings),
    )


def failures(gates: Sequence[Gate]) -> str:
    """The gates that were not passed, in one line."""
    return "; ".join(f"{g.name}: {g.rule}, found {g.found}" for g in gates if not g.passed)


def _audit(evidence: Evidence) -> Gate:
    found = ", ".join(evidence.findings) or "nothing serious"
    rule = "the audit of the training table finds nothing serious"
    return Gate(name="audit", rule=rule, found=found, passed=not evidence.findings)


def _beats_dummy(evidence: Evidence) -> Gate:
    difference = paired_difference(evidence.fold_scores, evidence.dummy, folds=evidence.folds)
    return Gate(
        name="beats the dummy",
        rule="ROC-AUC over the dummy's on the same folds, interval above 0",
        found=_signed(difference),
        passed=difference.low > 0,
    )


def _floor(evidence: Evidence, settings: Settings) -> Gate:
    interval = score_interval(evidence.fold_scores, folds=evidence.folds)
    return Gate(
        name="ROC-AUC floor",
        rule=f"lower bound of the cross-validated ROC-AUC at least {settings.gate_roc_auc_floor:g}",
        found=str(interval),
        passed=interval.low >= settings.gate_roc_auc_floor,
    )


def _ceiling(evidence: Evidence, settings: Settings) -> Gate:
    mean = float(np.mean(evidence.fold_scores))
    return Gate(
        name="too good to be true",
        rule=f"cross-validated ROC-AUC at most {settings.gate_roc_auc_ceiling:g}",
        found=f"{mean:.3f}",
        passed=mean <= settings.gate_roc_auc_ceiling,
    )


def _slope(evidence: Evidence, settings: Settings) -> Gate:
    slope = evidence.assessment.out_of_fold.get("calibration_slope")
    low, high = 1 / settings.gate_calibration_slope, settings.gate_calibration_slope
    return Gate(
        name="calibration slope",
        rule=f"calibration slope out of fold from {low:.2f} to {high:.2f}",
        found=str(slope or "none: the probabilities are constant"),
        passed=slope is not None and low <= slope.value <= high,
    )


def _intercept(evidence: Evidence, settings: Settings) -> Gate:
    intercept = evidence.assessment.out_of_fold.get("calibration_intercept")
    bound = settings.gate_calibration_intercept
    return Gate(
        name="calibration intercept",
        rule=f"calibration intercept out of fold within {bound:g} of 0",
        found=str(intercept or "none"),
        passed=intercept is not None and abs(intercept.value) <= bound,
    )


def _skill(evidence: Evidence) -> Gate:
    skill = evidence.assessment.out_of_fold["brier_skill"]
    rule = "Brier skill against prevalence out of fold, interval above 0"
    return Gate(name="Brier skill", rule=rule, found=str(skill), passed=skill.low > 0)


def _parity(evidence: Evidence) -> Gate:
    return Gate(
        name="ONNX parity",
        rule=f"graph and pipeline differ by at most {PARITY_BOUND:g} in probability",
        found=f"{evidence.parity:.1e}",
        passed=evidence.parity <= PARITY_BOUND,
    )


def _directions(evidence: Evidence) -> Iterator[Gate]:
    """The cohort's mean risk, an attribute of all patients set to each value in turn."""
    for name, values in DIRECTIONS.items():
        rows = np.array(evidence.rows, dtype=np.float64)
        risks = []
        for value in values:
            rows[:, NAMES.index(name)] = value
            risks.append(float(evidence.predict(rows).mean()))
        rises = risks[-1] > risks[0] - LARGEST_FALL and min(np.diff(risks)) > -LARGEST_FALL
        yield Gate(
            name=f"direction of {name}",
            rule=f"mean risk does not fall with {name} from {values[0]:g} to {values[-1]:g}",
            found=" ".join(f"{risk:.3f}" for risk in risks),
            passed=bool(rises),
        )


def _groups(evidence: Evidence, settings: Settings) -> Iterator[Gate]:
    floor = settings.gate_group_roc_auc_floor
    for group in evidence.assessment.groups:
        if group.scores is not None:
            area = group.scores["roc_auc"]
            yield Gate(
                name=f"group {group.group}",
                rule=f"ROC-AUC out of fold at least {floor:g}",
                found=f"{area}, n = {group.n}",
                passed=area.value >= floor,
            )


def _against_champion(evidence: Evidence, settings: Settings) -> Iterator[Gate]:
    if evidence.challenger is None or evidence.champion is None:
        return
    ours, theirs = evidence.challenger, evidence.champion
    difference = paired_difference(ours.fold_scores, theirs.fold_scores, folds=evidence.folds)
    yield Gate(
        name="against the champion",
        rule=(
            "ROC-AUC over the champion's on the same repeated folds, interval above 0, or a "
            f"simpler family and worse by less than {settings.gate_margin:g}"
        ),
        found=f"{_signed(difference)}, {ours.family} against {theirs.family}",
        passed=replaces(difference, ours.family, theirs.family, margin=settings.gate_margin),
    )


def replaces(difference: Interval, family: str, champion: str, *, margin: float) -> bool:
    """Whether a challenger replaces the champion: better beyond noise, or simpler and near.

    Families are as simple as `heart.pipelines.FAMILIES` has them in order. Of equals in truth
    and simplicity one in forty passes: the interval is two-sided at 95%.
    """
    order = list(FAMILIES)
    simpler = order.index(family) < order.index(champion)
    return difference.low > 0 or (simpler and difference.value > -margin)


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
