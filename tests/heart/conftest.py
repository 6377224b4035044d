"""One small model, fitted once: its pipeline, its graph, its bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.pipeline import Pipeline

from heart import cohorts, pipelines
from heart.attributes import NUMERIC
from heart.bundle import save_bundle
from heart.calibration import Calibration
from heart.cohorts import Cohort
from heart.conversion import to_onnx
from heart.decision import Bounds
from heart.evaluation import Interval
from heart.explanation import reference_patient
from heart.files import sha256
from heart.metadata import Lineage, Metadata, Range, Recipe

RECIPE = Recipe(family="logistic_regression", params={"C": 0.1}, preprocessing="default")
EVALUATION = b"{}"
RUN_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def patients() -> Cohort:
    return cohorts.load("all")


@pytest.fixture(scope="session")
def train(patients: Cohort) -> Cohort:
    return cohorts.split(patients, test_size=0.2, seed=42)[0]


@pytest.fixture(scope="session")
def pipeline(train: Cohort) -> Pipeline:
    return pipelines.build(RECIPE.family, RECIPE.params, seed=42).fit(train.X, train.y)


@pytest.fixture(scope="session")
def graph(pipeline: Pipeline) -> bytes:
    return to_onnx(pipeline)


@pytest.fixture(scope="session")
def metadata(graph: bytes, train: Cohort) -> Metadata:
    score = Interval(value=0.9, low=0.88, high=0.92)
    return Metadata(
        recipe=RECIPE,
        lineage=Lineage(
            run_id=RUN_ID,
            search="search",
            cohort="all",
            space="default",
            data_sha256=train.sha256,
            code_version="1.2.3",
            seed=42,
            split_seed=7,
            test_size=0.2,
            packages={"numpy": "2.0", "onnx": "1.0"},
        ),
        threshold=0.5,
        calibration=Calibration(),
        bounds=Bounds(error_rate=0.1, low=0.2, high=0.8),
        training_ranges={
            name: Range(low=train.X[name].min(), high=train.X[name].max()) for name in NUMERIC
        },
        reference=reference_patient(train.X.to_numpy()),
        cv={"roc_auc": score},
        test={"roc_auc": score},
        parity=1e-7,
        onnx_sha256=sha256(graph),
        evaluation_sha256=sha256(EVALUATION),
    )


@pytest.fixture
def bundle_folder(tmp_path: Path, graph: bytes, metadata: Metadata) -> Path:
    """A bundle on disk, this test's own."""
    folder = tmp_path / "bundle"
    save_bundle(folder, graph, metadata, evaluation=EVALUATION)
    return folder
