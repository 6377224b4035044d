"""GET /model is the card of what is served; a hospital's recalibration is part of the version."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import httpx
import numpy as np
import pytest

from heart import cohorts
from heart.bundle import Bundle
from heart.calibration import expit, logit
from heart.errors import BundleError
from heart.recalibration import recalibrate
from heart.settings import Settings
from heart.sources import champion_reference
from serve_app.model import Model

LOG = logging.getLogger("test")


def test_the_card_is_that_of_the_champion(client: httpx.Client, bundle: Bundle) -> None:
    answer = client.get("/model")
    assert answer.status_code == 200
    card = answer.json()
    assert (card["model_version"], card["run_id"]) == (
        bundle.version,
        bundle.metadata.lineage.run_id,
    )
    assert card["metadata"] == bundle.metadata.model_dump(mode="json")
    assert card["evaluation"] == json.loads(bundle.evaluation)
    assert all(gate["passed"] for gate in card["evaluation"]["gates"])


@pytest.fixture
def own(bundle: Bundle, tmp_path: Path) -> Path:
    """A recalibration for a hospital whose odds are e times as high."""
    X = cohorts.load("all").X.to_numpy()
    p = expit(logit(bundle.predict(X)) + 1)
    y = (np.random.default_rng(0).random(len(X)) < p).astype(np.int64)
    made = recalibrate(bundle, y, X, site="hungary", number=3, data="d")
    path = tmp_path / "3.json"
    path.write_text(made.model_dump_json())
    return path


def test_a_recalibration_is_served_under_its_name(
    champion_home: Path, own: Path, bundle: Bundle
) -> None:
    model = Model(Settings(home=champion_home, recalibration=own), LOG)
    asyncio.run(model.load(None))
    assert model.version == f"{bundle.version}+hungary.3"
    rows = cohorts.load("all").X.to_numpy()[:50]
    assert (model.require().predict(rows) > bundle.predict(rows)).mean() > 0.9


@pytest.fixture
def anothers(own: Path) -> Path:
    """The same recalibration, made for another model."""
    made = json.loads(own.read_text()) | {"onnx_sha256": "f" * 64}
    own.write_text(json.dumps(made))
    return own


def test_a_recalibration_of_another_model_is_not_served(
    champion_home: Path, anothers: Path
) -> None:
    model = Model(Settings(home=champion_home, recalibration=anothers), LOG)
    with pytest.raises(BundleError, match="is for version"):
        asyncio.run(model.load(None))
    assert model.bundle is None


def test_a_version_that_was_named_is_served_without_it(
    champion_home: Path, anothers: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """A rollout to another version would else have to restart the service."""
    model = Model(Settings(home=champion_home, recalibration=anothers), LOG)
    reference = champion_reference(champion_home / "bundles")
    assert reference is not None
    with caplog.at_level(logging.WARNING):
        asyncio.run(model.load(reference))
    assert model.version == bundle.version
    rows = cohorts.load("all").X.to_numpy()[:50]
    assert (model.require().predict(rows) == bundle.predict(rows)).all()
    assert f"version {bundle.version} is served without the recalibration" in caplog.text
