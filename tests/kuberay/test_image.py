"""The image, really built and run: as nobody in particular, on a root that cannot be written.

With ``../shared/scripts/container.sh`` where it is, else with docker or podman.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from overlays import KUBERAY, ROOT

from heart.attributes import ATTRIBUTES
from heart.bundle import load_champion
from serve_app.environment import free_port
from serve_app.schemas import example

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

SCRIPT = ROOT.parent / "shared" / "scripts" / "container.sh"
IMAGE = "heart:under-test"
USER = 1000
LIMIT_MB = 1500
READY_S = 120
STOP_S = 60
NAME = "heart-under-test"
SHUT = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--shm-size=512m")


class Engine:
    """What builds and runs containers here, on the network of this machine."""

    def __init__(self, command: list[str], inspect: str) -> None:
        self._command, self._inspect = command, inspect

    def build(self) -> None:
        if self._command == [str(SCRIPT)]:
            command = [str(SCRIPT), "build", str(KUBERAY / "Dockerfile"), IMAGE, str(ROOT)]
        else:
            command = [str(ROOT / "scripts" / "image.sh"), "build"]
        environment = {**os.environ, "IMAGE": IMAGE, "ENGINE": self._inspect}
        subprocess.run(command, check=True, env=environment)

    def run(
        self,
        home: Path | None,
        *command: str,
        variables: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> Any:
        """A command in a new container, which ends with it."""
        mounts = ["--tmpfs=/tmp:mode=1777"]
        mounts += [f"--volume={home}:/var/lib/heart"] if home else []
        named = [f"--env={name}={value}" for name, value in (variables or {}).items()]
        line = [*self._command, *self._verb, *SHUT, *options, *mounts, *named, IMAGE, *command]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def stop(self, name: str) -> None:
        """End a container as an orchestrator does: SIGTERM, and after a while SIGKILL."""
        subprocess.run([self._inspect, "stop", f"--time={STOP_S}", name], check=False)

    @property
    def _verb(self) -> list[str]:
        own = self._command == [str(SCRIPT)]
        return ["run"] if own else ["run", "--rm", "--network=host"]

    def said(self, *command: str) -> str:
        process = self.run(None, *command)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return str(output)

    def inspected(self) -> dict[str, Any]:
        line = [self._inspect, "image", "inspect", IMAGE]
        done = subprocess.run(line, check=True, capture_output=True, text=True)
        (found,) = json.loads(done.stdout)
        return dict(found)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The engine, with the image built."""
    found = _engine()
    if found is None:
        pytest.skip(
            "containers cannot run here: no ../shared/scripts/container.sh for root, and "
            "neither docker nor podman answers"
        )
    found.build()
    return found


def _engine() -> Engine | None:
    if SCRIPT.exists() and os.geteuid() == 0:
        return Engine([str(SCRIPT)], "podman")
    for name in ("docker", "podman"):
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True, check=False).returncode
        ):
            return Engine([name], name)
    return None


@pytest.fixture(scope="module")
def home(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HEART_HOME in which a search in a container has found a champion."""
    home = tmp_path_factory.mktemp("image") / "home"
    home.mkdir()
    os.chown(home, USER, USER) if os.geteuid() == 0 else home.chmod(0o777)
    process = engine.run(home, "python", "-m", "tune.search", "--quick", "--json")
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    result = json.loads(output.splitlines()[-1])
    assert result["champion"] is True
    return home


@pytest.fixture(scope="module")
def service(engine: Engine, home: Path) -> Iterator[str]:
    """The service of a container that runs what the image runs by itself."""
    ports = [free_port() for _ in range(3)]
    variables = {
        "HEART_PORT": str(ports[0]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports[1]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[2]),
    }
    process = engine.run(home, variables=variables, options=(f"--name={NAME}",))
    url = f"http://127.0.0.1:{ports[0]}"
    try:
        _wait(process, f"{url}/ready")
        yield url
    finally:
        engine.stop(NAME)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "shutting down" in told, "it was killed, not ended"


def _wait(process: Any, url: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        try:
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"not ready after {READY_S} s")


def test_who_runs_it_and_what_it_holds(engine: Engine) -> None:
    assert engine.inspected()["Config"]["User"] == f"{USER}:{USER}"
    assert engine.said("id", "-u").split() == [str(USER)]
    # KubeRay's probes and its waiting for the head.
    assert engine.said("bash", "-c", "wget --version | head -n 1; command -v ray serve")
    refused = "touch /x 2>&1; touch /opt/heart/x 2>&1; touch /tmp/x && echo written"
    first, second, third = engine.said("bash", "-c", refused).splitlines()
    assert "Read-only file system" in first
    assert "Read-only file system" in second
    assert third == "written"


def test_no_tool_that_builds_and_no_test(engine: Engine) -> None:
    tools = "pip pip3 gcc cc make uv git"
    found = engine.said("bash", "-c", f"command -v {tools}; true")
    assert found == ""
    packages = engine.said(
        *("python", "-c"),
        "from importlib.metadata import distributions as d; print(*(x.name for x in d()))",
    ).split()
    assert {"heart-on-ray", "ray", "mlflow", "onnxruntime", "kubernetes"} <= set(packages)
    assert not {"pip", "setuptools", "wheel", "uv", "pytest", "mypy", "ruff"} & set(packages)
    ours = engine.said("bash", "-c", "cd /opt/heart/lib/python3.*/site-packages && ls -d [hkst]*")
    assert {"heart", "kuberay", "serve_app", "tune"} <= set(ours.split())
    assert not {"tests", "scripts"} & set(ours.split())


def test_bytecode_is_compiled(engine: Engine) -> None:
    count = (
        "cd /opt/heart/lib/python3.*/site-packages; "
        "find {what} -name '*.py' | wc -l; find {what} -name '*.pyc' | wc -l"
    )
    for what in ("heart", "serve_app", "ray/serve", "mlflow/tracking"):
        sources, compiled = engine.said("bash", "-c", count.format(what=what)).split()
        assert int(sources) == int(compiled) > 0, what


def test_labels_and_size(engine: Engine) -> None:
    found = engine.inspected()
    labels = found["Config"]["Labels"]
    ray = engine.said("python", "-c", "import ray; print(ray.__version__)").strip()
    assert labels["io.ray.version"] == ray
    assert labels["org.opencontainers.image.title"] == "heart"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"\d+\.\d+\.\d+", labels["org.opencontainers.image.version"])
    assert found["Size"] / 1e6 < LIMIT_MB


def test_the_search_ran_as_that_user(home: Path) -> None:
    written = [path for path in home.rglob("*") if path.is_file()]
    assert len(written) > 10
    if os.geteuid() == 0:
        assert {path.stat().st_uid for path in written} == {USER}


def test_the_known_patient(service: str, home: Path) -> None:
    """The answer is that of the bundle, computed here."""
    bundle = load_champion(home / "bundles")
    assert bundle is not None
    patient = example()
    row = [[float(patient[attribute.name]) for attribute in ATTRIBUTES]]
    answer = httpx.post(f"{service}/predict", json=patient).raise_for_status().json()
    assert answer["probability"] == pytest.approx(float(bundle.predict(row)[0]), abs=1e-5)
    assert answer["model_version"] == bundle.version


def test_health(service: str) -> None:
    told = httpx.get(f"{service}/health").raise_for_status().json()
    assert told["model_loaded"] is True
