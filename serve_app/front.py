"""What Serve wraps around its own part of a request, in front of the application.

Serve takes orders from some headers of a request (how long it may take, which replica answers)
and decodes them without a look at what they hold. They are not the client's to give, and here
they end.
"""

from __future__ import annotations

import functools
import socket
from typing import Final

import uvicorn
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve_app.request_id import HEADER, request_id

CONTROLS: Final = frozenset(
    {
        HEADER,
        *(b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"x-session-id"),
        *(b"x_session_id", b"serve_multiplexed_model_id", b"serve-multiplexed-model-id"),
    }
)
# An answer takes less time than watching for the client's departure meanwhile would. It also
# leaves a body where it is until it is read, where Serve would take all of it into memory.
UNWATCHED: Final = (b"x-request-disconnect-disabled", b"?1")
ACCEPTS: Final = 32
"""New connections that a replica takes each time its event loop goes round."""


class Front:
    """ASGI middleware: one sane X-Request-ID goes in, and no header that Serve would obey."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the identifier that it will keep."""
        headers = [
            header
            for header in scope["headers"]
            if header[0] not in CONTROLS and header[1].isascii()
        ]
        headers += [(HEADER, request_id(scope).encode()), UNWATCHED]
        await self._app({**scope, "headers": headers}, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve's HTTP servers wrap around themselves (see `serve_app.environment`)."""
    quiet_server()
    uvicorn.Server = Server  # type: ignore[misc]
    return [Middleware(Front)]


class Server(uvicorn.Server):
    """Takes more than one new connection each time that the event loop goes round.

    libuv, which runs the loop, accepts one a socket. A replica that is flooded goes round ten
    times a second: the others would wait for seconds, HAProxy's health check among them.
    """

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on each socket several times."""
        if sockets is not None:
            sockets = [*sockets, *(sock.dup() for sock in sockets for _ in range(ACCEPTS - 1))]
        await super().serve(sockets)


class Protocol(HttpToolsProtocol):
    """Forgets a connection that its client has reset.

    uvicorn's own keeps it, with its last request, until the time for another one is over: 90 s
    in Serve. When a thousand clients ask at once, HAProxy resets a thousand a second, 7 kB each.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for no other request, whatever ended the connection."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()


def quiet_server() -> None:
    """Have Serve's uvicorn say nothing of itself, and believe nothing of X-Forwarded-For.

    Serve passes none of the options on. Left alone, uvicorn takes the address that a client
    claims for the client's wherever the connection comes from loopback, as it does behind HAProxy.
    """
    uvicorn.Config = functools.partial(  # type: ignore[assignment, misc]
        uvicorn.Config, server_header=False, proxy_headers=False, http=Protocol
    )
