"""What is known of one attribute of a patient, and how a value of it from outside is read."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

from heart.errors import InvalidValueError

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
        message = f"{self.rule(coding)}, got {shown(value)}{self._hint(value, coding)}"
        return InvalidValueError(message, field=self.name)

    def _hint(self, value: object, coding: Coding) -> str:
        """Name the other coding where the value would have been right in it."""
        other: Coding = "kaggle" if coding == "uci" else "uci"
        if isinstance(value, bool) or not isinstance(value, _NUMBER) or not self.kaggle:
            return ""
        codes = self.codes(other)
        if value not in codes or value in self.codes(coding):
            return ""
        mapping = ", ".join(f"{code}={word}" for code, word in codes.items())
        return (
            f'; {int(value)} is "{codes[int(value)]}" in the other coding ({mapping}): '
            f"send coding={other}"
        )


def shown(value: object) -> str:
    """A value as an error shows it, cut where it is long."""
    if isinstance(value, int) and abs(value) > SHOWN_INTEGER:
        # Python refuses to spell integers of more than some thousand digits.
        return f"an integer of {value.bit_length()} bits"
    text = reprlib.repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"
