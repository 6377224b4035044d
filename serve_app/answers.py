"""What the service answers: one declaration for the code, the types and the OpenAPI document.

These are plain dictionaries at run time: a request is answered without validating the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from heart.attributes import NAMES
from heart.coalitions import Method
from heart.decision import Decision

ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

Version = Annotated[str, Field(description="version of the model")]
RunId = Annotated[str, Field(description="MLflow run that made the model")]


class Verdict(TypedDict):
    """What the model says of one patient."""

    prediction: Annotated[
        Literal[0, 1], Field(description="1 where the probability reaches the model's threshold")
    ]
    probability: Annotated[float, Field(ge=0, le=1, description="probability of coronary disease")]
    decision: Annotated[
        Decision,
        Field(
            description="`low` or `high` where the other class can be excluded at the model's "
            "stated error rate, else `uncertain`"
        ),
    ]
    imputed: Annotated[
        list[str], Field(description="attributes that were missing and filled in by the model")
    ]
    warnings: Annotated[
        list[str], Field(description="attributes outside what the model was trained on")
    ]


class Prediction(Verdict):
    """The answer for one patient."""

    model_version: Version
    run_id: RunId


_EACH_ATTRIBUTE: Any = {"propertyNames": {"enum": list(NAMES)}, "minProperties": len(NAMES)}


class ExplainedPrediction(Prediction):
    """The answer for one patient, and what each attribute has to do with it."""

    base_probability: Annotated[
        float, Field(ge=0, le=1, description="probability of the reference patient")
    ]
    reference: Annotated[
        dict[str, float],
        Field(
            description="the patient that this one is compared with, in UCI's coding: medians and "
            "most frequent codes of the training rows",
            json_schema_extra=_EACH_ATTRIBUTE,
        ),
    ]
    contributions: Annotated[
        dict[str, float],
        Field(
            description="each attribute's Shapley value, in probability: they add up to "
            "`probability` minus `base_probability`. That of a missing attribute is what filling "
            "it in did",
            json_schema_extra=_EACH_ATTRIBUTE,
        ),
    ]
    method: Annotated[
        Method,
        Field(
            description="`exact`, or `sampled` where the model is too slow for all coalitions of "
            "attributes; the sum is exact in both"
        ),
    ]
    coalitions: Annotated[
        int, Field(ge=1, description="coalitions of attributes that the model judged")
    ]
    error: Annotated[
        float,
        Field(ge=0, description="largest standard error of a contribution, 0 where exact"),
    ]


class ErrorDetail(TypedDict):
    """What was wrong."""

    code: Annotated[str, Field(description="the kind of error, for programs")]
    message: Annotated[str, Field(description="the rule that was broken, for people")]
    field: Annotated[str | None, Field(description="the attribute or parameter at fault")]
    request_id: Annotated[str, Field(description="the X-Request-ID of this answer")]


class ErrorAnswer(TypedDict):
    """The one shape of every error."""

    error: ErrorDetail


class PatientVerdict(Verdict):
    """A patient of a batch who could be judged."""

    index: Annotated[int, Field(ge=0, description="position in the request, from 0")]


class PatientError(TypedDict):
    """A patient of a batch who could not be judged."""

    index: Annotated[int, Field(ge=0, description="position in the request, from 0")]
    error: ErrorDetail


class BatchPrediction(TypedDict):
    """One answer for each patient, in the order of the request."""

    predictions: list[PatientVerdict | PatientError]
    model_version: Version
    run_id: RunId


class ModelCard(TypedDict):
    """What is known of the model that is served; `python -m heart.card` makes a page of it."""

    model_version: Version
    run_id: RunId
    metadata: Annotated[
        dict[str, Any], Field(description="recipe, lineage, scores, threshold, calibration")
    ]
    evaluation: Annotated[
        dict[str, Any],
        Field(
            description="scores out of fold, by hospital and group, and the verdict of each gate"
        ),
    ]


class Health(TypedDict):
    """The process lives; whether it can predict is another matter."""

    status: Literal["ok"]
    model_loaded: bool
    model_version: Version | None
    run_id: RunId | None


class Readiness(TypedDict):
    """A model is loaded."""

    status: Literal["ready"]
    model_version: Version
    run_id: RunId


def render(
    content: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer as bytes of JSON; floats keep all their digits."""
    body = ENCODER.encode(content).encode()
    return Response(body, status_code=status, headers=headers, media_type="application/json")
