"""A replica refuses at once what it cannot answer soon, and answers probes all the same."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from heart.errors import UsageError
from heart.settings import Settings
from serve_app.api import create_app
from serve_app.application import MAX_WAITING, Application
from serve_app.deployment import build
from serve_app.logs import RequestLog
from serve_app.metrics import Metrics
from serve_app.model import Model

BEYOND = 40


@pytest.fixture
def app(ray_instance: int, champion_home: Path) -> Application:
    """The application without Serve around it."""
    silent = logging.getLogger("silent")
    model = Model(Settings(home=champion_home), silent)
    asyncio.run(model.load(None))
    return create_app(model, Metrics(), silent, RequestLog("ERROR"), settings=Settings())


async def all_at_once(
    app: Application, patient: dict[str, Any]
) -> tuple[list[httpx.Response], httpx.Response]:
    """Answers to many patients and, behind them, to a probe."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://heart") as client:
        asked = [client.post("/predict", json=patient) for _ in range(MAX_WAITING + BEYOND)]
        *answers, probe = await asyncio.gather(*asked, client.get("/ready"))
    return list(answers), probe


def test_too_many_at_once(app: Application, patient: dict[str, Any]) -> None:
    answers, probe = asyncio.run(all_at_once(app, patient))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == BEYOND
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.json()["error"]["code"] for answer in refused} == {"overloaded"}
    assert len({a.json()["probability"] for a in answers if a.status_code == 200}) == 1
    assert probe.status_code == 200


def test_it_recovers(app: Application, patient: dict[str, Any]) -> None:
    asyncio.run(all_at_once(app, patient))
    answers, _ = asyncio.run(all_at_once(app, patient))
    assert sum(answer.status_code == 200 for answer in answers) == MAX_WAITING


def test_load_decides_between_bounds() -> None:
    config = build(Settings(num_replicas=2, max_replicas=5))._bound_deployment._deployment_config
    assert config.autoscaling_config.min_replicas == 2
    assert config.autoscaling_config.max_replicas == 5


def test_bounds_the_wrong_way_round() -> None:
    with pytest.raises(UsageError, match=r"at least HEART_NUM_REPLICAS, 3, got 2"):
        build(Settings(num_replicas=3, max_replicas=2))
