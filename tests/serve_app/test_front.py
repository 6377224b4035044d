"""What a client may not say to Serve ends in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve_app.front import (
    CONTROLS,
    UNWATCHED,
    Front,
    Protocol,
    Server,
    middlewares,
    quiet_server,
)

T = TypeVar("T")


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
    assert config.http is Protocol


def test_serves_servers_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn, "Config", uvicorn.Config)
    monkeypatch.setattr(uvicorn, "Server", uvicorn.Server)
    (front,) = middlewares()
    assert front.cls is Front
    assert uvicorn.Server is Server


async def serving(
    server: uvicorn.Server, ask: Callable[[int], Coroutine[Any, Any, T]]
) -> tuple[T, tuple[str, int]]:
    """What is found by asking, at its port, a server that runs meanwhile; and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        work = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        address = listening.getsockname()
        found = await ask(address[1])
        server.should_exit = True
        await work
    return found, address


@pytest.mark.parametrize(("kind", "taken"), [(Server, True), (uvicorn.Server, False)])
def test_many_new_connections_are_taken_at_once(kind: type[uvicorn.Server], taken: bool) -> None:
    """However long the event loop takes to go round; uvicorn's own server is there to compare."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    server = kind(uvicorn.Config(app, lifespan="off", log_config=None))

    async def count(port: int) -> int:
        with contextlib.ExitStack() as clients:
            for _ in range(20):  # while the loop does something else, as it is this thread
                clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(3):
                await asyncio.sleep(0)
            return len(server.server_state.connections)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found, address = runner.run(serving(server, count))
    assert (found == 20) == taken
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.parametrize(("kind", "kept"), [(Protocol, 0), (HttpToolsProtocol, 20)])
def test_connections_that_are_reset_are_forgotten(kind: type[HttpToolsProtocol], kept: int) -> None:
    """uvicorn's own keeps them as long as it would wait for another request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 204, "headers": []}
        await send(start)
        await send({"type": "http.response.body"})

    async def reset(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: heart\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 204")
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def count(port: int) -> int:
        for _ in range(20):
            await reset(port)
        while server.server_state.connections:
            await asyncio.sleep(0.01)
        gc.collect()
        return sum(type(found) is kind for found in gc.get_objects())

    config = uvicorn.Config(app, http=kind, lifespan="off", log_config=None, timeout_keep_alive=90)
    server = uvicorn.Server(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found, _ = runner.run(serving(server, count))
    assert found == kept
