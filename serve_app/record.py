"""What is kept of every request: a line in the log and its counts, and no attribute's value."""

from __future__ import annotations

import logging
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.errors import fail
from serve_app.metrics import Metrics
from serve_app.model import Model
from serve_app.request_id import request_id

# The status, known from nginx, of a request whose client went before the answer began.
CLIENT_GONE = 499
UNMATCHED = "unmatched"


class Record:
    """ASGI middleware around the whole application, so that what it records is what was sent."""

    def __init__(self, app: ASGIApp, *, model: Model, metrics: Metrics, log: logging.Logger):
        self._app = app
        self._model = model
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then record; an exception that nothing else handles is answered here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        scope.setdefault("state", {})["request_id"] = request_id(scope)
        status = CLIENT_GONE

        async def note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, note)
        except ClientDisconnect:
            pass
        except Exception as error:
            if status != CLIENT_GONE:
                raise
            await fail(scope["state"]["request_id"], error, self._log)(scope, receive, note)
        finally:
            self._keep(scope, status, time.perf_counter() - started)

    def _keep(self, scope: Scope, status: int, seconds: float) -> None:
        endpoint = getattr(scope.get("route"), "path", UNMATCHED)
        self._metrics.count_request(endpoint, scope["method"], status, seconds)
        if not self._log.isEnabledFor(logging.INFO):
            return
        fields = {
            "request_id": scope["state"]["request_id"],
            "method": scope["method"],
            "path": scope["path"],
            "status_code": status,
            "duration_ms": round(seconds * 1000, 3),
            "model_version": self._model.version,
            "run_id": self._model.run_id,
        }
        self._log.info("request", extra={"fields": fields})
