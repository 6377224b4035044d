"""Explanations, which take milliseconds, in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from heart.bundle import Bundle
from heart.explanation import Explainer
from serve_app.answers import ExplainedPrediction
from serve_app.aside import Aside
from serve_app.judging import judge

MAX_WAITING: Final = 16
"""Explanations that a replica has at a time; one more is refused at once. Each takes about ten
milliseconds, so the last of them is answered within a fifth of a second."""


class Explaining:
    """Explains patients with the explainer of the bundle that was asked last."""

    def __init__(self) -> None:
        self._explainer: Explainer | None = None
        self._aside = Aside("explanations", most=MAX_WAITING)

    async def explain(self, bundle: Bundle, patient: Sequence[float]) -> ExplainedPrediction:
        """The answer for one row of thirteen floats; raises `OverloadedError`."""
        return await self._aside.run(partial(answer, self._explainer_of(bundle), patient))

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
