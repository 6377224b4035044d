"""Every error in one shape, whoever raised it: this service, the router, or a mistake of ours."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from heart.errors import BodyTimeoutError, HeartError, UnauthorizedError
from serve_app.answers import ErrorAnswer, render


def describe(error: HeartError, request_id: str) -> ErrorAnswer:
    """An error as it is answered."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "field": error.field,
            "request_id": request_id,
        }
    }


async def refuse(request: Request, error: HeartError) -> Response:
    """The answer to a `HeartError` that a route raised."""
    answer = describe(error, request.state.request_id)
    return render(answer, status=error.status, headers=headers(error))


def headers(error: HeartError) -> dict[str, str]:
    """What the answer to an error says beside its body."""
    found: dict[str, str] = {}
    if error.retry_after_s is not None:
        found["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, UnauthorizedError):
        found["WWW-Authenticate"] = "Bearer"
    if isinstance(error, BodyTimeoutError):
        found["Connection"] = "close"  # the rest of the body is not waited for
    return found


async def misroute(request: Request, error: HTTPException) -> Response:
    """The answer to what the router raises: an unknown path, a method that a path lacks."""
    status = HTTPStatus(error.status_code)
    message = f"{request.method} {request.scope['path']}: {status.phrase.lower()}"
    answer = _plain(status, message, request.state.request_id)
    return render(answer, status=status, headers=_allowing_head(error.headers))


def _allowing_head(headers: Mapping[str, str] | None) -> dict[str, str]:
    """FastAPI's Allow names GET alone, whose HEAD is answered too."""
    found = dict(headers or {})
    if found.get("Allow") == "GET":
        found["Allow"] = "GET, HEAD"
    return found


def fail(request_id: str, error: Exception, log: logging.Logger) -> Response:
    """The answer to a mistake of ours; where it happened goes to the log.

    The exception's own message goes nowhere: it may hold a patient's values.
    """
    frames = traceback.extract_tb(error.__traceback__)
    log.error(
        "unexpected error",
        extra={
            "fields": {
                "request_id": request_id,
                "error": type(error).__name__,
                "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        },
    )
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    message = "the service failed; its log says where, by the request_id"
    return render(_plain(status, message, request_id), status=status)


def _plain(status: HTTPStatus, message: str, request_id: str) -> ErrorAnswer:
    code = HeartError.code if status == HeartError.status else status.name.lower()
    return {"error": {"code": code, "message": message, "field": None, "request_id": request_id}}
