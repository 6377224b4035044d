"""What is served is the model of the recipe: refitted from its lineage, it answers alike."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from heart import cohorts, pipelines
from heart.attributes import NAMES, parse_patient
from heart.bundle import Bundle, load_champion
from heart.cohorts import CohortName
from heart.conversion import PARITY_BOUND, probabilities
from heart.evaluation import scores
from heart.pipelines import Preprocessing


@pytest.fixture(scope="module")
def champion(champion_home: Path) -> Bundle:
    bundle = load_champion(champion_home / "bundles")
    assert bundle is not None
    return bundle


def table() -> list[list[float]]:
    """All rows of the table as the service reads a patient: zeros that cannot be are missing."""
    with cohorts.TABLE.open() as file:
        return [
            parse_patient({name: float(row[name]) if row[name] else None for name in NAMES})
            for row in csv.DictReader(file)
        ]


def test_the_served_probabilities_are_the_refitted_pipelines(champion: Bundle) -> None:
    recipe, lineage = champion.metadata.recipe, champion.metadata.lineage
    patients = cohorts.load(cast(CohortName, lineage.cohort))
    assert patients.sha256 == lineage.data_sha256
    train, _ = cohorts.split(patients, test_size=lineage.test_size, seed=lineage.split_seed)
    pipeline = pipelines.build(
        recipe.family,
        recipe.params,
        seed=lineage.seed,
        preprocessing=cast(Preprocessing, recipe.preprocessing),
    ).fit(train.X, train.y)
    rows = table()
    assert len(rows) == 920
    fitted = probabilities(pipeline, pipelines.as_frame(rows))
    expected = champion.metadata.calibration.apply(fitted)
    np.testing.assert_allclose(champion.predict(rows), expected, rtol=0, atol=5 * PARITY_BOUND)
    assert champion.metadata.parity <= PARITY_BOUND


def test_the_test_scores_are_those_of_the_rows_that_were_set_aside(champion: Bundle) -> None:
    lineage = champion.metadata.lineage
    patients = cohorts.load(cast(CohortName, lineage.cohort))
    _, test = cohorts.split(patients, test_size=lineage.test_size, seed=lineage.split_seed)
    served = scores(
        test.y, champion.predict(test.X.to_numpy()), threshold=champion.metadata.threshold
    )
    told = {name: interval.value for name, interval in champion.metadata.test.items()}
    assert served == pytest.approx(told, abs=1e-4)
