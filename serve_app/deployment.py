"""The Ray Serve deployment: a replica holds one model and answers over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from ray import serve

from heart.settings import Settings
from serve_app.api import create_app
from serve_app.logs import open_log
from serve_app.metrics import Metrics
from serve_app.model import Model

NAME = "heart"
# A replica answers in about a millisecond and waits for nothing: beyond this many requests
# at a time, another replica helps and a longer queue does not.
MAX_ONGOING_REQUESTS = 100
GAUGES_S = 1.0


class Heart:
    """One replica."""

    def __init__(self, settings: Settings) -> None:
        log = open_log(settings.log_level)
        self._poll_s = settings.champion_poll_s
        self._metrics = Metrics()
        self._model = Model(settings.bundles, log, recalibration=settings.recalibration)
        self._model.look()
        self._app = create_app(self._model, self._metrics, log, lifespan=self._live)
        self._work: asyncio.Task[None] | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        """What Serve asks for after the constructor has run."""
        return self._app

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

    async def _background(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._model.wait(self._poll_s))
            tasks.create_task(self._report())

    async def _report(self) -> None:
        while True:
            self._metrics.report(self._model)
            await asyncio.sleep(GAUGES_S)


def build(settings: Settings) -> serve.Application:
    """The application that `serve.run` takes."""
    # Replicas run in folders of their own.
    settings = settings.model_copy(update={"home": settings.home.resolve()})
    configure = serve.deployment(
        name=NAME,
        num_replicas=settings.num_replicas,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        # The service logs each request itself. Below WARNING, Serve formats a record for
        # each, even where its access log is off.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    return configure(serve.ingress()(Heart)).bind(settings)
