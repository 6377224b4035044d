"""The champion has learnt medicine: more of what shows disease is no less risk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heart import cohorts
from heart.attributes import NAMES, parse_patient
from heart.bundle import Bundle, load_champion
from tests.conftest import PATIENT

ROUNDING = 1e-6
RISE = 0.02


@pytest.fixture(scope="module")
def champion(champion_home: Path) -> Bundle:
    bundle = load_champion(champion_home / "bundles")
    assert bundle is not None
    return bundle


def mean_risks(champion: Bundle, name: str, values: list[float]) -> list[float]:
    """The cohort's mean risk with an attribute of all patients set to each value in turn."""
    rows = cohorts.load("all").X.to_numpy()
    found = []
    for value in values:
        rows[:, NAMES.index(name)] = value
        found.append(float(champion.predict(rows).mean()))
    return found


@pytest.mark.parametrize(
    ("name", "values"),
    [("ca", [0.0, 1.0, 2.0, 3.0]), ("oldpeak", np.arange(0, 4.01, 0.5).tolist())],
)
def test_the_mean_risk_does_not_fall(champion: Bundle, name: str, values: list[float]) -> None:
    steps = np.diff(mean_risks(champion, name, values))
    assert steps.min() > -ROUNDING
    assert steps.sum() > RISE


def test_a_typical_patient_has_a_risk_and_no_certainty(champion: Bundle) -> None:
    (risk,) = champion.predict([parse_patient(PATIENT)])
    assert 0 < risk < 1
