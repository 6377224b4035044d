"""X-Request-ID: exactly one comes back, and it is never an insane one."""

from __future__ import annotations

import httpx
import pytest

from serve_app.request_id import SANE


def sent_back(answer: httpx.Response) -> str:
    (value,) = answer.headers.get_list("x-request-id")
    return value


@pytest.mark.parametrize("path", ["/health", "/predict", "/nowhere"])
def test_the_caller_s(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers={"x-request-id": "ward-7_2026.1"})
    assert sent_back(answer) == "ward-7_2026.1"


def test_one_is_made(client: httpx.Client) -> None:
    first, second = (sent_back(client.get("/health")) for _ in range(2))
    assert first != second
    assert SANE.fullmatch(first.encode())


@pytest.mark.parametrize(
    "given", [b"", b"two words", b"x" * 129, b'{"a":1}', b"\xff\xfe", b"a\tb", b"../../etc"]
)
def test_an_insane_one_is_replaced(client: httpx.Client, given: bytes) -> None:
    answer = client.get("/nowhere", headers={b"x-request-id": given})
    made = sent_back(answer)
    assert SANE.fullmatch(made.encode())
    assert made.encode() != given
    assert answer.json()["error"]["request_id"] == made


def test_two_are_replaced_by_one(client: httpx.Client) -> None:
    answer = client.get("/nowhere", headers=[("x-request-id", "one"), ("x-request-id", "two")])
    assert sent_back(answer) not in ("one", "two")
    assert answer.json()["error"]["request_id"] == sent_back(answer)
