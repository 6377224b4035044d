"""The thirteen attributes of the UCI Heart Disease data, declared once.

Names, codes and meanings are those of the data set's documentation (Janosi, Steinbrunn,
Pfisterer, Detrano, 1988, doi:10.24432/C52P4X). Everything that needs to know an attribute,
from the preprocessing to the service's schema, derives it from `ATTRIBUTES`.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

from heart.errors import (
    HeartError,
    InvalidValueError,
    MissingAttributeError,
    UnknownAttributeError,
)

Coding = Literal["uci", "kaggle"]
CODINGS: tuple[Coding, ...] = get_args(Coding)
MISSING = math.nan
SHOWN_LENGTH = 40
SHOWN_INTEGER = 10**SHOWN_LENGTH
_NUMBER = (int, float)  # to write int | float makes a new object each time


@dataclass(frozen=True)
class Attribute:
    """One attribute of a patient.

    ``low`` and ``high`` bound what a living patient can have, in ``unit``; they refuse typing
    errors, not rare patients. ``words`` maps each UCI code to its word. ``kaggle`` maps the
    codes of the other coding in circulation to UCI's, None where that code means missing.
    ``required`` attributes are those that no patient of the data set lacks.
    """

    name: str
    meaning: str
    kind: Literal["numeric", "categorical"]
    example: float
    unit: str | None = None
    low: float = -math.inf
    high: float = math.inf
    zero_is_missing: bool = False
    required: bool = False
    words: Mapping[int, str] = field(default_factory=dict)
    kaggle: Mapping[int, int | None] = field(default_factory=dict)

    def parse(self, value: object, coding: Coding = "uci") -> float:
        """One value from outside as a float in UCI coding, NaN where it is missing.

        Raises `InvalidValueError`: a type that is neither number nor word, a code or a word
        that the coding lacks, a number that is not finite or that no patient can have.
        """
        if value is None:
            return MISSING
        if isinstance(value, str):
            return self._parse_word(value, coding)
        if isinstance(value, bool) or not isinstance(value, _NUMBER):
            raise self._refusal(value, coding)
        if self.words:
            return self._parse_code(value, coding)
        return self._parse_number(value)

    def rule(self, coding: Coding = "uci") -> str:
        """What a value must be, in words: ``thal must be 3 (normal), 6 (fixed_defect) or …``."""
        if not self.words:
            unit = f" {self.unit}" if self.unit else ""
            return f"{self.name} must be a number from {self.low:g} to {self.high:g}{unit}"
        choices = [f"{code} ({word})" for code, word in self.codes(coding).items()]
        return f"{self.name} must be {', '.join(choices[:-1])} or {choices[-1]}"

    def codes(self, coding: Coding = "uci") -> dict[int, str]:
        """Each code that the coding has, with its word."""
        if coding == "uci" or not self.kaggle:
            return dict(self.words)
        return {
            code: "missing" if uci is None else self.words[uci]
            for code, uci in sorted(self.kaggle.items())
        }

    def check_coding(self, value: object, coding: Coding = "uci") -> None:
        """Raise `InvalidValueError` for a code that only the other coding has."""
        if self._hint(value, coding):
            raise self._refusal(value, coding)

    def _parse_word(self, word: str, coding: Coding) -> float:
        for code, known in self.words.items():
            if known == word:
                return float(code)
        raise self._refusal(word, coding)

    def _parse_code(self, value: float, coding: Coding) -> float:
        try:
            return self._meanings[coding][value]
        except KeyError:
            raise self._refusal(value, coding) from None

    @cached_property
    def _meanings(self) -> Mapping[Coding, Mapping[float, float]]:
        """UCI's code for each code of a coding, NaN where that means missing."""
        uci = {float(code): float(code) for code in self.words}
        known = {float(k): MISSING if v is None else float(v) for k, v in self.kaggle.items()}
        return {"uci": uci, "kaggle": known or uci}

    def _parse_number(self, value: float) -> float:
        if self.zero_is_missing and value == 0:
            return MISSING
        if not self.low <= value <= self.high:
            raise self._refusal(value)
        return float(value)

    def _refusal(self, value: object, coding: Coding = "uci") -> InvalidValueError:
        message = f"{self.rule(coding)}, got {_shown(value)}{self._hint(value, coding)}"
        return InvalidValueError(message, field=self.name)

    def _hint(self, value: object, coding: Coding) -> str:
        """Name the other coding where the value would have been right in it."""
        other: Coding = "kaggle" if coding == "uci" else "uci"
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.kaggle:
            return ""
        codes = self.codes(other)
        if value not in codes or value in self.codes(coding):
            return ""
        mapping = ", ".join(f"{code}={word}" for code, word in codes.items())
        return (
            f'; {int(value)} is "{codes[int(value)]}" in the other coding ({mapping}): '
            f"send coding={other}"
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
                f"{_shown(name)} is no attribute; the attributes are {', '.join(NAMES)}",
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


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > SHOWN_INTEGER:
        # Python refuses to spell integers of more than some thousand digits.
        return f"an integer of {value.bit_length()} bits"
    text = reprlib.repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"
