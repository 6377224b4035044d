"""The thirteen attributes of the UCI Heart Disease data, declared once.

Names, codes and meanings are those of the data set's documentation (Janosi, Steinbrunn,
Pfisterer, Detrano, 1988, doi:10.24432/C52P4X). Everything that needs to know an attribute,
from the preprocessing to the service's schema, derives it from `ATTRIBUTES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from heart.attribute import SHOWN_LENGTH, Attribute, Coding, shown
from heart.errors import (
    HeartError,
    InvalidValueError,
    MissingAttributeError,
    UnknownAttributeError,
)

ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("age", "age", "numeric", example=54, unit="years", low=18, high=120, required=True),
    Attribute(
        "sex",
        "sex",
        "categorical",
        example=1,
        required=True,
        words={0: "female", 1: "male"},
    ),
    Attribute(
        "cp",
        "type of chest pain",
        "categorical",
        example=1,
        required=True,
        words={
            1: "typical_angina",
            2: "atypical_angina",
            3: "non_anginal_pain",
            4: "asymptomatic",
        },
        kaggle={0: 4, 1: 2, 2: 3, 3: 1},
    ),
    Attribute(
        "trestbps",
        "resting systolic blood pressure on admission",
        "numeric",
        example=130,
        unit="mmHg",
        low=40,
        high=300,
        zero_is_missing=True,
    ),
    Attribute(
        "chol",
        "serum cholesterol",
        "numeric",
        example=246,
        unit="mg/dl",
        low=50,
        high=1000,
        zero_is_missing=True,
    ),
    Attribute(
        "fbs",
        "fasting blood sugar above 120 mg/dl",
        "categorical",
        example=0,
        words={0: "at_most_120", 1: "above_120"},
    ),
    Attribute(
        "restecg",
        "resting electrocardiogram",
        "categorical",
        example=1,
        words={0: "normal", 1: "st_t_abnormality", 2: "left_ventricular_hypertrophy"},
        kaggle={0: 2, 1: 0, 2: 1},
    ),
    Attribute(
        "thalach",
        "highest heart rate reached in the exercise test",
        "numeric",
        example=150,
        unit="beats/min",
        low=30,
        high=250,
    ),
    Attribute(
        "exang",
        "angina induced by exercise",
        "categorical",
        example=0,
        words={0: "no", 1: "yes"},
    ),
    Attribute(
        "oldpeak",
        "ST depression induced by exercise relative to rest",
        "numeric",
        example=1.2,
        unit="mm",
        low=-10,
        high=10,
    ),
    Attribute(
        "slope",
        "slope of the ST segment at peak exercise",
        "categorical",
        example=2,
        words={1: "upsloping", 2: "flat", 3: "downsloping"},
        kaggle={0: 3, 1: 2, 2: 1},
    ),
    Attribute(
        "ca",
        "major vessels coloured by fluoroscopy",
        "numeric",
        example=0,
        unit="vessels",
        low=0,
        high=3,
        words={0: "no_vessel", 1: "one_vessel", 2: "two_vessels", 3: "three_vessels"},
        kaggle={0: 0, 1: 1, 2: 2, 3: 3, 4: None},
    ),
    Attribute(
        "thal",
        "thallium stress test",
        "categorical",
        example=3,
        words={3: "normal", 6: "fixed_defect", 7: "reversible_defect"},
        kaggle={0: None, 1: 6, 2: 3, 3: 7},
    ),
)
NAMES: tuple[str, ...] = tuple(attribute.name for attribute in ATTRIBUTES)
NUMERIC: tuple[str, ...] = tuple(a.name for a in ATTRIBUTES if a.kind == "numeric")
CATEGORICAL: tuple[str, ...] = tuple(a.name for a in ATTRIBUTES if a.kind == "categorical")
BY_NAME: Mapping[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}
_PARSERS = tuple((a.name, a.parse) for a in ATTRIBUTES)
_REQUIRED = tuple((column, a.name) for column, a in enumerate(ATTRIBUTES) if a.required)


def parse_patient(fields: Mapping[str, object], coding: Coding = "uci") -> list[float]:
    """One patient from outside: thirteen floats in the order of `NAMES`, NaN where missing.

    An attribute that is left out is missing, as is one that is null. Raises
    `UnknownAttributeError`, `MissingAttributeError` (a required one) or `InvalidValueError`.
    """
    for name in fields:
        if name not in BY_NAME:
            raise UnknownAttributeError(
                f"{shown(name)} is no attribute; the attributes are {', '.join(NAMES)}",
                field=name[:SHOWN_LENGTH],
            )
    values = [parse(fields.get(name), coding) for name, parse in _PARSERS]
    for column, name in _REQUIRED:
        if math.isnan(values[column]):
            raise MissingAttributeError(
                f"{name} is required: no patient of the training data lacks it", field=name
            )
    return values


def parse_table(
    rows: Sequence[Mapping[str, object]], coding: Coding = "uci"
) -> list[list[float] | HeartError]:
    """Many patients, judged as a whole: one answer each, a row of floats or the error it has.

    One patient whose codes are valid in both codings cannot be told apart, a table mostly
    can. Where any row holds a code that only the other coding has, the rows beside it are
    in that coding too, however valid they look. Raises that row's `InvalidValueError`, also
    where the row has another error besides.
    """
    answers: list[list[float] | HeartError] = []
    for row in rows:
        try:
            answers.append(parse_patient(row, coding))
        except (UnknownAttributeError, MissingAttributeError, InvalidValueError) as error:
            for attribute in ATTRIBUTES:
                attribute.check_coding(row.get(attribute.name), coding)
            answers.append(error)
    return answers
