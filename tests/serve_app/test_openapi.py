"""The OpenAPI document says what the service does."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema
import pytest

from heart.attributes import ATTRIBUTES, NAMES
from serve_app.schemas import example

GUARD = ("401", "403", "429")
STATUSES = {
    ("/health", "get"): {"200", "500"},
    ("/ready", "get"): {"200", "500", "503"},
    ("/model", "get"): {"200", *GUARD, "500", "503"},
    ("/metrics", "get"): {"200", *GUARD, "500"},
    ("/predict", "post"): {"200", "400", "408", "413", "415", "422", *GUARD, "500", "503"},
    ("/predict/batch", "post"): {"200", "400", "408", "413", "415", "422", *GUARD, "500", "503"},
    ("/explain", "post"): {"200", "400", "408", "413", "415", "422", *GUARD, "500", "503"},
}


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def validator(document: dict[str, Any], schema: Any) -> jsonschema.Draft202012Validator:
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator.check_schema(whole)
    return jsonschema.Draft202012Validator(whole)


def answer_schema(document: dict[str, Any], path: str, method: str, status: int) -> Any:
    answer = document["paths"][path][method]["responses"][str(status)]
    return answer["content"]["application/json"]["schema"]


def patients(document: dict[str, Any]) -> jsonschema.Draft202012Validator:
    body = document["paths"]["/predict"]["post"]["requestBody"]
    assert body["required"]
    return validator(document, body["content"]["application/json"]["schema"])


def test_every_status(document: dict[str, Any]) -> None:
    found = {
        (path, method): set(route["responses"])
        for path, item in document["paths"].items()
        for method, route in item.items()
    }
    assert found == STATUSES


def test_every_error_has_the_one_shape(document: dict[str, Any]) -> None:
    for (path, method), statuses in STATUSES.items():
        for status in statuses - {"200"}:
            schema = answer_schema(document, path, method, int(status))
            assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}


def test_every_answer_names_its_request(document: dict[str, Any]) -> None:
    for (path, method), statuses in STATUSES.items():
        for status in statuses:
            known = document["paths"][path][method]["responses"][status]["headers"]
            assert known["X-Request-ID"]["required"]
            assert ("Retry-After" in known) == (status in ("429", "503"))
            assert ("WWW-Authenticate" in known) == (status == "401")


def test_keys_are_described_and_without_any_set_optional(document: dict[str, Any]) -> None:
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    security = {
        path: item
        for (path, method) in STATUSES
        for item in [document["paths"][path][method]["security"]]
    }
    assert security["/health"] == security["/ready"] == []
    assert security["/predict"] == security["/model"] == [{"key": ["predict"]}, {}]
    assert security["/metrics"] == [{"key": ["admin"]}, {}]


def test_the_known_patient_is_valid(document: dict[str, Any], patient: dict[str, Any]) -> None:
    patients(document).validate(patient)
    patients(document).validate(example())
    patients(document).validate({**patient, "thal": "normal", "cp": "asymptomatic"})
    patients(document).validate({**patient, "thal": None, "chol": 0})


@pytest.mark.parametrize(
    "change", [{"thal": 2}, {"x": 1}, {"age": None}, {"chol": 20}, {"sex": "m"}, {"age": "54"}]
)
def test_what_is_refused_is_invalid(
    document: dict[str, Any], client: httpx.Client, patient: dict[str, Any], change: dict[str, Any]
) -> None:
    changed = {**patient, **change}
    assert not patients(document).is_valid(changed)
    assert client.post("/predict", json=changed).status_code == 422


def test_each_attribute_is_described(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["Patient"]
    assert list(schema["properties"]) == list(NAMES)
    assert schema["required"] == ["age", "sex", "cp"]
    for attribute in ATTRIBUTES:
        known = schema["properties"][attribute.name]
        assert attribute.meaning in known["description"]
        assert attribute.unit is None or attribute.unit in known["description"]
        assert all(word in str(known) for word in attribute.words.values())
        assert known["examples"][0] == attribute.example


def test_answers_are_as_described(
    document: dict[str, Any], client: httpx.Client, patient: dict[str, Any]
) -> None:
    batch = {"patients": [patient, {}]}
    asked = [
        ("/predict", "post", client.post("/predict", json=patient)),
        ("/predict", "post", client.post("/predict", json={})),
        ("/predict", "post", client.post("/predict", content="{}")),
        ("/predict/batch", "post", client.post("/predict/batch", json=batch)),
        ("/explain", "post", client.post("/explain", json={**patient, "thal": None})),
        ("/health", "get", client.get("/health")),
        ("/ready", "get", client.get("/ready")),
        ("/model", "get", client.get("/model")),
    ]
    for path, method, answer in asked:
        schema = answer_schema(document, path, method, answer.status_code)
        validator(document, schema).validate(answer.json())


def test_an_answer_without_a_part_is_not(document: dict[str, Any]) -> None:
    schema = answer_schema(document, "/predict", "post", 200)
    assert not validator(document, schema).is_valid({"prediction": 1})


def test_contributions_have_every_attribute(
    document: dict[str, Any], client: httpx.Client, patient: dict[str, Any]
) -> None:
    schema = answer_schema(document, "/explain", "post", 200)
    content = client.post("/explain", json=patient).json()
    del content["contributions"]["thal"]
    assert not validator(document, schema).is_valid(content)


def test_batches_are_described(document: dict[str, Any], patient: dict[str, Any]) -> None:
    body = document["paths"]["/predict/batch"]["post"]["requestBody"]
    known = validator(document, body["content"]["application/json"]["schema"])
    known.validate({"patients": [patient, {**patient, "thal": None}]})
    assert not known.is_valid([patient])
    assert not known.is_valid({"patients": [{}]})
    assert not known.is_valid({"patients": [patient] * 1001})


def test_metrics_are_text(document: dict[str, Any]) -> None:
    answer = document["paths"]["/metrics"]["get"]["responses"]["200"]
    assert list(answer["content"]) == ["text/plain; version=0.0.4; charset=utf-8"]


def test_the_coding_is_described(document: dict[str, Any]) -> None:
    for path in ("/predict", "/predict/batch", "/explain"):
        parameter, patient_id = document["paths"][path]["post"]["parameters"]
        assert (patient_id["name"], patient_id["in"]) == ("X-Patient-ID", "header")
        assert parameter["schema"]["enum"] == ["uci", "kaggle"]
