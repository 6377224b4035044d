"""One X-Request-ID a request: the caller's, if it is sane, else one that is made here.

Serve's proxy copies the header of the request into the response, whatever it holds, and
makes one where there is none. So the response needs no header from us, it would be the
second; what has to happen is that an insane one is gone before the proxy sees it.
"""

from __future__ import annotations

import re
import uuid

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = b"x-request-id"
# An answer takes less time than watching for the client's departure meanwhile would.
UNWATCHED = (b"x-request-disconnect-disabled", b"?1")
SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def request_id(scope: Scope) -> str:
    """The caller's identifier, or a new one where it sent none, several or an insane one."""
    given = [value for name, value in scope["headers"] if name == HEADER]
    if len(given) == 1 and SANE.fullmatch(given[0]):
        return str(given[0], "ascii")
    return str(uuid.uuid4())


class SaneRequestId:
    """ASGI middleware in front of Serve's own: exactly one sane identifier goes in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the identifier that it will keep."""
        others = [header for header in scope["headers"] if header[0] != HEADER]
        headers = [*others, (HEADER, request_id(scope).encode()), UNWATCHED]
        await self._app({**scope, "headers": headers}, receive, send)


def proxy_middlewares() -> list[Middleware]:
    """What Serve's HTTP proxies wrap around themselves (see `serve_app.environment`)."""
    return [Middleware(SaneRequestId)]
