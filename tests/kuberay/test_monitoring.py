"""The rules, dashboards and monitors, as Prometheus itself takes them."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from overlays import Object, kustomize, of_kind
from schemas import check_custom

from scripts import monitoring
from serve_app.application import MAX_WAITING
from tests import prometheus as monitored
from tests.kuberay.alerts import CASES
from tests.kuberay.panels import FOUND, expectation
from tests.prometheus import DASHBOARDS, needs_prometheus

EVERY = "1m"
SEVERITIES = {"critical", "warning", "info"}
ALERTS = [rule for rule in monitored.all_rules() if "alert" in rule]
ON_PODS = [query for query in monitored.queries() if query.on_pods]
SERIES = re.compile(r"\b(?:ray|heart)[a-z0-9_:]*[a-z0-9]\b(?=[{\[\s)]|$)")


@pytest.fixture(scope="module")
def objects() -> tuple[Object, ...]:
    """What kustomize makes of kuberay/monitoring."""
    return kustomize(monitoring.FOLDER)


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    """The rules as `make monitoring` gives them to Prometheus, evaluated each minute for speed."""
    return monitoring.write_config(tmp_path, {}, every=EVERY).with_name("rules.yaml")


def promtool(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(["promtool", *arguments], check=False, capture_output=True, cwd=cwd)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def run_tests(rule_file: Path, *tests: dict[str, Any]) -> None:
    """`promtool test rules` on the project's rules."""
    content = {"rule_files": [rule_file.name], "evaluation_interval": EVERY, "tests": list(tests)}
    path = rule_file.with_name("tests.yaml")
    path.write_text(yaml.safe_dump(content))
    promtool("test", "rules", path.name, cwd=path.parent)


def test_custom_resources_are_valid(objects: tuple[Object, ...]) -> None:
    custom = of_kind(objects, "PodMonitor", "PrometheusRule")
    assert len(custom) == 3
    for one in custom:
        check_custom(one)


def test_grafana_picks_up_the_dashboards(objects: tuple[Object, ...]) -> None:
    maps = [made for made in objects if made["kind"] == "ConfigMap"]
    assert all(made["metadata"]["labels"]["grafana_dashboard"] == "1" for made in maps)
    contents = [content for made in maps for content in made["data"].values()]
    assert sorted(contents) == sorted(path.read_text() for path in DASHBOARDS)


def test_head_and_workers_are_scraped_alike(objects: tuple[Object, ...]) -> None:
    specs = [made["spec"] for made in objects if made["kind"] == "PodMonitor"]
    chosen = [spec.pop("selector")["matchLabels"] for spec in specs]
    assert {"ray.io/node-type": "head"} in chosen
    assert {"ray.io/node-type": "worker"} in chosen
    assert specs[0] == specs[1]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_stand_beside_each_other(path: Path) -> None:
    panels = json.loads(path.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = Counter(
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(taken.values()) == 1, "panels overlap"
    assert max(x for x, _ in taken) < 24


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in SEVERITIES
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["description"]
    assert alert["annotations"]["action"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_on_the_service_compares_recorded_series(alert: dict[str, Any]) -> None:
    """So that its query is seen to find something while it does not fire."""
    assert set(SERIES.findall(alert["expr"])) <= monitored.records() | {"heart"}


def test_a_queue_is_filling_at_three_quarters_of_what_a_replica_takes() -> None:
    (alert,) = [rule for rule in ALERTS if rule["alert"] == "HeartQueueFilling"]
    assert alert["expr"] == f"heart:replicas:in_hand > {MAX_WAITING * 3 // 4}"
    assert f"of {MAX_WAITING} in hand" in alert["annotations"]["description"]


@needs_prometheus
def test_promtool_accepts_the_rules(rule_file: Path) -> None:
    promtool("check", "rules", rule_file.name, cwd=rule_file.parent)


def test_each_alert_is_seen_to_fire() -> None:
    assert {case.alert for case in CASES if case.fires} == {alert["alert"] for alert in ALERTS}


@needs_prometheus
def test_an_alert_fires_when_it_should(rule_file: Path) -> None:
    run_tests(rule_file, *(case.test() for case in CASES))


def test_each_query_on_pods_has_a_result_to_find() -> None:
    assert {(query.board, query.panel, query.ref) for query in ON_PODS} == set(FOUND)


@needs_prometheus
def test_a_query_on_pods_finds_them(rule_file: Path) -> None:
    run_tests(rule_file, *(expectation(query) for query in ON_PODS))
