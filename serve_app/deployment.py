"""The Ray Serve deployment: a replica holds one model and answers over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.context import _get_global_client

from heart.errors import UsageError
from heart.settings import Settings
from serve_app.api import create_app
from serve_app.application import Application
from serve_app.config import DEPLOYMENT
from serve_app.logs import RequestLog, open_log
from serve_app.metrics import Metrics
from serve_app.model import Model
from serve_app.payloads import PayloadLog
from serve_app.reconfiguration import Reconfiguration, State
from serve_app.security import check_exposure
from serve_app.shadow import Shadow
from serve_app.user_config import UserConfig

# The application refuses what it cannot answer soon (serve_app.application), in the shape of
# its errors; these bounds of Serve's are far beyond that, and hold where it is stuck.
MAX_ONGOING_REQUESTS = 512
MAX_QUEUED_REQUESTS = 512
RETRY_AFTER_S = 1
# How soon a replica that has died is replaced; ten seconds by default.
HEALTH_CHECK_PERIOD_S = 1
# A replica that has this many requests at a time is busy about half of the time.
TARGET_ONGOING_REQUESTS = 4
GAUGES_S = 1.0
# How long a replica that starts looks for the model it is told to serve before it is asked: one
# without a model answers 503, and so quickly that HAProxy asks it again rather than another.
FIRST_MODEL_S = 15.0


class Heart:
    """One replica."""

    def __init__(self, settings: Settings) -> None:
        # A config file may name another address than the settings, which `build` looked at.
        check_exposure(settings, host=listening_on() or settings.host)
        log = open_log(settings.log_level)
        self._poll_s = settings.champion_poll_s
        self._metrics = Metrics()
        self._model = Model(settings, log)
        self._shadow = Shadow(settings, log)
        self._changes = Reconfiguration(
            self._model, self._shadow, self._metrics, log, first_s=FIRST_MODEL_S
        )
        self._requests = RequestLog(settings.log_level)
        self._payloads = open_payloads(settings, log, self._metrics)
        self._app = create_app(
            self._model,
            self._metrics,
            log,
            self._requests,
            settings=settings,
            payloads=self._payloads,
            shadow=self._shadow,
            lifespan=self._live,
        )
        self._work: asyncio.Task[None] | None = None

    def __serve_build_asgi_app__(self) -> Application:
        """What Serve asks for after the constructor has run."""
        return self._app

    async def reconfigure(self, user_config: object) -> None:
        """What Serve calls at the start, and when ``user_config`` changes."""
        await self._changes.apply(user_config)

    async def state(self, patients: Sequence[Sequence[float]]) -> State:
        """What a rollout asks each replica: what it serves, and how it judges ``patients``."""
        return await self._changes.state(patients)

    def check_health(self) -> None:
        """What Serve asks from time to time: raises what ended the background work, if it did.

        Serve then replaces the replica.
        """
        if self._work is not None and self._work.done():
            self._work.result()

    @asynccontextmanager
    async def _live(self, app: FastAPI) -> AsyncIterator[None]:
        self._work = asyncio.create_task(self._background())
        yield
        self._work.cancel()
        self._metrics.report(self._model)
        self._requests.flush()
        self._shadow.close()
        if self._payloads is not None:
            await asyncio.to_thread(self._payloads.close)

    async def _background(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._changes.wait(self._poll_s))
            tasks.create_task(self._report())

    async def _report(self) -> None:
        while True:
            self._metrics.report(self._model)
            await asyncio.sleep(GAUGES_S)


def listening_on() -> str | None:
    """The address that Serve was started on; None where no Serve runs."""
    client = _get_global_client(raise_if_no_controller_running=False)
    return None if client is None else str(client.http_config.host)


def open_payloads(settings: Settings, log: logging.Logger, metrics: Metrics) -> PayloadLog | None:
    """The replica's payload log, where it is asked for; raises `UsageError` for a bad key."""
    if not settings.payload_log:
        return None
    replica = serve.get_replica_context().replica_id.unique_id
    return PayloadLog(settings, log, metrics.count_payloads_dropped, replica=replica)


def build(settings: Settings) -> serve.Application:
    """The application that `serve.run` takes; raises `UsageError` for unsafe settings."""
    check_exposure(settings, host=settings.host)
    # Replicas run in folders of their own.
    key = settings.payload_key_file
    absolute = {"home": settings.home.resolve(), "payload_key_file": key and key.absolute()}
    settings = settings.model_copy(update=absolute)
    configure = serve.deployment(
        name=DEPLOYMENT,
        user_config=UserConfig().model_dump(),
        **_scale(settings),
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        max_queued_requests=MAX_QUEUED_REQUESTS,
        backpressure_config=BackpressureConfig(retry_after_s=RETRY_AFTER_S),
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        # The service logs each request itself. Below WARNING, Serve formats a record for
        # each, even where its access log is off.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    return configure(serve.ingress()(Heart)).bind(settings)


def _scale(settings: Settings) -> dict[str, Any]:
    """How many replicas: a number, or bounds between which load decides."""
    if settings.max_replicas is None:
        return {"num_replicas": settings.num_replicas}
    if settings.max_replicas < settings.num_replicas:
        raise UsageError(
            f"HEART_MAX_REPLICAS must be at least HEART_NUM_REPLICAS, {settings.num_replicas}, "
            f"got {settings.max_replicas}",
            field="HEART_MAX_REPLICAS",
        )
    bounds = AutoscalingConfig(
        min_replicas=settings.num_replicas,
        max_replicas=settings.max_replicas,
        target_ongoing_requests=TARGET_ONGOING_REQUESTS,
    )
    return {"autoscaling_config": bounds}
