"""What no honest client sends: refused in the one shape, named, and at no cost to others."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.application import MAX_WAITING
from serve_app.guard import HEADERS
from serve_app.schemas import example
from tests.contract.conftest import BODY_TIMEOUT_S, Service
from tests.contract.wire import PIECE, Answer, post, send

HUGE = 100 * 1024 * 1024
ROOM = 16 * 1024 * 1024
"""What a process may grow by while it refuses `HUGE`: a sixth, and most of it is the server's."""


def pieces(total: int) -> Iterator[bytes]:
    for _ in range(total // len(PIECE)):
        yield PIECE


def chunks(total: int) -> Iterator[bytes]:
    for piece in pieces(total):
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


def by_length(service: Service, path: str) -> Answer:
    return post(service, path, {"Content-Length": str(HUGE)}, pieces(HUGE))


def by_chunks(service: Service, path: str) -> Answer:
    return post(service, path, {"Transfer-Encoding": "chunked"}, chunks(HUGE))


def serving() -> list[Path]:
    """Every process of Serve's on this machine: controller, proxy, replica."""
    return [
        folder
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit()
        and (folder / "cmdline").exists()
        and b"Serve" in (folder / "cmdline").read_bytes()[:64]
    ]


def memory(folder: Path, field: str) -> int:
    (line,) = [t for t in (folder / "status").read_text().splitlines() if t.startswith(field)]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("sent", [by_length, by_chunks])
@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/nowhere"])
def test_100_mb_are_not_held(
    service: Service, path: str, sent: Callable[[Service, str], Answer]
) -> None:
    processes = serving()
    assert len(processes) >= 2
    for folder in processes:
        (folder / "clear_refs").write_text("5")  # the peak starts anew
    before = {folder: memory(folder, "VmRSS") for folder in processes}
    answer = sent(service, path)
    grown = {folder: memory(folder, "VmHWM") - before[folder] for folder in processes}
    assert max(grown.values()) < ROOM, grown
    assert answer.status == (404 if path == "/nowhere" else 413)
    if answer.status == 413:
        assert answer.error["code"] == "body_too_large"


def test_a_length_is_believed_before_anything_is_sent(service: Service) -> None:
    started = time.monotonic()
    answer = post(service, "/predict", {"Content-Length": str(HUGE)}, [])
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert time.monotonic() - started < BODY_TIMEOUT_S


def test_a_body_that_never_ends_is_given_up(service: Service) -> None:
    def dripping() -> Iterator[bytes]:
        yield b'{"age": '
        for _ in range(6):
            time.sleep(BODY_TIMEOUT_S / 4)
            yield b"1"

    answer = post(service, "/predict", {"Content-Length": "1000"}, dripping())
    assert (answer.status, answer.error["code"]) == (408, "body_timeout")
    assert ("connection", "close") in answer.headers


def test_slow_clients_do_not_have_the_others_refused(
    service: Service, client: httpx.Client
) -> None:
    head = (
        f"POST /predict HTTP/1.1\r\nHost: heart\r\nAuthorization: Bearer {service.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_WAITING + 10):
            slow = stack.enter_context(socket.create_connection(service.address))
            slow.sendall(head.encode())
        answers = [client.post("/predict", json=example()) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    "value", ["a\r\nSet-Cookie: b=c", "a\nX-Evil: 1", "a\x00b", "a\r", "%0d%0aX-Evil: 1"]
)
def test_no_header_is_made_of_a_request_id(service: Service, value: str) -> None:
    answer = send(
        service,
        [
            b"GET /health HTTP/1.1\r\nHost: heart\r\nConnection: close\r\nX-Request-ID: "
            + value.encode("latin-1")
            + b"\r\n\r\n"
        ],
    )
    names = {name for name, _ in answer.headers}
    assert answer.status in (200, 400)
    assert not names & {"set-cookie", "x-evil"}
    assert value.encode("latin-1") not in answer.raw


TWICE = f'{{"patients": [{json.dumps(example())}, {{"age": 54, "sex": 1, "age": 55}}]}}'
BATCHES = {
    "NaN": ('{"patients": [{"age": NaN}]}', 400, "malformed_body", None),
    "Infinity": ('{"patients": [{"age": Infinity}]}', 400, "malformed_body", None),
    "duplicate in a patient": (TWICE, 400, "malformed_body", "age"),
    "duplicate around": ('{"patients": [], "patients": []}', 400, "malformed_body", "patients"),
    "deep": ('{"patients": ' + "[" * 30_000 + "]" * 30_000 + "}", 400, "malformed_body", None),
    "unknown": ('{"patients": [], "threshold": 0}', 400, "malformed_body", None),
}


@pytest.mark.parametrize(("body", "status", "code", "field"), BATCHES.values(), ids=BATCHES)
def test_a_batch(
    client: httpx.Client, body: str, status: int, code: str, field: str | None
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/predict/batch", content=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (status, code, field)


@pytest.mark.parametrize("value", [1e308, -1e308, True, "54", [54], {"value": 54}])
def test_a_patient_of_a_batch_alone_is_refused(client: httpx.Client, value: object) -> None:
    patients = [example(), {**example(), "age": value}, {**example(), "chol_mg": 240}]
    answers = client.post("/predict/batch", json={"patients": patients}).json()["predictions"]
    errors = [answer.get("error") for answer in answers]
    assert errors[0] is None
    assert (errors[1]["code"], errors[1]["field"]) == ("invalid_value", "age")
    assert (errors[2]["code"], errors[2]["field"]) == ("unknown_attribute", "chol_mg")


ALLOWED = {
    "/health": "GET",
    "/ready": "GET",
    "/model": "GET",
    "/predict": "POST",
    "/predict/batch": "POST",
}


@pytest.mark.parametrize("path", ALLOWED)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_another_method(client: httpx.Client, path: str, method: str) -> None:
    if method == ALLOWED[path]:
        return
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert ALLOWED[path] in answer.headers["allow"].split(", ")


@pytest.mark.parametrize("given", ["Bearer " + "x" * 1000, "Bearer " + "x" * 7000, "Bearer \xff"])
def test_a_key_that_is_none(stranger: httpx.Client, given: str) -> None:
    answer = stranger.get("/model", headers={"authorization": given.encode("latin-1")})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["code"] == "unauthorized"
    assert "xxx" not in answer.text


def test_keys_and_scopes(client: httpx.Client, stranger: httpx.Client, service: Service) -> None:
    for path in ("/model", "/nowhere"):
        assert stranger.get(path).status_code == 401
    for path in ("/", "/docs", "/openapi.json", "/health", "/ready"):
        assert stranger.get(path).status_code == 200
    assert stranger.post("/predict", json=example()).status_code == 401
    assert client.post("/predict", json=example()).status_code == 200
    refused = client.get("/metrics")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    admin = {"authorization": f"Bearer {service.admin}"}
    assert stranger.get("/metrics", headers=admin).status_code == 200


SERVE_CONTROLS = {
    "serve_multiplexed_model_id": b"\xff",
    "serve-multiplexed-model-id": b"\xff",
    "x-session-id": b"\xff",
    "x-request-timeout-seconds": b"\xff",
    "x-request-disconnect-disabled": b"\xff",
    "traceparent": b"\xff",
}


@pytest.mark.parametrize(("name", "value"), SERVE_CONTROLS.items(), ids=SERVE_CONTROLS)
def test_what_controls_serve_is_not_the_client_s(
    client: httpx.Client, name: str, value: bytes
) -> None:
    answer = client.post("/predict", json=example(), headers={name.encode(): value})
    assert answer.status_code == 200


def test_the_client_s_time_is_not_the_service_s(client: httpx.Client) -> None:
    headers = {"x-request-timeout-seconds": "0.000001"}
    answers = [client.post("/predict", json=example(), headers=headers) for _ in range(20)]
    assert [answer.status_code for answer in answers] == [200] * 20


@pytest.mark.parametrize("path", ["/model", "/predict", "/nowhere", "/health", "/openapi.json"])
def test_every_answer_has_the_headers_and_no_banner(client: httpx.Client, path: str) -> None:
    found: dict[str, Any] = dict(client.get(path).headers)
    assert {name.decode(): value.decode() for name, value in HEADERS.items()}.items() <= (
        found.items()
    )
    assert "server" not in found
