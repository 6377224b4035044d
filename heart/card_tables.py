"""The tables of a model card: the same cells in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heart.assessment import Group, Hospital
from heart.attribute import Attribute
from heart.attributes import ATTRIBUTES
from heart.calibration import METHODS
from heart.card_facts import TEST, Card
from heart.evaluation import Interval
from heart.metadata import Range

UNDEFINED: Final = "undefined"
WITHHELD: Final = "withheld"
BAD: Final = ("does not hold", "not passed", "by force")
"""Cells that a reader must not miss; both renderings set them off."""


@dataclass(frozen=True)
class Table:
    """What it shows, its columns, and rows of as many cells; the first cell heads its row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def scores(card: Card) -> Table:
    """Every score with its interval, by how the rows were kept from the model."""
    found = card.assessment
    columns = (card.metadata.cv, found.out_of_fold, found.test)
    header = (
        "score",
        "cross-validation",
        f"out of fold (n = {card.train})",
        f"test (n = {card.test})",
    )
    missing = ("not computed", UNDEFINED, UNDEFINED)
    rows = [
        (name, *(_cell(c, name, absent) for c, absent in zip(columns, missing, strict=True)))
        for name in _names(columns)
    ]
    return Table("Scores, with 95% intervals", header, tuple(rows))


def hospitals(card: Card) -> Table:
    """Each hospital, predicted by a model that was trained on the others."""
    found = card.assessment.hospitals
    counts: tuple[tuple[str, ...], ...] = (
        ("patients", *(str(h.n) for h in found)),
        ("without disease", *(str(h.negatives) for h in found)),
        ("share with disease", *(_number(h.prevalence) for h in found)),
    )
    return Table(
        "Scores of a hospital that was left out of the training, with 95% intervals",
        ("score", *(h.site for h in found)),
        (*counts, *_by_group(found)),
    )


def groups(card: Card) -> tuple[Table, ...]:
    """The scores of each group of patients, a table a kind of group."""
    kinds: dict[str, list[Group]] = {}
    for group in card.assessment.groups:
        kinds.setdefault(group.group.partition(": ")[0], []).append(group)
    return tuple(
        Table(
            f"Scores out of fold by {kind}, with 95% intervals",
            ("score", *(g.group.partition(": ")[2] for g in members)),
            (("patients", *(str(g.n) for g in members)), *_by_group(members)),
        )
        for kind, members in kinds.items()
    )


def coverage(card: Card) -> Table:
    """How often the bounds of a decision held, by hospital and on the test rows."""
    header = (
        "patients of",
        "patients",
        "with disease, not called low",
        "without disease, not called high",
        "called uncertain",
        f"at least {1 - card.metadata.bounds.error_rate:g} of each class",
    )
    rows = [
        (
            "the test rows" if name == TEST else name,
            str(found.n),
            _number(found.with_disease),
            _number(found.without_disease),
            _number(found.uncertain),
            "holds" if found.holds else "does not hold",
        )
        for name, found in card.assessment.coverage.items()
    ]
    return Table("Coverage of the bounds", header, tuple(rows))


def calibrations(card: Card) -> Table:
    """What the calibration was chosen by."""
    briers, chosen = card.assessment.brier_by_calibration, card.metadata.calibration.method
    rows = [
        (method, _number(briers[method], 4), "chosen" if method == chosen else "")
        for method in METHODS
        if method in briers
    ]
    header = ("calibration", "Brier score", "choice")
    return Table("Cross-validated Brier score by method of calibration", header, tuple(rows))


def bins(card: Card) -> Table:
    """The numbers of the calibration figure."""
    rows = [
        (str(place), _number(b.predicted), str(b.interval), str(b.n))
        for place, b in enumerate(card.assessment.bins, 1)
    ]
    header = ("group", "mean predicted probability", "share with disease, 95% interval", "patients")
    return Table("Predicted and observed, by groups of equal size", header, tuple(rows))


def decision_curve(card: Card) -> Table:
    """The numbers of the decision-curve figure."""
    rows = [
        (f"{at.threshold:g}", _number(at.model), _number(at.treat_all), _number(0.0))
        for at in card.assessment.net_benefit
    ]
    header = ("threshold", "the model", "treat all", "treat none")
    return Table("Net benefit per patient, out of fold", header, tuple(rows))


def inputs(card: Card) -> Table:
    """The thirteen attributes, and what of them the model has seen."""
    seen = card.metadata.training_ranges
    rows = [
        (a.name, a.meaning, _values(a), _seen(seen.get(a.name)), "yes" if a.required else "no")
        for a in ATTRIBUTES
    ]
    header = ("attribute", "meaning", "accepted", "in the training rows", "required")
    return Table("The thirteen attributes", header, tuple(rows))


def lineage(card: Card) -> Table:
    """What it takes to make the version again."""
    metadata, of = card.metadata, card.metadata.lineage
    rows: list[tuple[str, Any]] = [
        ("family", metadata.recipe.family),
        ("parameters", metadata.recipe.params),
        ("preprocessing", metadata.recipe.preprocessing),
        ("search", of.search),
        ("search space", of.space),
        ("run in MLflow", of.run_id),
        ("cohort", of.cohort),
        ("seed of candidates, folds and estimators", of.seed),
        ("seed of the test rows", of.split_seed),
        ("share of test rows", f"{of.test_size:g}"),
        ("code version", of.code_version),
        ("code had uncommitted changes", "yes" if card.dirty else "no"),
        ("largest difference between graph and pipeline", f"{metadata.parity:.1e}"),
        ("SHA-256 of the table", of.data_sha256),
        ("SHA-256 of the ONNX graph", metadata.onnx_sha256),
        ("SHA-256 of the evaluation", metadata.evaluation_sha256),
        *((f"version of {name}", version) for name, version in of.packages.items()),
    ]
    told = tuple((what, str(value)) for what, value in rows)
    return Table("What the version was made from", ("what", "value"), told)


def gates(card: Card) -> Table:
    """Every gate's rule, what was found, and its verdict."""
    rows = [
        (g.name, g.rule, g.found, "passed" if g.passed else "not passed")
        for g in card.evaluation.gates
    ]
    return Table("Gates", ("gate", "rule", "found", "verdict"), tuple(rows))


def promotions(card: Card) -> Table:
    """When the version became champion, why, and whether by force."""
    rows = [
        (
            f"{p.at:%Y-%m-%d %H:%M} {p.at:%Z}".rstrip(),
            p.action,
            p.before or "none",
            "by force" if p.forced else "no",
            p.reason,
        )
        for p in card.promotions
    ]
    header = ("at", "action", "champion before", "forced", "reason")
    return Table("Promotions of this version, oldest first", header, tuple(rows))


def _by_group(members: Sequence[Group | Hospital]) -> Iterable[tuple[str, ...]]:
    """A row a score, a cell a group; a group that is too small says so in each."""
    known = [m.scores for m in members if m.scores is not None]
    for name in _names(known):
        cells = (
            WITHHELD if m.scores is None else _cell(m.scores, name, UNDEFINED) for m in members
        )
        yield (name, *cells)


def _names(columns: Iterable[Mapping[str, Interval]]) -> list[str]:
    """Every score's name once; of all columns, the longest gives the order."""
    ordered = sorted(columns, key=len, reverse=True)
    return list(dict.fromkeys(name for column in ordered for name in column))


def _cell(column: Mapping[str, Interval], name: str, absent: str) -> str:
    return str(column[name]) if name in column else absent


def _number(value: float | None, digits: int = 3) -> str:
    return "no such patient" if value is None else f"{value:.{digits}f}"


def _values(attribute: Attribute) -> str:
    if attribute.words:
        return ", ".join(f"{code} {word}" for code, word in attribute.words.items())
    return f"{attribute.low:g} to {attribute.high:g} {attribute.unit}"


def _seen(known: Range | None) -> str:
    return "" if known is None else f"{known.low:g} to {known.high:g}"
