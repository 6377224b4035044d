"""POST /predict/batch: many patients, judged as a whole."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from heart.attributes import NAMES, parse_table
from heart.bundle import Bundle
from heart.errors import HeartError
from serve_app.judging import BATCH_LIMIT


def post(client: httpx.Client, patients: object, **params: str) -> httpx.Response:
    return client.post("/predict/batch", json={"patients": patients}, params=params)


def test_all_rows_equal_the_bundle(client: httpx.Client, bundle: Bundle) -> None:
    table = pd.read_csv(str(files("heart") / "data" / "heart_disease_uci.csv"))[[*NAMES]]
    complete = table.astype(object).where(table.notna(), None)
    records = [dict(zip(NAMES, row, strict=True)) for row in complete.to_numpy().tolist()]
    answers = post(client, records).json()["predictions"]
    rows = [row for row in parse_table(records) if not isinstance(row, HeartError)]
    judged = [answer for answer in answers if "error" not in answer]
    assert [answer["index"] for answer in answers] == list(range(920))
    assert len(judged) == len(rows) > 900
    found = np.array([answer["probability"] for answer in judged])
    np.testing.assert_allclose(found, bundle.predict(rows), rtol=0, atol=1e-12)


def test_one_by_one_equals_the_batch(client: httpx.Client, patient: dict[str, Any]) -> None:
    patients = [patient, {**patient, "thal": None, "age": 95}]
    batch = post(client, patients).json()
    for one, answer in zip(patients, batch["predictions"], strict=True):
        alone = client.post("/predict", json=one).json()
        assert answer["probability"] == pytest.approx(alone.pop("probability"), abs=1e-7)
        assert {**answer, **alone} == {
            **answer,
            "model_version": batch["model_version"],
            "run_id": batch["run_id"],
        }


def test_errors_have_their_index(
    client: httpx.Client, patient: dict[str, Any], bundle: Bundle
) -> None:
    answer = post(client, [{}, patient, 5, {**patient, "age": 7}, {**patient, "x": 1}, patient])
    content = answer.json()
    assert answer.status_code == 200
    assert content["model_version"] == bundle.version
    codes = {a["index"]: a["error"]["code"] for a in content["predictions"] if "error" in a}
    assert codes == {
        0: "missing_attribute",
        2: "malformed_body",
        3: "invalid_value",
        4: "unknown_attribute",
    }
    assert [a["index"] for a in content["predictions"]] == list(range(6))
    assert content["predictions"][5]["probability"] == content["predictions"][1]["probability"]


def test_another_coding_condemns_the_batch(client: httpx.Client, patient: dict[str, Any]) -> None:
    answer = post(client, [patient, 5, {**patient, "thal": 2}, patient])
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (422, "thal")
    assert error["message"].startswith("patients[2]: thal must be 3 (normal)")
    assert "send coding=kaggle" in error["message"]


def test_other_coding_is_translated(client: httpx.Client, patient: dict[str, Any]) -> None:
    coded = {**patient, "cp": 3, "restecg": 2, "slope": 1, "thal": 2}
    translated = post(client, [coded], coding="kaggle").json()
    assert translated == post(client, [patient]).json()


def test_none(client: httpx.Client) -> None:
    assert post(client, []).json()["predictions"] == []


def test_the_limit(client: httpx.Client, patient: dict[str, Any]) -> None:
    assert len(post(client, [patient] * BATCH_LIMIT).json()["predictions"]) == BATCH_LIMIT
    answer = post(client, [patient] * (BATCH_LIMIT + 1))
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (422, "patients")
    assert error["message"] == "patients must be at most 1,000, got 1,001"


@pytest.mark.parametrize("body", [[], {}, {"patients": {}}, {"patients": [], "coding": "uci"}])
def test_shape(client: httpx.Client, body: object) -> None:
    answer = client.post("/predict/batch", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_body")
