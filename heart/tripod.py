"""The 27 items of TRIPOD+AI, answered for one version.

The answers are in ``templates/tripod.md``, filled from the version's artefacts. What an item
asks is said in this project's words; the numbers are the published ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Final, cast

import jinja2

from heart.assessment import AGE_BANDS, SMALLEST_CELL
from heart.attributes import ATTRIBUTES, NAMES
from heart.card_facts import Card, headline
from heart.cohorts import ZERO_IS_MISSING
from heart.evaluation import RESAMPLES
from heart.pipelines import Preprocessing, columns, is_scaled
from heart.provenance import SOURCE

REFERENCE: Final = "Collins and others, BMJ 2024;385:e078378"
NOT_REPORTED: Final = "not reported:"
ITEM: Final = re.compile(r"^## (\d+) (.+)$", re.MULTILINE)
PART: Final = re.compile(r"^- (.+?) ::(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """What an item, or a lettered part of it, asks, and the answer.

    Raises `ValueError` for an answer that says nothing, or not why it says nothing.
    """

    letter: str
    asks: str
    answer: str

    def __post_init__(self) -> None:
        if not self.answer.removeprefix(NOT_REPORTED).strip():
            raise ValueError(f'TRIPOD+AI: "{self.asks}" has no answer')


@dataclass(frozen=True)
class Item:
    """An item by its published number; one that asks several things has them as a, b, c."""

    number: int
    topic: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError(f"TRIPOD+AI: item {self.number} has no answer")


def items(card: Card) -> tuple[Item, ...]:
    """All items in their order; raises `ValueError` for one without an answer."""
    return tuple(read(_filled(card)))


def read(text: str) -> Iterator[Item]:
    """The items of a text: ``## number topic``, then a line ``- what is asked :: the answer``."""
    # Of a capturing split, what stands before the first heading is the first of 1 + 3k parts.
    _, *found = ITEM.split(text)
    for number, topic, body in zip(found[::3], found[1::3], found[2::3], strict=True):
        lines = PART.findall(body)
        letters = ascii_lowercase if len(lines) > 1 else [""]
        parts = zip(letters, lines, strict=False)
        yield Item(
            int(number),
            topic,
            tuple(Part(letter, asks, answer.strip()) for letter, (asks, answer) in parts),
        )


def _filled(card: Card) -> str:
    recipe = card.metadata.recipe
    preprocessing = cast(Preprocessing, recipe.preprocessing)
    numeric, categorical = columns(preprocessing)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("heart", "templates"),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("tripod.md").render(
        card=card,
        headline=headline(card),
        source=SOURCE,
        hospitals=card.assessment.hospitals,
        sites=", ".join(f"{name} ({n} training rows)" for name, n in card.sites.items()),
        by_hospital=by_hospital(card),
        scaled=is_scaled(recipe.family, preprocessing),
        zeros=" and ".join(ZERO_IS_MISSING),
        names=NAMES,
        numeric=numeric,
        categorical=categorical,
        required=[a.name for a in ATTRIBUTES if a.required],
        ages=list(AGE_BANDS),
        smallest=SMALLEST_CELL,
        resamples=RESAMPLES,
    )


def by_hospital(card: Card) -> str:
    """One sentence: the range of the ROC-AUC over the hospitals that were left out."""
    if not card.assessment.hospitals:
        return f"Differences between hospitals are {NOT_REPORTED} the rows are of one hospital."
    found = over_hospitals(card, "roc_auc")
    return f"Left out of the training, hospitals have a ROC-AUC from {found}."


def over_hospitals(card: Card, score: str) -> str:
    """The lowest and the highest of a score, of the hospitals in which it is defined."""
    known = [(h.scores[score], h.site) for h in card.assessment.hospitals if score in h.scores]
    known.sort(key=lambda found: found[0].value)
    return " to ".join(f"{value} ({site})" for value, site in known[:: max(len(known) - 1, 1)])
