"""A replica refuses at once what it cannot answer soon, and answers probes all the same."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from heart.errors import UsageError
from heart.settings import Settings
from serve_app import batching, explaining
from serve_app.api import create_app
from serve_app.application import MAX_WAITING, Application
from serve_app.batching import INLINE_VALUES
from serve_app.batching import MAX_WAITING as MAX_BATCHES
from serve_app.deployment import build
from serve_app.judging import BATCH_LIMIT, judge
from serve_app.logs import RequestLog
from serve_app.metrics import Metrics
from serve_app.model import Model

BEYOND = 40
TIMEOUT_S = 0.2
PATIENCE_S = 10.0
JSON = {"content-type": "application/json"}


@pytest.fixture
def make(ray_instance: int, champion_home: Path) -> Callable[..., Application]:
    """The application without Serve around it, by its settings."""
    silent = logging.getLogger("silent")
    model = Model(Settings(home=champion_home), silent)
    asyncio.run(model.load(None))

    def made(log: RequestLog | None = None, **settings: Any) -> Application:
        log = log or RequestLog("ERROR")
        return create_app(model, Metrics(), silent, log, settings=Settings(**settings))

    return made


@pytest.fixture
def app(make: Callable[..., Application]) -> Application:
    return make()


def asking(app: Application) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://heart")


def batch(patient: dict[str, Any], number: int) -> bytes:
    return json.dumps({"patients": [patient] * number}).encode()


async def all_at_once(
    app: Application, patient: dict[str, Any]
) -> tuple[list[httpx.Response], httpx.Response]:
    """Answers to many patients and, behind them, to a probe."""
    async with asking(app) as client:
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


def test_large_batches_keep_nobody_waiting(app: Application, patient: dict[str, Any]) -> None:
    """Too many are refused, and one patient is answered, while the first are still judged."""
    large = batch(patient, BATCH_LIMIT)

    async def burst() -> list[tuple[str, int, float]]:
        started = time.perf_counter()

        async def post(path: str, content: bytes) -> tuple[str, int, float]:
            answer = await client.post(path, content=content, headers=JSON)
            return path, answer.status_code, time.perf_counter() - started

        async with asking(app) as client:
            batches = [post("/predict/batch", large) for _ in range(MAX_BATCHES + 3)]
            singles = [post("/predict", json.dumps(patient).encode()) for _ in range(10)]
            return await asyncio.gather(*batches, *singles)

    found = asyncio.run(burst())
    judged = [at for path, status, at in found if (path, status) == ("/predict/batch", 200)]
    others = [(path, status) for path, status, _ in found if status != 200 or path == "/predict"]
    assert len(judged) == MAX_BATCHES
    assert others == [("/predict/batch", 503)] * 3 + [("/predict", 200)] * 10
    slowest = max(at for _, status, at in found if at not in judged)
    assert slowest < max(judged) / 2


def test_small_batches_are_heard_of_one_by_one(
    app: Application, patient: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are admitted, what arrives meanwhile waits for one of them alone."""
    judged = 0

    def count(*given: Any, **named: Any) -> Any:
        nonlocal judged
        judged += 1
        return judge(*given, **named)

    monkeypatch.setattr(batching, "judge", count)

    async def ask() -> int:
        async with asking(app) as client:
            small = batch(patient, 2)
            post = partial(client.post, "/predict/batch", content=small, headers=JSON)
            batches = [asyncio.create_task(post()) for _ in range(MAX_WAITING)]
            while not judged:
                await asyncio.sleep(0)
            await client.get("/ready")
            before = judged
            assert {answer.status_code for answer in await asyncio.gather(*batches)} == {200}
            return before

    assert asyncio.run(ask()) < MAX_WAITING / 2


def test_bodies_that_are_whole_at_once(app: Application, patient: dict[str, Any]) -> None:
    """Who waits for a body is no load; when the bodies come, as many as usual are admitted."""
    body = batch(patient, 2)

    async def ask(whole: asyncio.Event) -> int:
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            await whole.wait()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        headers = [(name.encode(), value.encode()) for name, value in JSON.items()]
        scope = {"type": "http", "method": "POST", "path": "/predict/batch", "headers": headers}
        await app({**scope, "query_string": b""}, receive, send)
        (status,) = statuses
        return status

    async def all_slow() -> list[int]:
        whole = asyncio.Event()
        asked = []
        for _ in range(MAX_WAITING + BEYOND):
            asked.append(asyncio.create_task(ask(whole)))
            await asyncio.sleep(0.001)  # each has come to wait for its body
        assert not any(task.done() for task in asked)
        whole.set()
        return await asyncio.gather(*asked)

    statuses = asyncio.run(all_slow())
    assert statuses.count(200) == MAX_WAITING
    assert statuses.count(503) == BEYOND


@pytest.mark.parametrize(
    ("path", "module", "number"),
    [("/predict/batch", batching, INLINE_VALUES), ("/explain", explaining, 1)],
)
def test_what_waits_too_long_is_given_up(
    make: Callable[..., Application],
    patient: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    module: ModuleType,
    number: int,
) -> None:
    """The thread works on for nobody, and who comes after it is answered."""
    stream = io.StringIO()
    log = RequestLog("INFO", stream)
    app = make(log, request_timeout_s=TIMEOUT_S)
    released = threading.Event()
    answer = module.answer

    def slow(*given: Any, **named: Any) -> Any:
        released.wait(PATIENCE_S)
        return answer(*given, **named)

    monkeypatch.setattr(module, "answer", slow)
    body = json.dumps(patient).encode() if number == 1 else batch(patient, number // 12)

    async def ask() -> list[httpx.Response]:
        async with asking(app) as client:
            post = partial(client.post, path, content=body, headers=JSON)
            given_up = await post()
            released.set()
            return [given_up, await post()]

    given_up, answered = asyncio.run(ask())
    log.flush()
    assert (given_up.status_code, given_up.headers["retry-after"]) == (503, "1")
    assert given_up.json()["error"]["code"] == "overloaded"
    assert given_up.json()["error"]["message"].startswith("no answer within 0.2 s")
    assert answered.status_code == 200
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["status_code"] for line in lines] == [503, 200]


def test_load_decides_between_bounds() -> None:
    config = build(Settings(num_replicas=2, max_replicas=5))._bound_deployment._deployment_config
    assert config.autoscaling_config.min_replicas == 2
    assert config.autoscaling_config.max_replicas == 5


def test_bounds_the_wrong_way_round() -> None:
    with pytest.raises(UsageError, match=r"at least HEART_NUM_REPLICAS, 3, got 2"):
        build(Settings(num_replicas=3, max_replicas=2))
