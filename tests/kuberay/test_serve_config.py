"""The manifest's serveConfigV2 is what runs, and a promotion changes it under load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from overlays import find, rendered

from heart.bundle import load_champion
from heart.sources import reference_of
from kuberay.promotion import patch
from scripts import smoke
from serve_app.security import Reach, new_key

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

START_S = 180.0
CHANGE_S = 60.0
WAITS = {"status": "NOT_STARTED"}
URL = "http://127.0.0.1:8000"
"""Where the manifest says that the service listens."""


@dataclass(frozen=True)
class Pods:
    """The pods of the RayService, their configuration, and the key that they ask for."""

    home: Path
    dashboard: str
    environment: dict[str, str]
    key: str

    def serve(self, *arguments: str) -> str:
        """The command `serve`, as the operator's own requests to the dashboard."""
        done = subprocess.run(
            [Path(sys.executable).parent / "serve", *arguments, "-a", self.dashboard],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def until_running(self) -> dict[str, Any]:
        """The application once it runs; both of its replicas do, then."""
        told: dict[str, Any] = WAITS
        ends = time.monotonic() + START_S
        while time.monotonic() < ends:
            told = yaml.safe_load(self.serve("status"))["applications"].get("heart") or WAITS
            assert told["status"] not in ("DEPLOY_FAILED", "UNHEALTHY"), told
            if told["status"] == "RUNNING":
                return told
            time.sleep(1)
        raise AssertionError(f"not running after {START_S} s: {told}")


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """The RayService of the overlay."""
    found = find(rendered("minikube"), "RayService", "heart")
    return {**found, "metadata": {**found["metadata"], "resourceVersion": "1"}}


@pytest.fixture(scope="module")
def pods(champion_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Two Ray nodes with the environment that the manifest gives to the pods."""
    folder = tmp_path_factory.mktemp("pods")
    home = folder / "home"
    shutil.copytree(champion_home / "bundles", home / "bundles")
    key, entry = new_key("test", [Reach.PREDICT, Reach.ADMIN])
    (folder / "key").write_text(key)
    settings: dict[str, str] = {}
    for name in ("ray-settings", "heart-settings"):
        settings |= find(rendered("minikube"), "ConfigMap", name)["data"]
    settings |= {
        "HEART_HOME": str(home),
        "HEART_API_KEYS": entry,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a" * 64,
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "HEART_"))}
    environment |= settings
    nodes = subprocess.Popen(
        [sys.executable, Path(__file__).parent / "ray_pods.py", folder],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert nodes.stdin is not None
    assert nodes.stdout is not None
    try:
        dashboard = next(line.strip() for line in nodes.stdout if line.startswith("http://"))
        yield Pods(home, dashboard, environment, key)
    finally:
        nodes.stdin.close()
        nodes.wait(60)


def written(folder: Path, text: str) -> str:
    path = folder / "serve.yaml"
    path.write_text(text)
    return str(path)


@dataclass
class Load:
    """Asks for the example patient again and again; the versions and the failures."""

    key: str
    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                answer = smoke.fetch(f"{URL}/predict", smoke.PATIENT, key=self.key)
            except smoke.FailedError as error:
                self.failures.append(str(error))
                continue
            if answer.status == 200:
                self.versions.append(answer.json["model_version"])
            else:
                self.failures.append(f"{answer.status} {answer.body!r}")


def replicas(pods: Pods) -> set[str]:
    """The replicas that run, by their ids."""
    request = urllib.request.Request(
        f"{pods.dashboard}/api/serve/applications/",
        headers={"Authorization": f"Bearer {pods.environment['RAY_AUTH_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        told = json.load(answer)
    deployment = told["applications"]["heart"]["deployments"]["heart"]
    return {one["replica_id"] for one in deployment["replicas"]}


def test_the_manifests_config_gives_the_known_answer(
    pods: Pods, service: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pods.serve("deploy", written(tmp_path, service["spec"]["serveConfigV2"]))
    told = pods.until_running()
    assert told["deployments"]["heart"]["replica_states"] == {"RUNNING": 2}
    (tmp_path / "key").write_text(pods.key)
    key = str(tmp_path / "key")
    code = smoke.main([URL, "--key-file", key, "--home", str(pods.home), "--wait", "60"])
    assert code == 0, capsys.readouterr().out


def test_without_a_key_nobody_is_judged(pods: Pods) -> None:
    assert smoke.fetch(f"{URL}/predict", smoke.PATIENT, key=None).status == 401


def test_a_promotion_changes_the_version_and_no_request_fails(
    pods: Pods, service: dict[str, Any], tmp_path: Path
) -> None:
    champion = load_champion(pods.home / "bundles")
    assert champion is not None
    folder = tmp_path / "other"
    shutil.copytree(next((pods.home / "bundles").glob("1-*")), folder)
    metadata = champion.metadata.model_copy(update={"threshold": 0.25})
    (folder / "metadata.json").write_text(metadata.model_dump_json())
    wanted = patch(service, reference_of(folder, "2"), before=None, why="a test")
    before = replicas(pods)
    load = Load(pods.key)
    threads = [threading.Thread(target=load.run) for _ in range(4)]
    for thread in threads:
        thread.start()
    pods.serve("deploy", written(tmp_path, wanted["spec"]["serveConfigV2"]))
    ends = time.monotonic() + CHANGE_S
    while time.monotonic() < ends and set(load.versions[-200:]) != {"2"}:
        time.sleep(0.2)
    load.ended.set()
    for thread in threads:
        thread.join()
    assert load.failures == []
    assert set(load.versions[-200:]) == {"2"}
    assert Counter(load.versions).keys() == {"1", "2"}
    assert replicas(pods) == before
