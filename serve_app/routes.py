"""What each route answers. Bytes in, bytes out: FastAPI parses nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from heart.attribute import CODINGS, Coding
from heart.attributes import parse_patient
from heart.bundle import Bundle
from heart.errors import InvalidValueError
from serve_app import exposition
from serve_app.answers import (
    Health,
    ModelCard,
    Prediction,
    Readiness,
    Verdict,
    render,
)
from serve_app.batching import Batching
from serve_app.bodies import read_bytes, read_object
from serve_app.explaining import Explaining
from serve_app.gathering import Gathering
from serve_app.metrics import Metrics
from serve_app.model import Model
from serve_app.payloads import PayloadLog, patient_id
from serve_app.shadow import Shadow

PATIENT_BYTES = 64 * 1024
BATCH_BYTES = 1024 * 1024


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
        self._gathering, self._batching = Gathering(), Batching()
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
        verdict = await self._gathering.judge(bundle, patient)
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
        body = await read_bytes(request.scope, request.receive, BATCH_BYTES, self._body_timeout_s)
        judged = await self._batching.judge(
            bundle, body, coding, request_id=request.state.request_id
        )
        self._keep(request, bundle, judged.batch.rows, judged.verdicts, places=judged.batch.places)
        return judged.response

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
