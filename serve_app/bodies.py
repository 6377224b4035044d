"""Request bodies, read strictly: what is ambiguous is refused, not guessed."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.requests import Request

from heart.errors import BodyTooLargeError, MalformedBodyError, MediaTypeError

MEDIA_TYPE = "application/json"
SHOWN_LENGTH = 40


async def read_object(request: Request, *, limit: int) -> dict[str, Any]:
    """The request's JSON object.

    Raises `MediaTypeError`, `BodyTooLargeError` (more than ``limit`` bytes) or
    `MalformedBodyError`.
    """
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise MediaTypeError(f'the content type must be {MEDIA_TYPE}, got "{_shown(given)}"')
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLargeError(f"the body must be at most {limit:,} bytes")
    return parse_object(bytes(body))


def parse_object(body: bytes) -> dict[str, Any]:
    """One JSON object by RFC 8259, names unique; raises `MalformedBodyError`."""
    try:
        content = json.loads(
            body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique
        )
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
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise MalformedBodyError(
                f'"{_shown(name)}" is given more than once', field=_shown(name)
            )
        content[name] = value
    return content


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"
