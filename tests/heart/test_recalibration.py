"""A hospital's own intercept and slope: what they mend, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from heart.bundle import Bundle
from heart.calibration import expit, logit
from heart.cohorts import Cohort
from heart.errors import BundleError, DataError, run_main
from heart.hospital import load_recalibration
from heart.metadata import Metadata
from heart.recalibration import main, recalibrate


@pytest.fixture
def bundle(graph: bytes, metadata: Metadata) -> Bundle:
    return Bundle(graph, metadata, version="3")


@pytest.fixture
def table(patients: Cohort, bundle: Bundle, tmp_path: Path) -> Path:
    """The patients of a hospital whose odds are higher than the model says."""
    X = patients.X.iloc[::3]
    path = tmp_path / "patients.csv"
    X.assign(num=shifted(bundle, X.to_numpy(), 1.5)).to_csv(path, index=False)
    return path


@pytest.fixture
def home(champion_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(champion_home / "bundles", tmp_path / "artifacts" / "bundles")
    monkeypatch.setenv("HEART_HOME", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


def shifted(bundle: Bundle, X: np.ndarray, by: float) -> np.ndarray:
    """Labels of a hospital whose odds are higher than the model says."""
    p = expit(logit(bundle.predict(X)) + by)
    return (np.random.default_rng(0).random(len(X)) < p).astype(np.int64)


def test_a_shift_of_the_odds_is_found(bundle: Bundle, patients: Cohort) -> None:
    X = patients.X.to_numpy()
    made = recalibrate(bundle, shifted(bundle, X, 1.0), X, site="new", number=1, data="d")
    assert made.calibration.intercept == pytest.approx(1.0, abs=0.25)
    assert made.calibration.slope == pytest.approx(1.0, abs=0.25)
    assert made.brier_after < made.brier_before
    assert (made.model_version, made.n) == ("3", 918)


def test_where_nothing_is_gained_nothing_is_made(bundle: Bundle, patients: Cohort) -> None:
    X = patients.X.to_numpy()[:60]
    y = shifted(bundle, X, 0.0)
    with pytest.raises(DataError, match="no recalibration: the Brier score would go from"):
        recalibrate(bundle, y, X, site="new", number=1, data="d")


def test_few_patients_are_refused(bundle: Bundle, patients: Cohort) -> None:
    inside = patients.take(patients.sites == "switzerland")
    with pytest.raises(DataError, match="needs 20 patients of each class, got 8"):
        recalibrate(bundle, inside.y, inside.X.to_numpy(), site="new", number=1, data="d")


def test_the_version_tells_the_hospital(bundle: Bundle, patients: Cohort, tmp_path: Path) -> None:
    X = patients.X.to_numpy()
    made = recalibrate(bundle, shifted(bundle, X, 1.0), X, site="hungary", number=2, data="d")
    before = bundle.predict(X)
    path = tmp_path / "2.json"
    path.write_text(made.model_dump_json())
    own = load_recalibration(path, bundle)
    bundle.recalibrate(own.calibration, name=own.name)
    assert bundle.version == "3+hungary.2"
    np.testing.assert_allclose(bundle.predict(X), own.calibration.apply(before))


def test_another_models_recalibration_is_refused(
    bundle: Bundle, patients: Cohort, tmp_path: Path
) -> None:
    X = patients.X.to_numpy()
    made = recalibrate(bundle, shifted(bundle, X, 1.0), X, site="new", number=1, data="d")
    path = tmp_path / "1.json"
    path.write_text(made.model_copy(update={"onnx_sha256": "f" * 64}).model_dump_json())
    with pytest.raises(BundleError, match="is for version 3 of the model"):
        load_recalibration(path, bundle)
    path.write_text("{}")
    with pytest.raises(BundleError, match="is no recalibration"):
        load_recalibration(path, bundle)
    with pytest.raises(BundleError, match="cannot be read"):
        load_recalibration(tmp_path / "none", bundle)


def test_the_command_numbers_what_it_makes(
    home: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        assert run_main(lambda: main([str(table), "--site", "long_beach"])) == 0
        path = home / "bundles" / "recalibrations" / "long_beach" / f"{number}.json"
        made = json.loads(path.read_text())
        assert (made["site"], made["number"], made["n"]) == ("long_beach", number, 306)
        told = capsys.readouterr().out
        assert told.startswith("long_beach: 306 patients, ")
        assert f"HEART_RECALIBRATION={path} serves it" in told


@pytest.mark.parametrize("site", ["Long Beach", "../x", ""])
def test_a_name_that_is_no_name_is_refused(
    home: Path, table: Path, site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(lambda: main([str(table), "--site", site])) == 2
    assert "--site must be small letters" in capsys.readouterr().err


def test_without_a_champion_nothing_is_made(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEART_HOME", str(tmp_path / "empty"))
    assert run_main(lambda: main([str(table), "--site", "a"])) == 2
    assert "no champion to recalibrate" in capsys.readouterr().err
