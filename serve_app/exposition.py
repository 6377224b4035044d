"""``GET /metrics``: the service's metrics of all nodes in one Prometheus text.

Ray exports each metric on the port of the node where it arose, its name prefixed with
``ray_`` and with labels of its own. Read are the service's own families, which lose both,
and Ray Serve's, which keep them; the hundreds of families about Ray itself stay where they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import ray
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.responses import Response

NODE_TIMEOUT_S = 2.0
MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
RAY = "ray_"
OWN = "ray_heart_"
KEPT = tuple(
    f"{lead}{prefix}" for lead in ("", "# HELP ", "# TYPE ") for prefix in (OWN, "ray_serve_")
)
RAY_LABELS = frozenset(
    {
        *("Component", "JobId", "NodeAddress", "SessionName", "Version", "WorkerId"),
        *("otel_scope_name", "otel_scope_schema_url", "otel_scope_version"),
    }
)


@dataclass(frozen=True)
class Node:
    """Where a node of the cluster exports its metrics."""

    host: str
    port: int


class Families(Collector):
    """Metric families, those of equal name made one."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families: dict[str, Metric] = {}
        for family in families:
            known = self._families.setdefault(family.name, family)
            if known is not family:
                known.samples.extend(family.samples)

    def collect(self) -> Iterator[Metric]:
        """The families in the order of their names."""
        yield from sorted(self._families.values(), key=lambda family: family.name)


async def expose() -> Response:
    """The whole service's metrics, as old as Ray's reports are.

    A node that does not answer in time is left out and counted by the gauge
    ``heart_metrics_nodes_unreachable``.
    """
    nodes = await asyncio.to_thread(alive_nodes)
    texts = await asyncio.gather(*(read(node) for node in nodes))
    content = await asyncio.to_thread(render, texts)
    return Response(content, media_type=MEDIA_TYPE)


def alive_nodes() -> list[Node]:
    """The cluster's nodes, asked of Ray's control store (1 ms)."""
    return [
        Node(node["NodeManagerAddress"], node["MetricsExportPort"])
        for node in ray.nodes()
        if node["Alive"]
    ]


async def read(node: Node) -> str | None:
    """A node's metrics, None where it does not answer with them within `NODE_TIMEOUT_S`."""
    try:
        async with asyncio.timeout(NODE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(node.host, node.port)
            try:
                # HTTP/1.0: the answer ends where the connection does, and is not in chunks.
                writer.write(f"GET /metrics HTTP/1.0\r\nHost: {node.host}\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode() if b" 200 " in head.partition(b"\r\n")[0] else None


def render(texts: Iterable[str | None]) -> bytes:
    """One text from those of the nodes, None for a node that did not answer."""
    texts = list(texts)
    unreachable = GaugeMetricFamily(
        "heart_metrics_nodes_unreachable",
        "Nodes whose metrics are missing here: they did not answer in time.",
        value=texts.count(None),
    )
    families = [
        _renamed(family)
        for text in texts
        if text is not None
        for family in text_string_to_metric_families(_relevant(text))
    ]
    return generate_latest(Families([unreachable, *families]))


def _relevant(text: str) -> str:
    """The lines about families that are kept: most of a node's 300 kB is about Ray itself."""
    return "".join(f"{line}\n" for line in text.split("\n") if line.startswith(KEPT))


def _renamed(family: Metric) -> Metric:
    if not family.name.startswith(OWN):
        return family
    family.name = family.name.removeprefix(RAY)
    family.samples = [
        sample._replace(
            name=sample.name.removeprefix(RAY),
            labels={k: v for k, v in sample.labels.items() if k not in RAY_LABELS},
        )
        for sample in family.samples
    ]
    return family
