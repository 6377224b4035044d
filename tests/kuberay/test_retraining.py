"""The schedule starts a search: a copy of the suspended RayJob, which its Job owns."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from kubernetes import client
from overlays import Object, find, rendered

from heart.errors import ClusterError
from kuberay.retraining import start

PATH = "/apis/ray.io/v1/namespaces/heart/rayjobs"


class ApiServer(HTTPServer):
    """As much of an API server as the schedule needs: one RayJob to read, and those made of it."""

    def __init__(self, pattern: Object | None, *, refuse: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pattern, self.refuse = pattern, refuse
        self.made: list[Object] = []


class Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        assert self.path == f"{PATH}/heart-search"
        self._answer(200 if self.server.pattern else 404, self.server.pattern)

    def do_POST(self) -> None:
        assert self.path == PATH
        one = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refuse:
            self._answer(self.server.refuse, None)
            return
        one["metadata"]["name"] = one["metadata"].pop("generateName") + "x7k2p"
        self.server.made.append(one)
        self._answer(201, one)

    def _answer(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    pattern = find(rendered("minikube"), "RayJob", "heart-search")
    # What a cluster adds to it, and must not be copied.
    pattern = {**pattern, "status": {"jobDeploymentStatus": "Suspended"}}
    pattern["metadata"] = {**pattern["metadata"], "uid": "1", "resourceVersion": "2"}
    server = ApiServer(pattern)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def started(server: ApiServer) -> str:
    host = f"http://127.0.0.1:{server.server_port}"
    environment = {"NAMESPACE": "heart", "OWNER_NAME": "heart-retraining-29", "OWNER_UID": "a-b"}
    with client.ApiClient(client.Configuration(host=host)) as api:
        return start(client.CustomObjectsApi(api), environment)


def test_a_search_is_started(server: ApiServer) -> None:
    assert started(server) == "heart-search-x7k2p"
    (made,) = server.made
    assert server.pattern is not None
    assert made["spec"] == {**server.pattern["spec"], "suspend": False}
    assert made["metadata"]["labels"] == server.pattern["metadata"]["labels"]
    assert made["metadata"].keys() == {"name", "namespace", "labels", "ownerReferences"}
    assert "status" not in made
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "heart-retraining-29",
        "uid": "a-b",
    }


def test_the_pod_is_told_who_owns_it() -> None:
    job = find(rendered("minikube"), "CronJob", "heart-retraining")["spec"]["jobTemplate"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    paths = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in container["env"]}
    assert paths == {
        "NAMESPACE": "metadata.namespace",
        "OWNER_NAME": "metadata.labels['batch.kubernetes.io/job-name']",
        "OWNER_UID": "metadata.labels['batch.kubernetes.io/controller-uid']",
    }
    assert container["command"] == ["python", "-m", "kuberay.retraining"]


def test_no_search_to_copy(server: ApiServer) -> None:
    server.pattern = None
    with pytest.raises(ClusterError, match=r"heart-search of namespace heart .*404 Not Found"):
        started(server)


def test_not_allowed(server: ApiServer) -> None:
    server.refuse = 403
    with pytest.raises(ClusterError, match="403 Forbidden"):
        started(server)
    assert server.made == []
