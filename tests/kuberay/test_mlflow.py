"""The MLflow server as the manifest starts it: tracking, and files over HTTP."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mlflow.tracking import MlflowClient
from overlays import find, rendered

pytestmark = pytest.mark.full

START_S = 240
VOLUME = "/var/lib/mlflow"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The manifest's command and settings, on another port and in another folder."""
    folder = tmp_path_factory.mktemp("mlflow")
    objects = rendered("minikube")
    pod = find(objects, "Deployment", "mlflow")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = find(objects, "ConfigMap", "mlflow-settings")["data"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "--port=5000" in container["command"]
    program = shutil.which("mlflow", path=Path(sys.executable).parent)
    command = [program, *container["command"][1:]]
    command = [str(part).replace("=5000", f"={port}") for part in command]
    own = {name: value.replace(VOLUME, str(folder)) for name, value in settings.items()}
    process = subprocess.Popen(command, env={**os.environ, **own}, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_S
    while not _answers(f"{url}/health") and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.2)
    yield url, folder
    os.killpg(process.pid, 15)
    process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def test_files_of_a_run_are_fetched_over_http(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    (tmp_path / "metadata.json").write_text('{"a": 1}')
    client = MlflowClient(tracking_uri=url)
    run = client.create_run(client.create_experiment("heart"))
    client.log_artifacts(run.info.run_id, str(tmp_path), "bundle")
    where = run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    path = f"/api/2.0/mlflow-artifacts/artifacts/{where}/bundle/metadata.json"
    # The name by which the replicas ask.
    fetched = httpx.get(f"{url}{path}", headers={"Host": "mlflow:5000"})
    assert fetched.json() == {"a": 1}
    assert (folder / "mlflow.db").exists()
    assert list((folder / "artifacts").rglob("metadata.json"))


def test_pages_of_others_cannot_ask(server: tuple[str, Path]) -> None:
    """A browser that was led to another name for this address is refused."""
    url, _ = server
    path = f"{url}/api/2.0/mlflow/experiments/search?max_results=1"
    assert httpx.get(path, headers={"Host": "evil.example"}).status_code == httpx.codes.FORBIDDEN
    # Kubernetes' own probes ask by the pod's address.
    health = httpx.get(f"{url}/health", headers={"Host": "10.244.0.7:5000"})
    assert health.status_code == httpx.codes.OK
