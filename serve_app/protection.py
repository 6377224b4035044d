"""The OpenAPI document's account of keys, limits and headers, the same for every route."""

from __future__ import annotations

from typing import Any, Final

from heart.errors import (
    ForbiddenError,
    HeartError,
    OverloadedError,
    RateLimitedError,
    UnauthorizedError,
)
from serve_app.application import PROBES
from serve_app.bodies import MEDIA_TYPE
from serve_app.guard import Guard
from serve_app.request_id import SANE

Document = dict[str, Any]

SCHEME: Final = "key"
ERROR: Final = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
REQUEST_ID: Final[Document] = {
    "X-Request-ID": {
        "description": "the caller's, where it sent a sane one, else one made here",
        "required": True,
        "schema": {"type": "string", "pattern": f"^{SANE.pattern.decode()}$"},
    }
}
RETRY_AFTER: Final[Document] = {
    "Retry-After": {
        "description": "seconds until the same may be tried again",
        "schema": {"type": "integer", "minimum": 1},
    }
}
AUTHENTICATE: Final[Document] = {
    "WWW-Authenticate": {"required": True, "schema": {"const": "Bearer", "type": "string"}}
}
HEADERS: Final[dict[str, Document]] = {
    "401": AUTHENTICATE,
    "429": RETRY_AFTER,
    "503": RETRY_AFTER,
}


def describe(document: Document, guard: Guard) -> None:
    """Say of each operation which key it needs, how it may be refused, and with which headers."""
    document["components"]["securitySchemes"] = {
        SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, made by `python -m serve_app.security new NAME`. Where "
            "the service has no keys set, none is asked for.",
        }
    }
    for path, item in document["paths"].items():
        for operation in item.values():
            _protect(operation, path, guard)
            for status, response in operation["responses"].items():
                response["headers"] = {**REQUEST_ID, **HEADERS.get(status, {})}


def _protect(operation: Document, path: str, guard: Guard) -> None:
    scope = guard.scope(path)
    operation["security"] = [] if scope is None else [{SCHEME: [scope]}]
    if scope is not None and not guard.asks_for_keys:
        operation["security"].append({})
    kinds: list[type[HeartError]] = []
    if scope is not None:
        kinds += [UnauthorizedError, ForbiddenError]
    if guard.counts(path):
        kinds.append(RateLimitedError)
    if path not in PROBES:
        kinds.append(OverloadedError)
    for kind in kinds:
        _add(operation["responses"], kind)
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _add(responses: Document, kind: type[HeartError]) -> None:
    known = responses.get(str(int(kind.status)))
    if known is None:
        description = f"{kind.status.phrase}: {kind.code}"
        responses[str(int(kind.status))] = {"description": description, "content": ERROR}
    elif kind.code not in known["description"]:
        known["description"] += f", {kind.code}"
