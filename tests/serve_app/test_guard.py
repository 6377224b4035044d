"""Who may go where: the key, its scopes, the rate; and the headers that answers get."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from heart.errors import ForbiddenError, RateLimitedError, UnauthorizedError
from heart.settings import Settings
from serve_app.api import create_app
from serve_app.guard import HEADERS, NEEDS, OPEN, Guard, secure
from serve_app.logs import RequestLog
from serve_app.metrics import Metrics
from serve_app.model import Model
from serve_app.security import Reach, new_key

PREDICT, PREDICT_ENTRY = new_key("ward", [Reach.PREDICT])
ADMIN, ADMIN_ENTRY = new_key("operator", [Reach.ADMIN])
ENTRIES = f"{PREDICT_ENTRY},{ADMIN_ENTRY}"


def scope(key: str | None = None, client: str = "10.0.0.1") -> dict[str, Any]:
    headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    return {"client": (client, 1), "headers": headers}


@pytest.mark.parametrize("path", sorted(OPEN | {"/static-offline-docs/swagger-ui.css"}))
def test_open_to_all(path: str) -> None:
    Guard.of(Settings(api_keys=ENTRIES)).check(scope("wrong"), path)


@pytest.mark.parametrize(
    "path",
    ["/predict", "/predict/batch", "/explain", "/model", "/nowhere", "/health/", "//health", ""],
)
def test_everything_else_needs_a_key(path: str) -> None:
    guard = Guard.of(Settings(api_keys=ENTRIES))
    assert guard.check(scope(PREDICT), path) == "ward"
    assert guard.check(scope(ADMIN), path) == "operator"
    for key in (None, "wrong"):
        with pytest.raises(UnauthorizedError):
            guard.check(scope(key), path)


def test_metrics_need_another_scope() -> None:
    guard = Guard.of(Settings(api_keys=ENTRIES))
    guard.check(scope(ADMIN), "/metrics")
    with pytest.raises(ForbiddenError):
        guard.check(scope(PREDICT), "/metrics")
    assert not OPEN & set(NEEDS)


def test_without_keys_all_is_open() -> None:
    guard = Guard.of(Settings())
    for path in ("/predict", "/metrics", "/nowhere"):
        guard.check(scope("whatever"), path)


def refused(guard: Guard, key: str | None, path: str, client: str = "10.0.0.1") -> bool:
    try:
        guard.check(scope(key, client), path)
    except RateLimitedError:
        return True
    except UnauthorizedError:
        pass
    return False


def test_each_key_and_each_address_has_a_rate_of_its_own() -> None:
    guard = Guard.of(Settings(api_keys=ENTRIES, rate_limit=0.01, rate_burst=2))
    assert [refused(guard, PREDICT, "/predict") for _ in range(3)] == [False, False, True]
    assert refused(guard, PREDICT, "/model", "10.0.0.2"), "a key is one client wherever it asks"
    assert not refused(guard, ADMIN, "/predict")
    assert [refused(guard, None, "/docs") for _ in range(3)] == [False, False, True]
    assert not refused(guard, None, "/docs", "10.0.0.2")


def test_keys_cannot_be_tried_faster_than_the_rate() -> None:
    guard = Guard.of(Settings(api_keys=ENTRIES, rate_limit=0.01, rate_burst=2))
    assert [refused(guard, f"guess{n}", "/predict") for n in range(3)] == [False, False, True]
    assert not refused(guard, PREDICT, "/predict")


def test_probes_are_never_refused() -> None:
    guard = Guard.of(Settings(rate_limit=0.01, rate_burst=1))
    assert not any(refused(guard, None, path) for path in ["/health", "/ready"] * 5)


def test_an_answer_s_own_header_stays() -> None:
    own = [(b"content-type", b"text/html"), (b"content-security-policy", b"default-src 'self'")]
    found = secure(own)
    assert found[:2] == own
    assert dict(found) == {**HEADERS, **dict(own)}
    assert len(found) == len(HEADERS) + 1
    assert secure([]) == list(HEADERS.items())


async def ask_thrice(settings: Settings, log: RequestLog) -> list[httpx.Response]:
    silent = logging.getLogger("silent")
    model = Model(settings, silent)
    app = create_app(model, Metrics(), silent, log, settings=settings)
    transport = httpx.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {PREDICT}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://heart") as client:
        return [await client.get("/model", headers=headers) for _ in range(3)]


def test_a_refusal_says_when_to_come_back_and_is_logged(ray_instance: int, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, api_keys=ENTRIES, rate_limit=0.1, rate_burst=2)
    stream = io.StringIO()
    log = RequestLog("INFO", stream)
    answers = asyncio.run(ask_thrice(settings, log))
    log.flush()
    assert [answer.status_code for answer in answers] == [503, 503, 429]
    refusal = answers[2]
    assert 0 < int(refusal.headers["retry-after"]) <= 10
    assert refusal.json()["error"]["code"] == "rate_limited"
    assert refusal.headers["x-content-type-options"] == "nosniff"
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["status_code"] for line in lines] == [503, 503, 429]
    assert [line.get("key") for line in lines] == ["ward", "ward", None]
