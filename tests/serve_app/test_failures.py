"""A mistake of ours: the answer and the log say where, and never what the patient's values are."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from heart.bundle import Bundle
from heart.settings import Settings
from serve_app.api import create_app
from serve_app.application import Application
from serve_app.deployment import Heart
from serve_app.logs import FLUSH_S, RequestLog, open_log
from serve_app.metrics import Metrics
from serve_app.model import Model


@pytest.fixture
def app(ray_instance: int, champion_home: Path) -> Application:
    """The application without Serve around it."""
    model = Model(Settings(home=champion_home), logging.getLogger("silent"))
    asyncio.run(model.load(None))
    requests = RequestLog("INFO")
    return create_app(model, Metrics(), open_log("INFO"), requests, settings=Settings())


async def post(app: Application, content: dict[str, Any]) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://heart") as client:
        answer = await client.post("/predict", json=content)
    await asyncio.sleep(2 * FLUSH_S)
    return answer


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines() if line[0] == "{"]


def test_an_unexpected_exception(
    app: Application,
    patient: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: Bundle, rows: object) -> NoReturn:
        raise ValueError(f"could not convert {rows}")

    monkeypatch.setattr(Bundle, "predict", fail)
    answer = asyncio.run(post(app, {**patient, "oldpeak": 3.25}))
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == ("internal_error", None)
    failure, request = lines(capfd)
    assert failure["error"] == "ValueError"
    assert failure["at"][-1].endswith(" fail")
    assert request["status_code"] == 500
    assert failure["request_id"] == request["request_id"] == error["request_id"]
    assert "3.25" not in answer.text + json.dumps([failure, request])


def test_a_client_that_goes(app: Application, capfd: pytest.CaptureFixture[str]) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }

    async def ask() -> None:
        await app(scope, receive, send)
        await asyncio.sleep(2 * FLUSH_S)

    asyncio.run(ask())
    (line,) = lines(capfd)
    assert (line["path"], line["status_code"]) == ("/predict", 499)


def test_health_fails_with_the_background_work(
    ray_instance: int, champion_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Metrics, model: Model) -> NoReturn:
        raise RuntimeError("the gauges are gone")

    async def live() -> None:
        heart = Heart(Settings(home=champion_home))
        async with heart._live(heart.__serve_build_asgi_app__()):
            await asyncio.sleep(0.01)
            heart.check_health()
            monkeypatch.setattr(Metrics, "report", fail)
            await asyncio.sleep(1.1)
            heart.check_health()

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        asyncio.run(live())
