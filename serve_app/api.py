"""The routes. Bytes in, bytes out: FastAPI routes and documents, and parses nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Lifespan

from heart import __version__
from heart.attributes import CODINGS, Coding, parse_patient
from heart.bundle import Bundle
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
    Verdict,
    render,
)
from serve_app.application import Application, Handlers
from serve_app.bodies import read_object
from serve_app.docs import add_docs
from serve_app.explaining import Explaining
from serve_app.guard import Guard
from serve_app.judging import BATCH_LIMIT, judge, parse_batch, read_batch
from serve_app.logs import RequestLog
from serve_app.metrics import Metrics
from serve_app.model import Model
from serve_app.payloads import PayloadLog, patient_id
from serve_app.shadow import Shadow

PATIENT_BYTES = 64 * 1024
BATCH_BYTES = 1024 * 1024
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


class Routes:
    """What the service answers, for one replica's model."""

    def __init__(
        self,
        model: Model,
        metrics: Metrics,
        *,
        body_timeout_s: float,
        payloads: PayloadLog | None = None,
        shadow: Shadow | None = None,
    ) -> None:
        self._model = model
        self._metrics = metrics
        self._payloads, self._shadow = payloads, shadow
        self._explaining = Explaining()
        self._body_timeout_s = body_timeout_s

    async def health(self, request: Request) -> Response:
        """Whether the process lives. It does not say that a model is loaded: see /ready."""
        answer: Health = {
            "status": "ok",
            "model_loaded": self._model.bundle is not None,
            "model_version": self._model.version,
            "run_id": self._model.run_id,
        }
        return render(answer)

    async def ready(self, request: Request) -> Response:
        """Whether patients can be judged: 503 until a model is loaded."""
        bundle = self._model.require()
        answer: Readiness = {
            "status": "ready",
            "model_version": bundle.version,
            "run_id": bundle.metadata.lineage.run_id,
        }
        return render(answer)

    async def model(self, request: Request) -> Response:
        """The card of the model that is served: lineage, scores, gates."""
        bundle = self._model.require()
        answer: ModelCard = {
            "model_version": bundle.version,
            "run_id": bundle.metadata.lineage.run_id,
            "metadata": bundle.metadata.model_dump(mode="json"),
            "evaluation": json.loads(bundle.evaluation),
        }
        return render(answer)

    async def predict(self, request: Request) -> Response:
        """The probability of coronary disease of one patient."""
        bundle = self._model.require()
        coding = read_coding(request)
        content = await read_object(request, limit=PATIENT_BYTES, timeout_s=self._body_timeout_s)
        patient = parse_patient(content, coding)
        (verdict,) = judge(bundle, [patient])
        self._keep(request, bundle, [patient], [verdict])
        answer: Prediction = {
            **verdict,
            "model_version": bundle.version,
            "run_id": bundle.metadata.lineage.run_id,
        }
        return render(answer)

    async def predict_batch(self, request: Request) -> Response:
        """Up to 1,000 patients at once, one answer each in the order of the request.

        A patient who cannot be judged has an error at their index, and the others are judged.
        Only a code that the coding lacks and the other coding has refuses the whole batch:
        then the codes beside it are in the other coding too, however valid they look.
        """
        bundle = self._model.require()
        coding = read_coding(request)
        content = await read_object(request, limit=BATCH_BYTES, timeout_s=self._body_timeout_s)
        batch = parse_batch(read_batch(content), coding)
        verdicts = judge(bundle, batch.rows)
        self._keep(request, bundle, batch.rows, verdicts, places=batch.places)
        answer: BatchPrediction = {
            "predictions": batch.answers(verdicts, request_id=request.state.request_id),
            "model_version": bundle.version,
            "run_id": bundle.metadata.lineage.run_id,
        }
        return render(answer)

    async def explain(self, request: Request) -> Response:
        """The probability of one patient, and each attribute's contribution to it.

        The contributions add up to the difference from the probability of a reference patient.
        They say what the model makes of the values, not what a change of them would bring about.
        """
        bundle = self._model.require()
        coding = read_coding(request)
        content = await read_object(request, limit=PATIENT_BYTES, timeout_s=self._body_timeout_s)
        patient = parse_patient(content, coding)
        answer = await self._explaining.explain(bundle, patient)
        self._keep(request, bundle, [patient], [answer])
        return render(answer)

    async def metrics(self, request: Request) -> Response:
        """The metrics of all replicas, as Prometheus reads them."""
        return await exposition.expose()

    def _keep(
        self,
        request: Request,
        bundle: Bundle,
        rows: Sequence[Sequence[float]],
        verdicts: Sequence[Verdict],
        *,
        places: Sequence[int] = (0,),
    ) -> None:
        """Count what was judged; compare it with a challenger and keep it where that is asked."""
        self._metrics.count_predictions([verdict["prediction"] for verdict in verdicts])
        if self._shadow is not None:
            self._shadow.watch(rows, verdicts, request_id=request.state.request_id)
        if self._payloads is not None:
            self._payloads.keep(
                bundle,
                rows,
                verdicts,
                request_id=request.state.request_id,
                patient=patient_id(request.scope),
                places=places,
            )


def read_coding(request: Request) -> Coding:
    """The coding that the query asks for; raises `InvalidValueError`.

    Unknown parameters are refused: a misspelt ``coding`` would turn into wrong answers.
    """
    if not request.scope["query_string"]:
        return CODINGS[0]
    parameters = request.query_params.multi_items()
    for coding in CODINGS:
        if parameters == [("coding", coding)]:
            return coding
    raise InvalidValueError(
        f"the query may hold one coding, {' or '.join(CODINGS)}, and nothing else",
        field="coding",
    )


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
        responses={200: {"model": ModelCard}, **schemas.errors(NoModelError)},
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
            **schemas.errors(*BODY_ERRORS, *PATIENT_ERRORS, NoModelError),
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
            **schemas.errors(*BODY_ERRORS, NoModelError),
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
