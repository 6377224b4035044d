"""What a replica counts. Ray collects it on each node; `serve_app.exposition` renders it."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Sequence
from typing import Any

from ray.serve.metrics import Counter, Gauge, Histogram

from serve_app.model import Model

# From the 50 us of a bare prediction to the 10 s after which a client has gone.
LATENCY_BUCKETS_S = [
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
]
# From what float32 graphs differ by to the other end of the scale.
DIFFERENCE_BUCKETS = [1e-6, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER_METHOD = "other"
OUTCOMES = ("no_disease", "disease")


def labels(*names: str) -> Any:
    """The names of a metric's labels; Ray's annotation allows for one alone."""
    return names


class Metrics:
    """The metrics of one replica; Serve adds the labels application, deployment and replica."""

    def __init__(self) -> None:
        self._answered: Counts[tuple[str, str, int]] = Counts()
        self._judged: Counts[int] = Counts()
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
        self._reconfigure_failures = Counter(
            "heart_reconfigure_failures_total",
            "Models that a replica was told to take up and could not: it kept what it had.",
        )
        self._loaded = Gauge("heart_model_loaded", "1 where a model is loaded.")
        self._info = Gauge(
            "heart_model_info", "1 for the model that is served.", labels("model_version", "run_id")
        )

    def count_request(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """One request; ``endpoint`` is a route's template, never a path that a client made up."""
        known = method if method in METHODS else OTHER_METHOD
        self._answered[endpoint, known, status] += 1
        self._latency.observe(seconds, {"endpoint": endpoint, "method": known})

    def count_predictions(self, predictions: Sequence[int]) -> None:
        """Patients judged, each 0 or 1."""
        self._judged.update(predictions)

    def _pass_on(self) -> None:
        """Give Ray the counts since the last time: at each request they would cost more."""
        for (endpoint, method, status), number in self._answered.items():
            tags = {"endpoint": endpoint, "method": method}
            self._requests.inc(number, {**tags, "http_status": str(status)})
            if status >= 400:
                self._errors.inc(number, tags)
        for prediction, number in self._judged.items():
            self._predictions.inc(number, {"outcome": OUTCOMES[prediction]})
        self._answered.clear()
        self._judged.clear()

    def count_payloads_dropped(self, rows: int) -> None:
        """Patients that are missing in the payload log."""
        self._dropped.inc(rows)

    def count_reconfigure_failure(self) -> None:
        """A model, or a challenger, that could not be taken up."""
        self._reconfigure_failures.inc(1, {})

    def report(self, model: Model) -> None:
        """Pass on the counts and set the gauges.

        Ray forgets a gauge that is not set again within two of its intervals.
        """
        self._pass_on()
        self._loaded.set(0 if model.bundle is None else 1, {})
        if model.bundle is not None:
            self._info.set(1, {"model_version": model.bundle.version, "run_id": str(model.run_id)})


class ShadowMetrics:
    """How a challenger in shadow compares with what was answered; counted are patients."""

    def __init__(self) -> None:
        version = labels("model_version")
        self._predictions = Counter(
            "heart_shadow_predictions_total", "Patients judged in shadow.", version
        )
        self._differences = Histogram(
            "heart_shadow_difference",
            "Distance of the challenger's probability from the answered one.",
            DIFFERENCE_BUCKETS,
            version,
        )
        self._disagreements = Counter(
            "heart_shadow_disagreements_total",
            "Patients for whom the challenger's prediction is the other one.",
            version,
        )
        self._failures = Counter(
            "heart_shadow_failures_total", "Patients whom the challenger failed to judge.", version
        )
        self._dropped = Counter(
            "heart_shadow_dropped_total",
            "Patients left out of the comparison: the challenger was busy.",
            version,
        )

    def compare(self, version: str, differences: Sequence[float], *, disagreements: int) -> None:
        """Patients judged by both."""
        tags = {"model_version": version}
        self._predictions.inc(len(differences), tags)
        for difference in differences:
            self._differences.observe(difference, tags)
        if disagreements:
            self._disagreements.inc(disagreements, tags)

    def fail(self, version: str, number: int) -> None:
        """Patients whom the challenger could not judge."""
        self._failures.inc(number, {"model_version": version})

    def drop(self, version: str, number: int) -> None:
        """Patients whom nobody asked the challenger about."""
        self._dropped.inc(number, {"model_version": version})
