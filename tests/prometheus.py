"""A real Prometheus beside the tests, and the queries that it is asked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from scripts import monitoring
from serve_app.environment import free_port

DASHBOARDS = sorted((monitoring.FOLDER / "dashboards").glob("*.json"))
PODS = re.compile(r"\b(kube|kubelet|container)_[a-z_]+")
"""Series that a cluster has and this machine has not."""
RAY = re.compile(r"\bray_[a-z0-9_]+")
WINDOW = "20s"
LOOK_S = 0.5

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus is not installed: `apt-get install prometheus`",
)


@dataclass(frozen=True)
class Query:
    """One query of a dashboard's panel."""

    board: str
    panel: str
    ref: str
    text: str

    @property
    def on_pods(self) -> bool:
        """Whether it asks for what only a cluster has."""
        return PODS.search(self.text) is not None

    def filled(self, *, namespace: str) -> str:
        """With the dashboard's variables replaced, as Grafana does."""
        return (
            self.text.replace("$namespace", namespace)
            .replace("$search", ".*")
            .replace("$__rate_interval", WINDOW)
        )


def queries() -> list[Query]:
    """Every query of the dashboards."""
    return [
        Query(path.stem, panel["title"], target["refId"], target["expr"])
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
    ]


def all_rules() -> list[dict[str, Any]]:
    """Every rule, recording and alerting."""
    return [rule for group in monitoring.rules()["groups"] for rule in group["rules"]]


def records() -> set[str]:
    """The names of the recorded series."""
    return {rule["record"] for rule in all_rules() if "record" in rule}


def ray_series() -> set[str]:
    """The names of Ray's and the service's own series in rules and panels."""
    texts = [rule["expr"] for rule in all_rules()] + [query.text for query in queries()]
    return {name for text in texts for name in RAY.findall(text)}


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What a query finds now."""
        found = self.get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        return list(found["result"])

    def missing(self, asked: Sequence[str], *, within: float) -> list[str]:
        """The queries that have found nothing, each asked until it does or time is up."""
        deadline = time.monotonic() + within
        missing = list(asked)
        while missing := [query for query in missing if not self.ask(query)]:
            if time.monotonic() > deadline:
                return missing
            time.sleep(LOOK_S)
        return []

    def rules(self) -> list[dict[str, Any]]:
        """How each rule fares."""
        return [rule for group in self.get("/api/v1/rules")["groups"] for rule in group["rules"]]

    def get(self, path: str) -> dict[str, Any]:
        """The data of an answer of its API."""
        try:
            with urllib.request.urlopen(f"{self._url}{path}", timeout=5) as answer:
                return dict(json.load(answer)["data"])
        except urllib.error.HTTPError as error:
            pytest.fail(f"{path}: {error.read().decode()}")


@contextmanager
def prometheus(folder: Path) -> Iterator[Prometheus]:
    """Prometheus on the suite's Ray, with the rules and the scraping of kuberay/monitoring."""
    nodes = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes()]
    source = {"static_configs": [{"targets": nodes}]}
    config = monitoring.write_config(folder, source, every="1s")
    port = free_port()
    program = shutil.which("prometheus")
    assert program is not None
    with subprocess.Popen([program, *monitoring.arguments(config, port=port)]) as process:
        try:
            url = f"http://{monitoring.HOST}:{port}"
            wait_until_ready(url, process)
            yield Prometheus(url)
        finally:
            process.terminate()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], *, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while True:
        assert process.poll() is None, "Prometheus has ended"
        assert time.monotonic() < deadline, "Prometheus is not ready"
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
