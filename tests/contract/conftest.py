"""A service with keys on, over HTTP, as clients that are not friendly see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from ray import serve

from heart.bundle import Bundle, load_champion
from heart.settings import Settings
from serve_app.deployment import build
from serve_app.security import Reach, new_key

BODY_TIMEOUT_S = 1.0
PASSWORD = "correct-horse-battery"


@dataclass(frozen=True)
class Service:
    """Where it listens, and its keys."""

    url: str
    key: str
    admin: str
    entries: str

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for what no HTTP client would send."""
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port


@pytest.fixture(scope="package")
def service(serve_url: str, champion_home: Path) -> Iterator[Service]:
    """The service with keys, a short patience for bodies, and a rate that no test reaches."""
    (key, entry), (admin, admin_entry) = (
        new_key("ward", [Reach.PREDICT]),
        new_key("operator", Reach),
    )
    entries = f"{entry},{admin_entry}"
    settings = Settings(
        home=champion_home,
        tracking_uri=f"postgresql://ann:{PASSWORD}@mlflow.example/heart",
        api_keys=entries,
        rate_limit=1e6,
        rate_burst=10**6,
        body_timeout_s=BODY_TIMEOUT_S,
    )
    serve.run(build(settings), name="heart", route_prefix="/")
    yield Service(serve_url, key, admin, entries)
    serve.delete("heart")


@pytest.fixture(scope="package")
def client(service: Service) -> Iterator[httpx.Client]:
    """A client with a key for predictions."""
    headers = {"authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="package")
def stranger(service: Service) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="package")
def bundle(champion_home: Path) -> Bundle:
    """What the service predicts with."""
    champion = load_champion(champion_home / "bundles")
    assert champion is not None
    return champion
