"""A real service: Ray Serve over HTTP on a free port, with a champion to serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from heart.bundle import Bundle, load_champion
from heart.settings import Settings
from serve_app.deployment import build
from serve_app.schemas import example


@pytest.fixture
def patient() -> dict[str, Any]:
    """A patient who is well, as a client would send it."""
    return example()


@pytest.fixture(scope="session")
def bundle(champion_home: Path) -> Bundle:
    """What the service predicts with."""
    champion = load_champion(champion_home / "bundles")
    assert champion is not None
    return champion


@pytest.fixture(scope="package")
def service(serve_url: str, champion_home: Path) -> str:
    """The address of a service with a champion."""
    serve.run(build(Settings(home=champion_home)), name="heart", route_prefix="/")
    return serve_url


@pytest.fixture(scope="package")
def client(service: str) -> Iterator[httpx.Client]:
    """A client of that service."""
    with httpx.Client(base_url=service, timeout=10) as client:
        yield client
