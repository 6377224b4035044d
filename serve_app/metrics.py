"""What a replica counts. Ray collects it on each node; `serve_app.exposition` renders it."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

from ray.serve.metrics import Counter, Gauge, Histogram

from serve_app.model import Model

# From the 50 us of a bare prediction to the 10 s after which a client has gone.
LATENCY_BUCKETS_S = [
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
]
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER_METHOD = "other"
OUTCOMES = ("no_disease", "disease")


def labels(*names: str) -> Any:
    """The names of a metric's labels; Ray's annotation allows for one alone."""
    return names


class Metrics:
    """The metrics of one replica; Serve adds the labels application, deployment and replica."""

    def __init__(self) -> None:
        route = labels("endpoint", "method")
        self._requests = Counter(
            "heart_api_requests_total", "Requests answered.", labels(*route, "http_status")
        )
        self._errors = Counter(
            "heart_api_errors_total", "Requests answered with a status of 400 or more.", route
        )
        self._latency = Histogram(
            "heart_api_request_latency_seconds",
            "Time from a request's arrival at the replica to its last byte; Ray counts the "
            "buckets exactly and takes each bucket's middle for the sum.",
            LATENCY_BUCKETS_S,
            route,
        )
        self._predictions = Counter(
            "heart_predictions_total", "Patients judged, by outcome.", labels("outcome")
        )
        self._dropped = Counter(
            "heart_payloads_dropped_total",
            "Patients judged whom the payload log could not keep.",
        )
        self._loaded = Gauge("heart_model_loaded", "1 where a model is loaded.")
        self._info = Gauge(
            "heart_model_info", "1 for the model that is served.", labels("model_version", "run_id")
        )

    def count_request(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """One request; ``endpoint`` is a route's template, never a path that a client made up."""
        tags = {
            "endpoint": endpoint,
            "method": method if method in METHODS else OTHER_METHOD,
        }
        self._requests.inc(1, {**tags, "http_status": str(status)})
        self._latency.observe(seconds, tags)
        if status >= 400:
            self._errors.inc(1, tags)

    def count_predictions(self, predictions: Sequence[int]) -> None:
        """Patients judged, each 0 or 1."""
        for prediction, number in collections.Counter(predictions).items():
            self._predictions.inc(number, {"outcome": OUTCOMES[prediction]})

    def count_payloads_dropped(self, rows: int) -> None:
        """Patients that are missing in the payload log."""
        self._dropped.inc(rows)

    def report(self, model: Model) -> None:
        """Set the gauges. Ray forgets one that is not set again within two of its intervals."""
        self._loaded.set(0 if model.bundle is None else 1, {})
        if model.bundle is not None:
            self._info.set(1, {"model_version": model.bundle.version, "run_id": str(model.run_id)})
