"""What is refused, with which status and code, in the one shape of errors."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from serve_app.routes import PATIENT_BYTES

JSON = {"content-type": "application/json"}
KNOWN = '"age": 54, "sex": 1, "cp": 1'

BODIES = {
    "empty": (b"", 400, "malformed_body"),
    "truncated": (b'{"age": 54', 400, "malformed_body"),
    "array": (b"[]", 400, "malformed_body"),
    "text": (b'"age"', 400, "malformed_body"),
    "null": (b"null", 400, "malformed_body"),
    "invalid UTF-8": (b'{"age": "\xff"}', 400, "malformed_body"),
    "UTF-16": (json.dumps({"age": 54}).encode("utf-16"), 400, "malformed_body"),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, "malformed_body"),
    "NaN": (b'{"age": NaN}', 400, "malformed_body"),
    "Infinity": (b'{"age": -Infinity}', 400, "malformed_body"),
    "digits": (b'{"age": ' + b"9" * 5000 + b"}", 400, "malformed_body"),
    "duplicate": (f'{{{KNOWN}, "age": 55}}'.encode(), 400, "malformed_body"),
    "deep": (b'{"age": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400, "malformed_body"),
    "too large": (b" " * (PATIENT_BYTES + 1), 413, "body_too_large"),
    "no attribute": (b"{}", 422, "missing_attribute"),
}


@pytest.mark.parametrize(("body", "status", "code"), BODIES.values(), ids=BODIES)
def test_body(client: httpx.Client, body: bytes, status: int, code: str) -> None:
    check(client.post("/predict", content=body, headers=JSON), status, code)


CHANGES = {
    "missing": ({"age": None}, "missing_attribute", "age"),
    "unknown": ({"cholesterol": 240}, "unknown_attribute", "cholesterol"),
    "boolean": ({"sex": True}, "invalid_value", "sex"),
    "number as text": ({"age": "54"}, "invalid_value", "age"),
    "unknown word": ({"thal": "fine"}, "invalid_value", "thal"),
    "nested": ({"chol": {"value": 240}}, "invalid_value", "chol"),
    "array": ({"chol": [240]}, "invalid_value", "chol"),
    "huge": ({"chol": 1e308}, "invalid_value", "chol"),
    "negative": ({"age": -1}, "invalid_value", "age"),
    "fraction of a code": ({"cp": 1.5}, "invalid_value", "cp"),
    "lone surrogate": ({"thal": "\ud800"}, "invalid_value", "thal"),
}


@pytest.mark.parametrize(("change", "code", "field"), CHANGES.values(), ids=CHANGES)
def test_attribute(
    client: httpx.Client, patient: dict[str, Any], change: dict[str, Any], code: str, field: str
) -> None:
    body = json.dumps({**patient, **change})
    error = check(client.post("/predict", content=body, headers=JSON), 422, code)
    assert error["field"] == field


def test_number_beyond_floats(client: httpx.Client) -> None:
    body = f'{{{KNOWN}, "chol": 1e400}}'
    error = check(client.post("/predict", content=body, headers=JSON), 422, "invalid_value")
    assert error["message"] == "chol must be a number from 50 to 1000 mg/dl, got inf"


def test_every_depth_is_refused(client: httpx.Client, patient: dict[str, Any]) -> None:
    """Depths that the JSON parser just takes must not break what shows the value."""
    for depth in [1, 10, 100, *range(900, 1000, 3)]:
        body = f'{{{KNOWN}, "chol": {"[" * depth}{"]" * depth}}}'
        answer = client.post("/predict", content=body, headers=JSON)
        assert answer.status_code in (400, 422), depth


@pytest.mark.parametrize("given", [None, "text/plain", "application/x-www-form-urlencoded", ""])
def test_media_type(client: httpx.Client, patient: dict[str, Any], given: str | None) -> None:
    headers = {} if given is None else {"content-type": given}
    answer = client.post("/predict", content=json.dumps(patient), headers=headers)
    check(answer, 415, "media_type")


def test_media_type_with_a_parameter(client: httpx.Client, patient: dict[str, Any]) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    answer = client.post("/predict", content=json.dumps(patient), headers=headers)
    assert answer.status_code == 200


def test_method(client: httpx.Client) -> None:
    answer = client.get("/predict")
    check(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/nowhere", "/predict/", "/static-offline-docs/nothing.js"])
def test_path(client: httpx.Client, path: str) -> None:
    check(client.post(path) if path == "/predict/" else client.get(path), 404, "not_found")


def check(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json().values()
    assert set(error) == {"code", "message", "field", "request_id"}
    assert error["code"] == code
    assert error["request_id"] == answer.headers["x-request-id"]
    return dict(error)
