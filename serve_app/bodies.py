"""Request bodies, read strictly: what is ambiguous is refused, not guessed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from heart.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    MalformedBodyError,
    MediaTypeError,
)

MEDIA_TYPE = "application/json"
SHOWN_LENGTH = 40


async def read_object(request: Request, *, limit: int, timeout_s: float) -> dict[str, Any]:
    """The request's JSON object, sent within ``timeout_s`` seconds.

    Raises `MediaTypeError`, `BodyTooLargeError` (more than ``limit`` bytes), `BodyTimeoutError`,
    `MalformedBodyError`, or `ClientDisconnect` where the client went.
    """
    return parse_object(await read_bytes(request.scope, request.receive, limit, timeout_s))


async def read_bytes(scope: Scope, receive: Receive, limit: int, timeout_s: float) -> bytes:
    """The body of a request that says it is JSON; raises as `read_object` does.

    A body that says it is too long is refused before it is read, and no more than ``limit``
    bytes and one piece of the server's are held of any.
    """
    check_head(scope["headers"], limit)
    try:
        async with asyncio.timeout(timeout_s):
            return await _collect(receive, limit)
    except TimeoutError:
        raise BodyTimeoutError(f"the body must be sent within {timeout_s:g} s") from None


def check_head(headers: Iterable[tuple[bytes, bytes]], limit: int) -> None:
    """Raise `MediaTypeError` or `BodyTooLargeError` for what the headers say of the body."""
    given = b""
    length = b""
    for name, value in headers:
        if name == b"content-type":
            given = value
        elif name == b"content-length":
            length = value
    if given.partition(b";")[0].strip().lower() != MEDIA_TYPE.encode():
        shown = _shown(given.decode("latin-1"))
        raise MediaTypeError(f'the content type must be {MEDIA_TYPE}, got "{shown}"')
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)


async def _collect(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body must be at most {limit:,} bytes")


def parse_object(body: bytes) -> dict[str, Any]:
    """One JSON object by RFC 8259, names unique; raises `MalformedBodyError`."""
    try:
        content = DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"the body is not UTF-8: byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise MalformedBodyError(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise MalformedBodyError("the body is nested too deeply") from None
    except ValueError:  # CPython's limit on the digits of an integer
        raise MalformedBodyError("the body holds a number with too many digits") from None
    if not isinstance(content, dict):
        raise MalformedBodyError("the body must be one JSON object")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBodyError(f"{name} is not JSON; send null for a missing value")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = Counter(name for name, _ in pairs)
        twice = _shown(names.most_common(1)[0][0])
        raise MalformedBodyError(f'"{twice}" is given more than once', field=twice)
    return content


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"


DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)
