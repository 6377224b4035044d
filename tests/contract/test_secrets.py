"""No key, no key's hash, no password and no patient's value is where others may read it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from ray._private import worker

from serve_app.schemas import example
from tests.contract.conftest import PASSWORD, Service
from tests.contract.wire import post

WRONG_KEY = "heart_no-key-of-ours-0123456789"
OLDPEAK = 3.1428571
CHOL = 987654321
PATIENT_ID = "patient-4711-of-ward-7"


@pytest.fixture(scope="module")
def secrets(service: Service, client: httpx.Client, stranger: httpx.Client) -> list[bytes]:
    """What must not be found, once every kind of request has been made."""
    client.post("/predict", json={**example(), "oldpeak": OLDPEAK})
    client.post("/predict", json={**example(), "chol": CHOL})
    client.post("/predict/batch", json={"patients": [{**example(), "chol": CHOL}]})
    client.post("/predict", json=example(), headers={"x-patient-id": PATIENT_ID})
    client.post("/predict", content=f'{{"age": {CHOL}')
    client.get("/metrics")
    stranger.get("/model", headers={"authorization": f"Bearer {WRONG_KEY}"})
    post(service, "/predict", {"Content-Length": "90"}, [f'{{"chol": {CHOL}'.encode()])
    digests = [entry.split(":")[2] for entry in service.entries.split(",")]
    hidden = [service.key, service.admin, *digests, PASSWORD, WRONG_KEY, PATIENT_ID]
    return [text.encode() for text in [*hidden, str(OLDPEAK), str(CHOL)]]


def test_logs(secrets: list[bytes]) -> None:
    folder = Path(worker._global_node.get_logs_dir_path())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(b'"path":"/predict"' in path.read_bytes() for path in files)
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path


def test_process_list(secrets: list[bytes]) -> None:
    commands = [read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert any(b"Serve" in command for command in commands)
    assert not [s for s in secrets if any(s in command for command in commands)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # a process that has ended
        return b""


def test_answers(service: Service, stranger: httpx.Client, secrets: list[bytes]) -> None:
    admin = {"authorization": f"Bearer {service.admin}"}
    for path in ("/model", "/metrics", "/health", "/ready", "/openapi.json", "/docs", "/nowhere"):
        for headers in (admin, {"authorization": f"Bearer {WRONG_KEY}"}):
            answer = stranger.get(path, headers=headers)
            told = answer.content + str(answer.headers).encode()
            assert not [secret for secret in secrets if secret in told], path
