"""A replica that starts waits some time for the model that is named; one that serves does not."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from pathlib import Path

import pytest

from heart.bundle import MODEL_FILE, Bundle
from heart.settings import Settings
from heart.sources import reference_of
from serve_app.metrics import Metrics
from serve_app.model import Model
from serve_app.reconfiguration import Reconfiguration
from serve_app.shadow import Shadow
from serve_app.user_config import UserConfig

LOG = logging.getLogger("reconfiguration")


@pytest.fixture
def folder(champion_home: Path, tmp_path: Path) -> Path:
    """A bundle of its own."""
    (source,) = (champion_home / "bundles").glob("1-*")
    return Path(shutil.copytree(source, tmp_path / source.name))


def replica(home: Path, *, first_s: float) -> tuple[Model, Reconfiguration]:
    settings = Settings(home=home)
    model = Model(settings, LOG)
    return model, Reconfiguration(model, Shadow(settings, LOG), Metrics(), LOG, first_s=first_s)


def test_a_damaged_bundle_that_is_mended_in_time(
    folder: Path, tmp_path: Path, bundle: Bundle
) -> None:
    named = UserConfig(model=reference_of(folder, "1")).model_dump()
    whole = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(whole[:100])
    model, changes = replica(tmp_path / "home", first_s=30)

    async def start() -> None:
        applied = asyncio.create_task(changes.apply(named))
        await asyncio.sleep(1)
        assert not applied.done()
        (folder / MODEL_FILE).write_bytes(whole)
        await applied

    asyncio.run(start())
    assert model.version == bundle.version
    assert asyncio.run(changes.state([])).failures == ()


def test_one_that_is_not_starts_without_a_model_and_does_not_wait_again(
    folder: Path, tmp_path: Path
) -> None:
    named = UserConfig(model=reference_of(folder, "1"))
    (folder / MODEL_FILE).write_bytes(b"")
    model, changes = replica(tmp_path / "home", first_s=0.6)
    asyncio.run(changes.apply(named.model_dump()))
    assert model.version is None
    assert asyncio.run(changes.state([])).failures
    began = time.monotonic()
    asyncio.run(changes.apply(named.model_dump()))
    assert time.monotonic() - began < 0.5


def test_where_none_is_named_nobody_waits(tmp_path: Path) -> None:
    _, changes = replica(tmp_path / "home", first_s=30)
    began = time.monotonic()
    asyncio.run(changes.apply(UserConfig().model_dump()))
    assert time.monotonic() - began < 5
