"""A real Prometheus scrapes the running service under load, with the cluster's rules."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import httpx
import pytest

from serve_app.metrics import Metrics, ShadowMetrics
from serve_app.schemas import example
from tests import prometheus as monitored
from tests.prometheus import Prometheus, needs_prometheus

PATIENCE_S = 30.0
SEARCH = re.compile("heart.search_|CandidateTrial")
"""What only a search has: see tests/kuberay/test_search_monitoring.py."""
PROVOKED = {"HeartPayloadsDropped", "HeartReconfigureFailed"}
PANELS = [q for q in monitored.queries() if q.board == "service" and not q.on_pods]
RECORDS = sorted(name for name in monitored.records() if not SEARCH.search(name))
NAMES = sorted(name for name in monitored.ray_series() if not SEARCH.search(name))

pytestmark = needs_prometheus


@pytest.fixture(scope="module")
def load(client: httpx.Client) -> Iterator[None]:
    """Two patients judged, one of them in a batch, and one refused, again and again.

    What goes wrong with nobody to do it, and a challenger in shadow, are told of here as a
    replica would.
    """
    stop = threading.Event()
    patient = example()
    shadow = ShadowMetrics()

    def send() -> None:
        while not stop.wait(0.02):
            client.post("/predict", json=patient)
            client.post("/predict/batch", json={"patients": [patient]})
            client.post("/predict", json={**patient, "age": 7})
            shadow.compare("2", [0.1], disagreements=1)
            shadow.fail("2", 1)
            shadow.drop("2", 1)

    failing = Metrics()
    failing.count_payloads_dropped(1)
    failing.count_reconfigure_failure()
    thread = threading.Thread(target=send)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(load: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with monitored.prometheus(tmp_path_factory.mktemp("prometheus")) as running:
        yield running


def test_every_series_is_there(prometheus: Prometheus) -> None:
    """Which `or 0 * ...` in a rule would hide."""
    assert prometheus.missing([f"count({name})" for name in NAMES], within=PATIENCE_S) == []


def test_every_query_finds_something(prometheus: Prometheus) -> None:
    asked = [query.filled(namespace=".*") for query in PANELS]
    assert len(asked) > 15
    assert prometheus.missing([*asked, *RECORDS], within=PATIENCE_S) == []


def test_the_recorded_series_tell_what_was_sent(prometheus: Prometheus) -> None:
    def value(query: str) -> float:
        (sample,) = prometheus.ask(query)
        return float(sample["value"][1])

    # The rules may have been evaluated last before the replica was first, or twice, scraped: then
    # a rate is 0 / 0, which equals nothing.
    settled = [
        "heart:replicas:healthy == 1",
        "heart:replicas:unloaded == 0",
        "heart:model_versions:served == 1",
        "heart:error_ratio:rate5m == 0",
        "abs(heart:client_error_ratio:rate15m - 1 / 3) < 0.1",
        'heart:predict_latency_seconds:quantile5m{quantile="0.5"} > 0',
        'heart:predict_latency_seconds:quantile5m{quantile="0.99"} > 0',
    ]
    assert prometheus.missing(settled, within=PATIENCE_S) == []
    assert value("heart:refused:rate2m") == pytest.approx(0, abs=0.1)
    median, tail = (
        value(f'heart:predict_latency_seconds:quantile5m{{quantile="{q}"}}')
        for q in ("0.5", "0.99")
    )
    assert 0 < median <= tail < 10


def test_rules_evaluate_and_only_what_was_provoked_fires(prometheus: Prometheus) -> None:
    rules = prometheus.rules()
    assert {rule["health"] for rule in rules} == {"ok"}
    assert {rule["name"] for rule in rules if rule.get("state") == "firing"} == PROVOKED
