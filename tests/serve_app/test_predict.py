"""POST /predict: one patient."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from heart.attributes import ATTRIBUTES, parse_patient
from heart.bundle import Bundle


def test_known_patient(client: httpx.Client, patient: dict[str, Any], bundle: Bundle) -> None:
    answer = client.post("/predict", json=patient)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    (probability,) = bundle.predict([parse_patient(patient)])
    diseased = probability >= bundle.metadata.threshold
    assert answer.json() == {
        "prediction": int(diseased),
        "probability": probability,
        "decision": bundle.metadata.bounds.decide(probability),
        "imputed": [],
        "warnings": [],
        "model_version": bundle.version,
        "run_id": bundle.metadata.lineage.run_id,
    }


def test_sick_patient(client: httpx.Client, patient: dict[str, Any]) -> None:
    sick = {**patient, "cp": 4, "exang": 1, "oldpeak": 3.5, "ca": 3, "thal": 7}
    content = client.post("/predict", json=sick).json()
    assert content["probability"] > 0.5
    assert (content["prediction"], content["decision"]) == (1, "high")


@pytest.mark.parametrize("change", [{}, {"thal": None}])
def test_missing_is_imputed(
    client: httpx.Client, patient: dict[str, Any], change: dict[str, None]
) -> None:
    del patient["thal"]
    answer = client.post("/predict", json={**patient, **change})
    assert answer.status_code == 200
    assert answer.json()["imputed"] == ["thal"]


def test_zero_pressure_is_missing(client: httpx.Client, patient: dict[str, Any]) -> None:
    content = client.post("/predict", json={**patient, "trestbps": 0, "chol": 0}).json()
    assert content["imputed"] == ["trestbps", "chol"]


def test_words_are_codes(client: httpx.Client, patient: dict[str, Any]) -> None:
    words = {a.name: a.words[patient[a.name]] for a in ATTRIBUTES if a.words}
    worded = client.post("/predict", json={**patient, **words})
    assert worded.json() == client.post("/predict", json=patient).json()


def test_other_coding_is_named(client: httpx.Client, patient: dict[str, Any]) -> None:
    answer = client.post("/predict", json={**patient, "thal": 2})
    error = answer.json()["error"]
    assert answer.status_code == 422
    assert (error["code"], error["field"]) == ("invalid_value", "thal")
    assert "thal must be 3 (normal), 6 (fixed_defect) or 7 (reversible_defect)" in error["message"]
    assert "send coding=kaggle" in error["message"]


def test_other_coding_is_translated(client: httpx.Client, patient: dict[str, Any]) -> None:
    coded = {**patient, "cp": 3, "restecg": 2, "slope": 1, "thal": 2}
    translated = client.post("/predict", params={"coding": "kaggle"}, json=coded)
    assert translated.json() == client.post("/predict", json=patient).json()


@pytest.mark.parametrize(
    "query", ["coding=UCI", "coding=", "codng=kaggle", "coding=uci&coding=kaggle", "x"]
)
def test_query_is_strict(client: httpx.Client, patient: dict[str, Any], query: str) -> None:
    answer = client.post(f"/predict?{query}", json=patient)
    error = answer.json()["error"]
    assert answer.status_code == 422
    assert error["field"] == "coding"
    assert "uci or kaggle" in error["message"]


def test_outside_the_training_range(
    client: httpx.Client, patient: dict[str, Any], bundle: Bundle
) -> None:
    answer = client.post("/predict", json={**patient, "age": 95})
    known = bundle.metadata.training_ranges["age"]
    warning = f"age 95 is outside the training range {known.low:g} to {known.high:g}"
    assert answer.status_code == 200
    assert answer.json()["warnings"] == [warning]


def test_health_and_readiness(client: httpx.Client, bundle: Bundle) -> None:
    model = {"model_version": bundle.version, "run_id": bundle.metadata.lineage.run_id}
    assert client.get("/health").json() == {"status": "ok", "model_loaded": True, **model}
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", **model})
