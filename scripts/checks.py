"""What must show in a benchmark: a figure beside its bound."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Check(BaseModel):
    """Something that must show: a figure and its bound."""

    model_config = ConfigDict(frozen=True)

    what: str
    found: float
    must_be: Literal["at most", "at least"]
    bound: float
    holds: bool


def at_most(what: str, found: float, bound: float) -> Check:
    """A figure that must not be above its bound."""
    return Check(what=what, found=found, must_be="at most", bound=bound, holds=found <= bound)


def at_least(what: str, found: float, bound: float) -> Check:
    """A figure that must not be below its bound."""
    return Check(what=what, found=found, must_be="at least", bound=bound, holds=found >= bound)
