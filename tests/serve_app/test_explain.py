"""POST /explain: one patient's probability and what each attribute has to do with it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from heart.attributes import NAMES, parse_patient
from heart.bundle import Bundle
from heart.errors import OverloadedError
from heart.explanation import Explainer
from serve_app.explaining import MAX_WAITING, Explaining

SICK = {"cp": 4, "exang": 1, "oldpeak": 3.5, "ca": 3, "thal": 7}


def explain(client: httpx.Client, patient: dict[str, Any], **query: str) -> dict[str, Any]:
    answer = client.post("/explain", params=query, json=patient)
    assert answer.status_code == 200
    return dict(answer.json())


@pytest.mark.parametrize("change", [{}, SICK, {"thal": None, "chol": 0}, {"age": 95}])
def test_it_is_the_prediction_and_more(
    client: httpx.Client, patient: dict[str, Any], bundle: Bundle, change: dict[str, Any]
) -> None:
    changed = {**patient, **change}
    answer = explain(client, changed)
    found = Explainer(bundle).explain(parse_patient(changed))
    assert answer == {
        **client.post("/predict", json=changed).json(),
        "base_probability": found.base_probability,
        "reference": bundle.metadata.reference,
        "contributions": found.contributions,
        "method": found.method,
        "coalitions": found.coalitions,
        "error": found.error,
    }
    difference = answer["probability"] - answer["base_probability"]
    assert sum(answer["contributions"].values()) == pytest.approx(difference, rel=0, abs=1e-9)


def test_the_reference_is_a_patient_with_the_base_probability(
    client: httpx.Client, patient: dict[str, Any]
) -> None:
    reference = explain(client, patient)["reference"]
    answer = explain(client, reference)
    assert list(answer["contributions"].values()) == [0.0] * len(NAMES)
    assert answer["probability"] == answer["base_probability"]
    assert client.post("/predict", json=reference).json()["probability"] == answer["probability"]


def test_what_makes_a_patient_sick_raises_the_risk(
    client: httpx.Client, patient: dict[str, Any]
) -> None:
    contributions = explain(client, {**patient, **SICK})["contributions"]
    assert min(contributions[name] for name in ("exang", "oldpeak", "ca")) >= 0
    assert sum(contributions[name] for name in SICK) > 0.05


def test_other_coding_is_translated(client: httpx.Client, patient: dict[str, Any]) -> None:
    coded = {**patient, "cp": 3, "restecg": 2, "slope": 1, "thal": 2}
    assert explain(client, coded, coding="kaggle") == explain(client, patient)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"thal": 2}, "invalid_value"),
        ({"age": None}, "missing_attribute"),
        ({"x": 1}, "unknown_attribute"),
    ],
)
def test_what_predict_refuses_is_refused(
    client: httpx.Client, patient: dict[str, Any], change: dict[str, Any], code: str
) -> None:
    answer = client.post("/explain", json={**patient, **change})
    (field,) = change
    assert answer.status_code == 422
    assert (answer.json()["error"]["code"], answer.json()["error"]["field"]) == (code, field)


def test_the_replica_answers_others_meanwhile(bundle: Bundle, patient: dict[str, Any]) -> None:
    """Explanations are refused beyond a number at a time, and none holds the event loop."""
    row = parse_patient({**patient, **SICK, "age": 70, "chol": 300})
    explaining = Explaining()

    async def many() -> tuple[list[Any], int]:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        asked = (explaining.explain(bundle, row) for _ in range(MAX_WAITING + 3))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        beside.cancel()
        return answers, turns

    answers, turns = asyncio.run(many())
    refused = [answer for answer in answers if isinstance(answer, OverloadedError)]
    explained = [answer for answer in answers if isinstance(answer, dict)]
    assert (len(refused), len(explained)) == (3, MAX_WAITING)
    assert all(answer == explained[0] for answer in explained)
    assert turns > 10 * MAX_WAITING
    assert asyncio.run(explaining.explain(bundle, row)) == explained[0]


def test_another_bundle_has_another_explainer(bundle: Bundle, patient: dict[str, Any]) -> None:
    row = parse_patient(patient)
    unlike = {**bundle.metadata.reference, "cp": 1.0}
    metadata = bundle.metadata.model_copy(update={"reference": unlike})
    other = Bundle.__new__(Bundle)
    other.__dict__.update(bundle.__dict__, metadata=metadata, version="next")
    explaining = Explaining()

    async def both() -> list[Any]:
        return [await explaining.explain(asked, row) for asked in (bundle, other, bundle)]

    first, second, third = asyncio.run(both())
    assert first == third
    assert (second["model_version"], second["reference"]) == ("next", unlike)
    assert second["base_probability"] != first["base_probability"]
