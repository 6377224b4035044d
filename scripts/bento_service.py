"""What BentoML serves for `bench_serve.py`: the pickled pipeline, a DataFrame a request.

As BentoML's guide has it. It runs in whatever environment BentoML is installed in, so it imports
nothing of this project; MODEL is the folder of ``model.pickle``.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import bentoml
import pandas as pd


@bentoml.service(workers=1)
class Heart:
    """One worker that judges patients."""

    def __init__(self) -> None:
        path = Path(os.environ["MODEL"], "model.pickle")
        self._pipeline = pickle.loads(path.read_bytes())  # noqa: S301 - our own

    @bentoml.api(route="/predict")
    def predict(self, patient: dict[str, Any]) -> dict[str, Any]:
        """One patient."""
        return self._answers([patient])[0]

    @bentoml.api(route="/predict/batch")
    def predict_batch(self, patients: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Many patients."""
        return self._answers(patients)

    def _answers(self, patients: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = self._pipeline.predict_proba(pd.DataFrame(patients, dtype=float))[:, 1].tolist()
        return [{"prediction": int(p >= 0.5), "probability": p} for p in found]
