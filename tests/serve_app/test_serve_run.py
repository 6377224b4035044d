"""``serve run serve_app:app`` as a user types it: HAProxy in front, on loopback, quick to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from heart.bundle import Bundle
from serve_app.environment import apart, free_port

pytestmark = pytest.mark.long
START_S = 60.0
END_S = 40.0


@pytest.fixture(scope="module")
def run(champion_home: Path) -> Iterator[tuple[str, Any]]:
    """The address of a service in a process of its own, and that process."""
    port = free_port()
    process = subprocess.Popen(
        [Path(sys.executable).parent / "serve", "run", "--address", "local", "serve_app:app"],
        env=os.environ
        | apart(Path(tempfile.mkdtemp(prefix="haproxy-")))
        | {"HEART_HOME": str(champion_home), "HEART_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield f"http://127.0.0.1:{port}", process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(END_S)


@pytest.fixture(scope="module")
def served(run: tuple[str, Any]) -> Iterator[httpx.Client]:
    """A client of that service, once it is ready."""
    url, process = run
    deadline = time.monotonic() + START_S
    with httpx.Client(base_url=url, timeout=5) as client:
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                if client.get("/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield client


def listeners(port: int) -> set[str]:
    """The addresses on which a port is listened to."""
    told = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout
    local = [line.split()[3].rpartition(":") for line in told.splitlines()]
    return {address for address, _, listened in local if listened == str(port)}


def test_it_answers_as_the_bundle_does(
    served: httpx.Client, bundle: Bundle, patient: dict[str, Any]
) -> None:
    answer = served.post("/predict", json=patient).json()
    assert answer["probability"] == bundle.predict([list(patient.values())])[0]


def test_haproxy_answers_on_loopback_alone(served: httpx.Client) -> None:
    assert listeners(served.base_url.port or 0) == {"127.0.0.1"}
    missing = served.get("/-/routes")
    assert missing.status_code == 200
    assert "server" not in missing.headers  # uvicorn would name itself: HAProxy answers this


def test_one_request_id(served: httpx.Client) -> None:
    answer = served.get("/health", headers={"x-request-id": "ward-7"})
    assert answer.headers.get_list("x-request-id") == ["ward-7"]


def test_it_ends_soon(run: tuple[str, Any], served: httpx.Client) -> None:
    _, process = run
    process.send_signal(signal.SIGINT)
    assert process.wait(END_S) == 0
    with pytest.raises(httpx.TransportError):
        served.get("/health")
