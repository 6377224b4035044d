"""Explanations in a thread: they take milliseconds, in which the replica answers others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from heart.bundle import Bundle
from heart.errors import OverloadedError
from heart.explanation import Explainer
from serve_app.answers import ExplainedPrediction
from serve_app.judging import judge

AT_A_TIME: Final = 1
"""Explanations that a replica computes at a time: it has one core to count on."""
MAX_WAITING: Final = 16
"""Explanations that a replica has at a time; one more is refused at once. Each takes about ten
milliseconds, so the last of them is answered within a fifth of a second."""


class Explaining:
    """Explains patients with the explainer of the bundle that was asked last."""

    def __init__(self) -> None:
        self._explainer: Explainer | None = None
        self._turn = asyncio.Semaphore(AT_A_TIME)
        self._waiting = 0

    async def explain(self, bundle: Bundle, patient: Sequence[float]) -> ExplainedPrediction:
        """The answer for one row of thirteen floats; raises `OverloadedError`."""
        if self._waiting >= MAX_WAITING:
            raise OverloadedError("too many explanations at a time: try again in a second")
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(answer, self._explainer_of(bundle), patient)
        finally:
            self._waiting -= 1

    def _explainer_of(self, bundle: Bundle) -> Explainer:
        if self._explainer is None or self._explainer.bundle is not bundle:
            self._explainer = Explainer(bundle)
        return self._explainer


def answer(explainer: Explainer, patient: Sequence[float]) -> ExplainedPrediction:
    """What the service says of one patient, and why."""
    (verdict,) = judge(explainer.bundle, [patient])
    explanation = explainer.explain(patient)
    return {
        **verdict,
        "base_probability": explanation.base_probability,
        "reference": explainer.reference,
        "contributions": explanation.contributions,
        "method": explanation.method,
        "coalitions": explanation.coalitions,
        "error": explanation.error,
        "model_version": explainer.bundle.version,
        "run_id": explainer.bundle.metadata.lineage.run_id,
    }
