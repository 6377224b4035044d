"""The ASGI application of one replica: every request is recorded, and answered the short way.

The routes of `serve_app.routes` are FastAPI's, which documents them and has the others (docs,
404, 405). Asked for by path and method they are found here in one look-up: FastAPI's own way
to the same handler takes longer than the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heart.errors import HeartError, OverloadedError
from serve_app.errors import fail, refuse
from serve_app.guard import Guard, secure
from serve_app.logs import RequestLog
from serve_app.metrics import Metrics
from serve_app.model import Model
from serve_app.request_id import request_id

Handler = Callable[[Request], Awaitable[Response]]
Handlers = Mapping[tuple[str, str], Handler]

# The status, known from nginx, of a request whose client went before the answer began.
CLIENT_GONE: Final = 499
UNMATCHED: Final = "unmatched"
MAX_WAITING: Final = 128
"""Requests that a replica has at a time; one more is refused at once. One patient takes about 0.4
milliseconds, so the last of so many is answered within 50 ms or so. Batches take longer, and let
the event loop hear of others: see `serve_app.batching`."""
BUSY: Final = "the service is busy: try again in a second"
PROBES: Final = frozenset({"/health", "/ready", "/metrics"})
"""Answered under any load: an orchestrator would end a replica that is merely busy."""
QUEUED: Final = frozenset({"/predict/batch", "/explain"})
"""What may wait for more than its body: for a thread. To time each /predict as well would cost a
hundredth of it, for a wait that `HEART_BODY_TIMEOUT_S` ends already."""


class Application:
    """Records, guards and dispatches; what it has no handler for goes to ``others``."""

    def __init__(
        self,
        others: ASGIApp,
        handlers: Handlers,
        *,
        model: Model,
        metrics: Metrics,
        log: logging.Logger,
        requests: RequestLog,
        guard: Guard,
        timeout_s: float,
    ) -> None:
        self._others, self._handlers = others, handlers
        self._model, self._metrics = model, metrics
        self._log, self._requests = log, requests
        self._guard = guard
        self._timeout_s = timeout_s
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then record; an exception that nothing else handles is answered here."""
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        started = time.perf_counter()
        scope.setdefault("state", {})["request_id"] = request_id(scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        status = CLIENT_GONE

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = secure(message["headers"])
            await send(message)

        key: str | None = None
        handler = self._handlers.get((scope["method"], path))
        try:
            key = self._guard.check(scope, path)
            if handler is None:
                await self._others(scope, receive, note)
            else:
                request = Request(scope, self._uncounted(receive))
                response = await self._admit(handler, path, request)
                await response(scope, receive, note)
        except ClientDisconnect:
            pass
        except HeartError as error:
            response = await refuse(Request(scope, receive), error)
            await response(scope, receive, note)
        except Exception as error:
            if status != CLIENT_GONE:
                raise
            await fail(scope["state"]["request_id"], error, self._log)(scope, receive, note)
        finally:
            seconds = time.perf_counter() - started
            self._keep(scope, path if handler else _route(scope), status, seconds, key)

    async def _admit(self, handler: Handler, path: str, request: Request) -> Response:
        """The handler's answer, or a refusal where too many wait already."""
        try:
            if path in PROBES:
                return await handler(request)
            if self._waiting >= MAX_WAITING:
                raise OverloadedError(BUSY)
            self._waiting += 1
            try:
                if path in QUEUED:
                    return await self._give_up(handler, request)
                return await handler(request)
            finally:
                self._waiting -= 1
        except HeartError as error:
            return await refuse(request, error)

    async def _give_up(self, handler: Handler, request: Request) -> Response:
        """The handler's answer, or `OverloadedError` where it has none in time.

        What runs at that moment cannot be interrupted: a graph on the event loop is answered
        with all the same, and one in a thread runs to its end for nobody.
        """
        timer = asyncio.timeout(self._timeout_s)
        try:
            async with timer:
                return await handler(request)
        except TimeoutError:
            if not timer.expired():
                raise
            raise OverloadedError(
                f"no answer within {self._timeout_s:g} s: try again in a second"
            ) from None

    def _uncounted(self, receive: Receive) -> Receive:
        """Receiving, for whose time a request does not count as waiting for an answer.

        Else as many slow clients as may wait would have everyone else refused. Many whose bodies
        are whole at the same moment are admitted or refused like any others.
        """

        async def received() -> Message:
            self._waiting -= 1
            try:
                message = await receive()
            finally:
                self._waiting += 1
            if self._waiting > MAX_WAITING and not message.get("more_body", False):
                raise OverloadedError(BUSY)
            return message

        return received

    def _keep(
        self, scope: Scope, endpoint: str, status: int, seconds: float, key: str | None
    ) -> None:
        self._metrics.count_request(endpoint, scope["method"], status, seconds)
        self._requests.keep(
            request_id=scope["state"]["request_id"],
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=seconds,
            key=key,
            version=self._model.version,
            run_id=self._model.run_id,
        )


def _route(scope: Scope) -> str:
    """The template of the route that FastAPI found, never a path that a client made up."""
    return getattr(scope.get("route"), "path", UNMATCHED)
