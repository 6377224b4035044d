"""GET /metrics: all nodes in one text that Prometheus can read."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import ray
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from heart.bundle import Bundle
from serve_app import exposition
from serve_app.exposition import Node, expose, read, render
from tests.serve_app.logs import eventually


def families(text: str) -> dict[str, Metric]:
    found = list(text_string_to_metric_families(text))
    names = [family.name for family in found]
    assert len(names) == len(set(names))
    return {family.name: family for family in found}


def total(metrics: dict[str, Metric], name: str, **labels: str) -> float:
    """The sum of the samples that bear the labels, in the application `heart`."""
    labels["application"] = "heart"
    return sum(
        sample.value
        for family in metrics.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def scrape(client: httpx.Client) -> dict[str, Metric]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return families(answer.text)


def scrape_until(
    client: httpx.Client, arrived: Callable[[dict[str, Metric]], bool]
) -> dict[str, Metric]:
    """The metrics once what is waited for has arrived: Ray reports every two seconds."""

    def look() -> dict[str, Metric] | None:
        found = scrape(client)
        return found if arrived(found) else None

    found = eventually(look)
    assert found is not None
    return found


def settled(client: httpx.Client) -> dict[str, Metric]:
    """The metrics once those of earlier requests have arrived."""
    known = total(scrape(client), "heart_api_requests_total", endpoint="unmatched")
    client.get("/nowhere")
    return scrape_until(
        client,
        lambda now: total(now, "heart_api_requests_total", endpoint="unmatched") > known,
    )


def test_requests_are_counted(client: httpx.Client, patient: dict[str, Any]) -> None:
    predict = {"endpoint": "/predict", "method": "POST"}
    before = settled(client)
    seconds = total(before, "heart_api_request_latency_seconds_count", **predict)
    known = total(before, "heart_api_requests_total", **predict)
    for age in (54, 55, 7):
        client.post("/predict", json={**patient, "age": age})
    client.post("/predict/batch", json={"patients": [patient, patient, {}]})

    def counted(after: dict[str, Metric]) -> bool:
        # Ray exports each metric by itself: one may come a report later than another.
        latencies = total(after, "heart_api_request_latency_seconds_count", **predict)
        requests = total(after, "heart_api_requests_total", **predict)
        return latencies >= seconds + 3 and requests >= known + 3

    after = scrape_until(client, counted)

    def growth(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    assert growth("heart_api_requests_total", http_status="200", **predict) == 2
    assert growth("heart_api_requests_total", http_status="422", **predict) == 1
    assert growth("heart_api_errors_total", **predict) == 1
    assert growth("heart_api_request_latency_seconds_count", **predict) == 3
    assert growth("heart_predictions_total") == 4


def test_the_model_is_named(client: httpx.Client, bundle: Bundle) -> None:
    metrics = scrape_until(client, lambda found: "heart_model_info" in found)
    named = {"model_version": bundle.version, "run_id": bundle.metadata.lineage.run_id}
    assert total(metrics, "heart_model_info", **named) == 1
    assert total(metrics, "heart_model_loaded") == 1


@pytest.mark.full
def test_gauges_do_not_vanish(client: httpx.Client) -> None:
    scrape_until(client, lambda found: "heart_model_loaded" in found)
    time.sleep(2.5 * ray._config.metrics_report_interval_ms() / 1000)
    assert total(scrape(client), "heart_model_loaded") == 1


def test_labels_are_bounded(client: httpx.Client) -> None:
    for number in range(3):
        client.request("PROPFIND", f"/nowhere/{number}")
    invented = {"endpoint": "unmatched", "method": "other", "http_status": "404"}
    metrics = scrape_until(
        client, lambda found: total(found, "heart_api_requests_total", **invented) >= 3
    )
    samples = metrics["heart_api_requests"].samples
    assert not [s for s in samples if "nowhere" in str(s.labels) or "PROP" in str(s.labels)]


def test_names_and_labels(client: httpx.Client) -> None:
    metrics = scrape_until(client, lambda found: "heart_api_requests" in found)
    assert {name.split("_")[0] for name in metrics} == {"heart", "ray"}
    assert {name.split("_")[1] for name in metrics if name.startswith("ray")} == {"serve"}
    (labels,) = {frozenset(s.labels) for s in metrics["heart_api_requests"].samples}
    assert labels == {
        *("endpoint", "method", "http_status"),
        *("application", "deployment", "replica"),
    }
    assert metrics["heart_metrics_nodes_unreachable"].samples[0].value == 0


NODE = """
# HELP ray_heart_api_requests_total Requests.
# TYPE ray_heart_api_requests_total counter
ray_heart_api_requests_total{{WorkerId="{0}",replica="{0}",path="a\\"b"}} {1}
# TYPE ray_heart_api_request_latency_seconds histogram
ray_heart_api_request_latency_seconds_bucket{{replica="{0}",le="0.1"}} 1.0
ray_heart_api_request_latency_seconds_bucket{{replica="{0}",le="+Inf"}} 2.0
ray_heart_api_request_latency_seconds_count{{replica="{0}"}} 2.0
ray_heart_api_request_latency_seconds_sum{{replica="{0}"}} 0.3
# TYPE ray_serve_num_http_requests_total counter
ray_serve_num_http_requests_total{{WorkerId="{0}"}} 5.0
# TYPE ray_node_mem_total gauge
ray_node_mem_total{{WorkerId="{0}"}} 5.0
"""


def test_nodes_are_joined() -> None:
    metrics = families(render([NODE.format("a", 1), None, NODE.format("b", 2)]).decode())
    assert set(metrics) == {
        "heart_api_requests",
        "heart_api_request_latency_seconds",
        "heart_metrics_nodes_unreachable",
        "ray_serve_num_http_requests",
    }
    requests = {(*s.labels.items(), s.value) for s in metrics["heart_api_requests"].samples}
    assert requests == {
        (("path", 'a"b'), ("replica", "a"), 1.0),
        (("path", 'a"b'), ("replica", "b"), 2.0),
    }
    assert len(metrics["heart_api_request_latency_seconds"].samples) == 8
    assert metrics["heart_metrics_nodes_unreachable"].samples[0].value == 1


@pytest.fixture
def silent() -> Iterator[Node]:
    """A node that takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Node(*server.getsockname())


def test_a_silent_node_is_left_out(silent: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "NODE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(exposition, "alive_nodes", lambda: [silent])
    answer = asyncio.run(expose())
    assert b"heart_metrics_nodes_unreachable 1.0" in answer.body


def test_a_closed_port_is_left_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = Node(*server.getsockname())
    assert asyncio.run(read(node)) is None


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error"])
def test_another_answer_is_left_out(status: str) -> None:
    async def ask() -> str | None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.0 {status}\r\n\r\nx 1 200\n".encode())
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            return await read(Node(*server.sockets[0].getsockname()))

    assert asyncio.run(ask()) is None
