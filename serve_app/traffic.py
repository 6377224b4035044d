"""How many requests a running service answered, and how many with a fault of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from prometheus_client.parser import text_string_to_metric_families

from serve_app.exposition import RAY, alive_nodes, read

REQUESTS = f"{RAY}heart_api_requests_total"
Series = Mapping[frozenset[tuple[str, str]], float]


@dataclass(frozen=True)
class Traffic:
    """Requests, and those of them that were answered with a status of 500 or more."""

    requests: int
    errors: int

    @property
    def error_rate(self) -> float:
        """The share of errors, 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    def __str__(self) -> str:
        return f"{self.requests:,} requests, {self.errors:,} errors"


def count(application: str) -> Series:
    """The counters of all replicas as Ray exports them, some seconds old.

    A node that does not answer is left out.
    """
    return asyncio.run(_count(application))


def between(before: Series, after: Series) -> Traffic:
    """What came between two counts; a replica that ended in between is left out."""
    requests = errors = 0.0
    for labels, value in after.items():
        more = max(0.0, value - before.get(labels, 0.0))
        requests += more
        if int(dict(labels)["http_status"]) >= HTTPStatus.INTERNAL_SERVER_ERROR:
            errors += more
    return Traffic(int(requests), int(errors))


async def _count(application: str) -> Series:
    texts = await asyncio.gather(*(read(node) for node in alive_nodes()))
    return {
        frozenset(sample.labels.items()): sample.value
        for text in texts
        if text is not None
        for family in text_string_to_metric_families(_lines(text))
        for sample in family.samples
        if sample.labels.get("application") == application
    }


def _lines(text: str) -> str:
    return "".join(f"{line}\n" for line in text.split("\n") if line.startswith(f"{REQUESTS}{{"))
