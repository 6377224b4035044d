"""The application of a replica: its routes, and what is documented of them."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Lifespan

from heart import __version__
from heart.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    HeartError,
    InvalidValueError,
    MalformedBodyError,
    MediaTypeError,
    MissingAttributeError,
    NoModelError,
    OverloadedError,
    UnknownAttributeError,
)
from heart.settings import Settings
from serve_app import errors, exposition, page, protection, schemas
from serve_app.answers import (
    BatchPrediction,
    ExplainedPrediction,
    Health,
    ModelCard,
    Prediction,
    Readiness,
)
from serve_app.application import Application, Handlers
from serve_app.docs import add_docs
from serve_app.guard import Guard
from serve_app.judging import BATCH_LIMIT
from serve_app.logs import RequestLog
from serve_app.metrics import Metrics
from serve_app.model import Model
from serve_app.payloads import PayloadLog
from serve_app.routes import Routes
from serve_app.shadow import Shadow

# Where a tracing provider is set up, FastAPI would send it the messages of exceptions, which
# may hold a patient's values, and time every step of a request.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
BODY_ERRORS = (
    *(MalformedBodyError, BodyTimeoutError, BodyTooLargeError, MediaTypeError),
    InvalidValueError,
)
PATIENT_ERRORS = (MissingAttributeError, UnknownAttributeError)


def create_app(
    model: Model,
    metrics: Metrics,
    log: logging.Logger,
    requests: RequestLog,
    *,
    settings: Settings,
    payloads: PayloadLog | None = None,
    shadow: Shadow | None = None,
    lifespan: Lifespan[FastAPI] | None = None,
) -> Application:
    """The application of one replica; ``lifespan`` frames the time that it serves."""
    guard = Guard.of(settings)
    routes = Routes(
        model,
        metrics,
        body_timeout_s=settings.body_timeout_s,
        payloads=payloads,
        shadow=shadow,
    )
    documented = document(routes, guard, lifespan=lifespan)
    return Application(
        documented,
        find_handlers(documented),
        model=model,
        metrics=metrics,
        log=log,
        requests=requests,
        guard=guard,
        timeout_s=settings.request_timeout_s,
    )


def find_handlers(app: FastAPI) -> Handlers:
    """What answers each path and method; HEAD as GET, of which the server sends no body."""
    return {
        (method, route.path): route.endpoint
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in _with_head(route.methods or set())
    }


def _with_head(methods: set[str]) -> set[str]:
    return methods | {"HEAD"} if "GET" in methods else methods


def document(routes: Routes, guard: Guard, *, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The routes with their documentation."""
    app = FastAPI(
        title="Heart on Ray",
        version=__version__,
        description="Probability of coronary disease from thirteen attributes. "
        "A demonstration on public data, not a medical device.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=NO_TELEMETRY,
        exception_handlers={HeartError: errors.refuse, HTTPException: errors.misroute},
    )
    add_probes(app, routes)
    add_predictions(app, routes)
    for path, asset in page.assets().items():
        app.add_api_route(path, asset.answer, include_in_schema=False)
    add_docs(app)
    content = app.openapi()
    content["components"]["schemas"]["Patient"] = schemas.patient()
    protection.describe(content, guard)
    return app


def add_probes(app: FastAPI, routes: Routes) -> None:
    """What orchestrators and Prometheus ask."""
    app.add_api_route(
        "/health",
        routes.health,
        tags=["operation"],
        responses={200: {"model": Health}, **schemas.errors()},
    )
    app.add_api_route(
        "/ready",
        routes.ready,
        tags=["operation"],
        responses={200: {"model": Readiness}, **schemas.errors(NoModelError)},
    )
    app.add_api_route(
        "/model",
        routes.model,
        tags=["operation"],
        responses={200: {"model": ModelCard}, **schemas.errors(NoModelError, OverloadedError)},
    )
    app.add_api_route(
        "/metrics",
        routes.metrics,
        tags=["operation"],
        # Not JSON itself, and its errors are.
        response_class=Response,
        responses={
            200: {"content": {exposition.MEDIA_TYPE: {"schema": {"type": "string"}}}},
            **schemas.errors(),
        },
    )


def add_predictions(app: FastAPI, routes: Routes) -> None:
    """What clients ask."""
    app.add_api_route(
        "/predict",
        routes.predict,
        methods=["POST"],
        tags=["prediction"],
        responses={
            200: {"model": Prediction},
            **schemas.errors(*BODY_ERRORS, *PATIENT_ERRORS, NoModelError, OverloadedError),
        },
        openapi_extra=schemas.body(schemas.PATIENT),
    )
    app.add_api_route(
        "/predict/batch",
        routes.predict_batch,
        methods=["POST"],
        tags=["prediction"],
        responses={
            200: {"model": BatchPrediction},
            **schemas.errors(*BODY_ERRORS, NoModelError, OverloadedError),
        },
        openapi_extra=schemas.body(schemas.batch(limit=BATCH_LIMIT)),
    )
    app.add_api_route(
        "/explain",
        routes.explain,
        methods=["POST"],
        tags=["prediction"],
        responses={
            200: {"model": ExplainedPrediction},
            **schemas.errors(*BODY_ERRORS, *PATIENT_ERRORS, NoModelError, OverloadedError),
        },
        openapi_extra=schemas.body(schemas.PATIENT),
    )
