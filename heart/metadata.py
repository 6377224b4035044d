"""What a bundle says of itself, in its ``metadata.json``."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from heart.attributes import NAMES, parse_patient
from heart.calibration import Calibration
from heart.decision import Bounds
from heart.errors import HeartError
from heart.evaluation import Interval


class Range(BaseModel):
    """The smallest and the largest value among the training rows."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float


class Recipe(BaseModel):
    """What it takes to fit a model again: the family, its parameters, the preprocessing."""

    model_config = ConfigDict(frozen=True)

    family: str
    params: dict[str, Any]
    preprocessing: str


class Lineage(BaseModel):
    """Where a model comes from, enough to make it again."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    search: str
    cohort: str
    space: str
    data_sha256: str
    code_version: str
    seed: int
    split_seed: int
    test_size: float
    packages: dict[str, str]


class Metadata(BaseModel):
    """What a bundle says of itself.

    ``reference`` is the patient that others are explained against, in UCI coding.
    """

    model_config = ConfigDict(frozen=True)

    recipe: Recipe
    lineage: Lineage
    threshold: float
    calibration: Calibration
    bounds: Bounds
    training_ranges: dict[str, Range]
    reference: dict[str, float]
    cv: dict[str, Interval]
    test: dict[str, Interval]
    parity: float
    onnx_sha256: str
    evaluation_sha256: str

    @field_validator("reference")
    @classmethod
    def _lacks_nothing(cls, reference: dict[str, float]) -> dict[str, float]:
        """All thirteen attributes, each with a value that a patient can have."""
        try:
            values = parse_patient(reference)
        except HeartError as error:
            raise ValueError(error.message) from None
        missing = [name for name, value in zip(NAMES, values, strict=True) if math.isnan(value)]
        if missing:
            raise ValueError(f"the reference lacks {', '.join(missing)}")
        return reference
