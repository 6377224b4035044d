"""`make monitoring`: a Prometheus for the Ray on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.worker import get_dashboard_url

from scripts import monitoring
from serve_app.environment import free_port
from tests import prometheus as monitored
from tests.prometheus import Prometheus, needs_prometheus, wait_until_ready

SCRIPT = Path(monitoring.__file__)
PATIENCE_S = 30.0


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def script(ray_instance: int, port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The script, on the suite's Ray."""
    dashboard = f"http://{get_dashboard_url()}"
    command = [sys.executable, str(SCRIPT), "--port", str(port), "--dashboard", dashboard]
    env = {**os.environ, "HEART_HOME": str(tmp_path)}
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            wait_until_ready(f"http://{monitoring.HOST}:{port}", process)
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def targets(prometheus: Prometheus) -> list[dict[str, Any]]:
    """What it scrapes, once it has found something to scrape."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := prometheus.get("/api/v1/targets")["activeTargets"]):
        assert time.monotonic() < deadline, "no target is found"
        time.sleep(0.2)
    return list(found)


@needs_prometheus
@pytest.mark.full
def test_it_watches_the_nodes_with_the_rules_of_the_cluster(
    script: subprocess.Popen[bytes], port: int
) -> None:
    prometheus = Prometheus(f"http://{monitoring.HOST}:{port}")
    nodes = {(node["NodeManagerAddress"], node["MetricsExportPort"]) for node in ray.nodes()}
    found = targets(prometheus)
    assert {t["scrapeUrl"] for t in found} == {f"http://{h}:{p}/metrics" for h, p in nodes}
    assert {t["labels"]["job"] for t in found} == {"heart"}
    names = [rule.get("record") or rule["alert"] for rule in monitored.all_rules()]
    assert sorted(rule["name"] for rule in prometheus.rules()) == sorted(names)
    for host in {host for host, _ in nodes if host != monitoring.HOST}:
        with socket.socket() as probe:
            assert probe.connect_ex((host, port)) != 0, "it listens beyond loopback"

    os.killpg(script.pid, signal.SIGINT)
    assert script.wait(PATIENCE_S) == 0
    assert script.stdout is not None
    told = script.stdout.read().decode()
    assert f"http://{monitoring.HOST}:{port}/alerts" in told
    assert "no Ray answers" not in told


def test_without_prometheus_it_says_how_to_get_it(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path), "HEART_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], check=False, capture_output=True, env=env, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: prometheus is not installed: `apt-get install")
    assert list(tmp_path.iterdir()) == []


def test_it_says_that_no_ray_answers(capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = f"http://{monitoring.HOST}:{free_port()}"
    monitoring.tell("http://127.0.0.1:9090", dashboard=nowhere)
    assert f"no Ray answers on {nowhere} yet" in capsys.readouterr().out
