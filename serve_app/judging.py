"""From parsed requests to verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from heart.attribute import Coding
from heart.attributes import NAMES, parse_patient, parse_table
from heart.bundle import Bundle
from heart.errors import HeartError, InvalidValueError, MalformedBodyError
from serve_app.answers import PatientError, PatientVerdict, Verdict
from serve_app.errors import describe

BATCH_LIMIT = 1000


def judge(bundle: Bundle, patients: Sequence[Sequence[float]]) -> list[Verdict]:
    """A verdict for each row of thirteen floats, NaN where missing; one call of the graph."""
    if not patients:
        return []
    probabilities = bundle.predict(patients).tolist()
    return [
        _verdict(bundle, patient, probability)
        for patient, probability in zip(patients, probabilities, strict=True)
    ]


@dataclass(frozen=True)
class Batch:
    """The patients of a request: rows of thirteen floats, or what is wrong with them."""

    patients: Sequence[list[float] | HeartError]

    @cached_property
    def places(self) -> list[int]:
        """Where in the request those stand who can be judged."""
        return [i for i, row in enumerate(self.patients) if not isinstance(row, HeartError)]

    @cached_property
    def rows(self) -> list[list[float]]:
        """Those who can be judged."""
        return [row for row in self.patients if not isinstance(row, HeartError)]

    def answers(
        self, verdicts: Sequence[Verdict], *, request_id: str
    ) -> list[PatientVerdict | PatientError]:
        """An answer for each patient, in order: a verdict of those on `rows`, or an error."""
        left = iter(verdicts)
        return [
            {"index": index, **describe(row, request_id)}
            if isinstance(row, HeartError)
            else {"index": index, **next(left)}
            for index, row in enumerate(self.patients)
        ]


def read_batch(content: Mapping[str, Any]) -> list[object]:
    """The patients of ``{"patients": […]}``; raises `MalformedBodyError`, `InvalidValueError`."""
    patients = content.get("patients")
    if set(content) != {"patients"} or not isinstance(patients, list):
        raise MalformedBodyError('the body must be {"patients": [...]}, each one an object')
    if len(patients) > BATCH_LIMIT:
        raise InvalidValueError(
            f"patients must be at most {BATCH_LIMIT:,}, got {len(patients):,}", field="patients"
        )
    return patients


def parse_batch(patients: Sequence[object], coding: Coding) -> Batch:
    """Each patient by the coding.

    Raises `InvalidValueError` where a patient's code shows that the batch is in the other
    coding: the codes of those beside it cannot be trusted either.
    """
    objects = [patient for patient in patients if isinstance(patient, dict)]
    try:
        answers = iter(parse_table(objects, coding))
    except InvalidValueError as error:
        raise _placed(error, patients, coding) from None
    return Batch(
        [
            next(answers)
            if isinstance(patient, dict)
            else MalformedBodyError("a patient must be one JSON object")
            for patient in patients
        ]
    )


def _verdict(bundle: Bundle, patient: Sequence[float], probability: float) -> Verdict:
    metadata = bundle.metadata
    return {
        "prediction": 1 if probability >= metadata.threshold else 0,
        "probability": probability,
        "decision": metadata.bounds.decide(probability),
        "imputed": _missing(patient),
        "warnings": bundle.warnings(patient),
    }


def _missing(patient: Sequence[float]) -> list[str]:
    if not math.isnan(sum(patient)):  # most patients lack nothing
        return []
    return [name for name, value in zip(NAMES, patient, strict=True) if math.isnan(value)]


def _placed(
    error: InvalidValueError, patients: Sequence[object], coding: Coding
) -> InvalidValueError:
    """The error that condemns a batch, with the index of the patient who has it."""
    for index, patient in enumerate(patients):
        try:
            parse_patient(patient if isinstance(patient, dict) else {}, coding)
        except HeartError as own:
            if own.message == error.message:
                return InvalidValueError(f"patients[{index}]: {error.message}", field=error.field)
    return error
