"""The OpenAPI document's account of requests, made from `heart.attributes`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from heart.attribute import CODINGS, Attribute
from heart.attributes import ATTRIBUTES
from heart.errors import HeartError
from serve_app.answers import ErrorAnswer
from serve_app.bodies import MEDIA_TYPE

Schema = dict[str, Any]

PATIENT = {"$ref": "#/components/schemas/Patient"}
CODING: Schema = {
    "name": "coding",
    "in": "query",
    "description": "the coding of cp, restecg, slope, ca and thal in the body; words are the "
    "same in both. The other coding is a permutation of UCI's, so that codes of one patient "
    "may be valid in both: prefer words.",
    "schema": {"type": "string", "enum": list(CODINGS), "default": CODINGS[0]},
}

PATIENT_ID: Schema = {
    "name": "X-Patient-ID",
    "in": "header",
    "description": "whom the request is about. Used only where the service keeps payloads, and "
    "kept as a keyed hash alone.",
    "schema": {"type": "string"},
}


def patient() -> Schema:
    """The JSON schema of a request about one patient, in UCI's coding."""
    return {
        "type": "object",
        "title": "Patient",
        "description": "The thirteen attributes in UCI's coding. One that is null or left out "
        "is missing.",
        "properties": {a.name: _property(a) for a in ATTRIBUTES},
        "required": [a.name for a in ATTRIBUTES if a.required],
        "additionalProperties": False,
        "example": example(),
    }


def batch(*, limit: int) -> Schema:
    """The JSON schema of a request about up to ``limit`` patients."""
    return {
        "type": "object",
        "properties": {"patients": {"type": "array", "items": PATIENT, "maxItems": limit}},
        "required": ["patients"],
        "additionalProperties": False,
        "example": {"patients": [example()]},
    }


def example() -> dict[str, float]:
    """A patient as a client would send it."""
    return {a.name: a.example for a in ATTRIBUTES}


def body(schema: Schema) -> Schema:
    """What a route that reads JSON adds to its description."""
    return {
        "parameters": [CODING, PATIENT_ID],
        "requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": schema}}},
    }


def errors(*kinds: type[HeartError]) -> dict[int | str, dict[str, Any]]:
    """The answers by status for the errors that a route can end in, beside one of ours."""
    codes: dict[HTTPStatus, list[str]] = {}
    every: list[type[HeartError]] = [*kinds, HeartError]
    for kind in every:
        codes.setdefault(kind.status, []).append(kind.code)
    return {
        int(status): {"model": ErrorAnswer, "description": f"{status.phrase}: {', '.join(known)}"}
        for status, known in sorted(codes.items())
    }


def _property(attribute: Attribute) -> Schema:
    schemas = [_values(attribute)]
    if attribute.zero_is_missing:
        schemas.append({"const": 0, "description": "missing"})
    if not attribute.required:
        schemas.append({"type": "null", "description": "missing"})
    common = {"description": _description(attribute), "examples": _examples(attribute)}
    return {**common, **schemas[0]} if len(schemas) == 1 else {**common, "anyOf": schemas}


def _values(attribute: Attribute) -> Schema:
    if attribute.words:
        return {"enum": [*attribute.words, *attribute.words.values()]}
    return {"type": "number", "minimum": attribute.low, "maximum": attribute.high}


def _examples(attribute: Attribute) -> list[object]:
    word = attribute.words.get(int(attribute.example))
    return [attribute.example] if word is None else [attribute.example, word]


def _description(attribute: Attribute) -> str:
    unit = f", in {attribute.unit}" if attribute.unit else ""
    codes = ", ".join(f"{code} {word}" for code, word in attribute.words.items())
    return f"{attribute.meaning}{unit}{f': {codes}' if codes else ''}"
