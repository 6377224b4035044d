"""What a client may not say to Serve ends in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest
import uvicorn
import uvloop

from serve_app.front import CONTROLS, UNWATCHED, Front, Server, middlewares, quiet_server


def passed(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers that come through."""
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    asyncio.run(Front(app)({"type": "http", "headers": headers}, nothing, nothing))
    return seen


def test_controls_of_serve_are_dropped_and_its_one_order_is_ours() -> None:
    given = [(name, b"1") for name in sorted(CONTROLS)] + [(b"accept", b"*/*")]
    headers = passed(given)
    assert headers[0] == (b"accept", b"*/*")
    assert headers[1] == (b"x-request-id", b"1")
    assert headers[2:] == [UNWATCHED]


def test_what_serve_could_not_decode_is_dropped() -> None:
    names = [name for name, _ in passed([(b"traceparent", b"\xff"), (b"cookie", b"\xc3\xa9")])]
    assert names == [b"x-request-id", UNWATCHED[0]]


def test_uvicorn_is_quiet_and_trusts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn, "Config", uvicorn.Config)
    quiet_server()
    config = uvicorn.Config("none:none", port=0)
    assert not config.server_header
    assert not config.proxy_headers


def test_serves_servers_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn, "Config", uvicorn.Config)
    monkeypatch.setattr(uvicorn, "Server", uvicorn.Server)
    (front,) = middlewares()
    assert front.cls is Front
    assert uvicorn.Server is Server


@pytest.mark.parametrize(("kind", "taken"), [(Server, True), (uvicorn.Server, False)])
def test_many_new_connections_are_taken_at_once(kind: type[uvicorn.Server], taken: bool) -> None:
    """However long the event loop takes to go round; uvicorn's own server is there to compare."""

    async def count(port: int, server: uvicorn.Server) -> int:
        with contextlib.ExitStack() as clients:
            for _ in range(20):  # while the loop does something else, as it is this thread
                clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(3):
                await asyncio.sleep(0)
            return len(server.server_state.connections)

    async def serve() -> int:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError

        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = kind(uvicorn.Config(app, lifespan="off", log_config=None))
            work = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            address = listening.getsockname()
            found = await count(address[1], server)
            server.should_exit = True
            await work
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert (runner.run(serve()) == 20) == taken
