"""One JSON line for each request, and no attribute's value in any."""

from __future__ import annotations

import json
from typing import Any

import httpx

from heart.bundle import Bundle
from tests.serve_app.logs import eventually, log_lines


def test_one_line(client: httpx.Client, patient: dict[str, Any], bundle: Bundle) -> None:
    headers = {"x-request-id": "one-line"}
    client.post("/predict?coding=uci", json={**patient, "oldpeak": 3.1415926}, headers=headers)
    (line,) = eventually(lambda: log_lines("one-line"))
    assert 0 < line.pop("duration_ms") < 5000
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "message": "request",
        "request_id": "one-line",
        "method": "POST",
        "path": "/predict",
        "status_code": 200,
        "model_version": bundle.version,
        "run_id": bundle.metadata.lineage.run_id,
    }


def test_no_value_of_a_refused_request(client: httpx.Client, patient: dict[str, Any]) -> None:
    headers = {"x-request-id": "refused"}
    client.post("/predict", json={**patient, "chol": 987654321}, headers=headers)
    (line,) = eventually(lambda: log_lines("refused"))
    assert line["status_code"] == 422
    assert "987654321" not in json.dumps(log_lines())


def test_unrouted_requests_are_logged(client: httpx.Client) -> None:
    client.request("PROPFIND", "/coffee", headers={"x-request-id": "unrouted"})
    (line,) = eventually(lambda: log_lines("unrouted"))
    assert (line["method"], line["path"], line["status_code"]) == ("PROPFIND", "/coffee", 404)
