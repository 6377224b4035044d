"""What a client may not say to Serve ends in front of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn

from serve_app.front import CONTROLS, UNWATCHED, Front, quiet_server


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
