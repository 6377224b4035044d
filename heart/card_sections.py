"""What a model card says, section by section: the same in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from heart import card_figures, card_tables, tripod
from heart.assessment import SMALLEST_CELL
from heart.attributes import NAMES
from heart.card_facts import TEST, Card, headline
from heart.card_tables import Table
from heart.eda_figures import Drawn
from heart.gates import failures
from heart.intended_use import NO_DEVICE, NOT_FUTURE, NOT_SCREENING, NOT_TODAY, OUTCOME
from heart.provenance import SOURCE


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, points, tables, and a figure whose numbers are the last table."""

    title: str
    text: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figure: Drawn | None = None


def warnings(card: Card) -> Iterator[str]:
    """What must be read before anything else."""
    for promotion in card.forced:
        yield (
            f"Promoted by force on {promotion.at:%Y-%m-%d}, although a gate was not passed. "
            f"Reason given: {promotion.reason}"
        )
    if card.failed:
        yield f"Gates that were not passed: {failures(card.evaluation.gates)}."
    if card.not_covered:
        yield (
            "Low, high and uncertain are not to be relied on where the bounds do not hold: "
            f"{', '.join(_rows(name) for name in card.not_covered)}."
        )
    if card.dirty:
        yield "The code had changes that its commit does not hold: it cannot be made again from it."


def sections(card: Card) -> tuple[Section, ...]:
    """The card in its order, without the warnings before and the checklist after it."""
    return (
        _purpose(card),
        _limits(card),
        _data(card),
        _scores(card),
        _calibration(card),
        _usefulness(card),
        _hospitals(card),
        _groups(card),
        _coverage(card),
        _gates(card),
        _promotions(card),
        _lineage(card),
    )


def _purpose(card: Card) -> Section:
    return Section(
        "Purpose",
        (
            f"The model gives the probability that angiography, done now, would find {OUTCOME}, "
            "for a patient who has been referred for angiography, from "
            f"{len(NAMES)} attributes. {headline(card)}",
        ),
    )


def _limits(card: Card) -> Section:
    points = [
        NO_DEVICE,
        f"{NOT_SCREENING}, and {card.prevalence:.1%} of the training rows have the disease.",
        NOT_FUTURE,
        NOT_TODAY,
        tripod.by_hospital(card),
    ]
    if card.assessment.hospitals:
        points.append(
            "Not calibrated for another hospital: left out of the training, hospitals have a "
            f"calibration intercept from {tripod.over_hospitals(card, 'calibration_intercept')}."
        )
    age = card.metadata.training_ranges.get("age")
    if age is not None:
        points.append(f"Not for ages outside {age.low:g} to {age.high:g} years: none was seen.")
    if card.withheld:
        withheld = ", ".join(f"{g.group} (n = {g.n})" for g in card.withheld)
        points.append(f"Not known to work for groups too small to be scored: {withheld}.")
    return Section("Limits of use", points=tuple(points))


def _data(card: Card) -> Section:
    sites = ", ".join(f"{name} {n}" for name, n in card.sites.items())
    of = card.metadata.lineage
    return Section(
        "Data",
        (
            f"Cohort {of.cohort} of {SOURCE['name']}: {SOURCE['citation']}, "
            f"https://doi.org/{SOURCE['doi']}, {SOURCE['licence']}. SHA-256 of the table: "
            f"{of.data_sha256}.",
            f"{card.train} training rows, {card.with_disease} of them with disease, by hospital: "
            f"{sites}. {card.test} test rows, set aside with seed {of.split_seed}.",
        ),
        tables=(card_tables.inputs(card),),
    )


def _scores(card: Card) -> Section:
    return Section(
        "Scores",
        (
            "Cross-validation: the mean over the folds, before calibration, with the corrected "
            "standard error. Out of fold: every training row, predicted and calibrated by fits to "
            "other rows; bootstrap intervals. Test: the model that is served, on rows set aside; "
            "bootstrap intervals. The model was chosen on these folds, so that scores on them are "
            "somewhat optimistic. Classes are called at the declared threshold "
            f"{card.metadata.threshold:g}.",
        ),
        tables=(card_tables.scores(card),),
    )


def _calibration(card: Card) -> Section:
    found = card.metadata.calibration
    detail = {
        "none": "The probabilities are served as the model gives them.",
        "sigmoid": f"Intercept {found.intercept:.4f} and slope {found.slope:.4f} on the logit.",
        "isotonic": f"{len(found.corners)} corners, straight lines between them.",
    }
    return Section(
        "Calibration",
        (
            f"Calibration chosen: {found.method}. {detail[found.method]} The rule: none, unless "
            "another lowers the cross-validated Brier score by more than a corrected standard "
            "error.",
        ),
        tables=(card_tables.calibrations(card), card_tables.bins(card)),
        figure=card_figures.calibration(card.assessment.bins),
    )


def _usefulness(card: Card) -> Section:
    return Section(
        "Net benefit",
        (
            "What acting on the model is worth beside acting on everybody and on nobody (Vickers "
            "and Elkin, 2006): true positives per patient, less false ones at the odds of the "
            "threshold. Without intervals, so that small differences mean nothing.",
        ),
        tables=(card_tables.decision_curve(card),),
        figure=card_figures.decision_curve(card.assessment.net_benefit),
    )


def _hospitals(card: Card) -> Section:
    if not card.assessment.hospitals:
        text = "not reported: the rows are of one hospital, which cannot be left out."
        return Section("A hospital left out", (text,))
    return Section(
        "A hospital left out",
        (
            "The same recipe, fitted to the other hospitals' training rows and scored on this "
            "one's, without the version's calibration. The recipe was chosen with all hospitals.",
            *_few(card),
        ),
        tables=(card_tables.hospitals(card),),
    )


def _few(card: Card) -> Iterator[str]:
    few = [
        h.site
        for h in card.assessment.hospitals
        if min(h.negatives, h.n - h.negatives) < SMALLEST_CELL
    ]
    if few:
        yield (
            f"Fewer than {SMALLEST_CELL} patients with, or without, disease, so that scores are "
            f"little more than noise: {', '.join(few)}."
        )


def _groups(card: Card) -> Section:
    text = (
        f"Groups with fewer than {SMALLEST_CELL} patients with, or without, disease are withheld: "
        f"{', '.join(g.group for g in card.withheld) or 'none'}."
    )
    return Section("Groups of patients", (text,), tables=card_tables.groups(card))


def _coverage(card: Card) -> Section:
    bounds = card.metadata.bounds
    failing = ", ".join(_rows(name) for name in card.not_covered)
    told = f"It does not hold for {failing}." if failing else "It holds for each group below."
    return Section(
        "Low, high and uncertain",
        (
            f"Low below {bounds.low:.3f}, high from {bounds.high:.3f}, uncertain otherwise and "
            "where both hold. Of each class at least "
            f"{1 - bounds.error_rate:g} are to be spared the wrong one of low and high; less is "
            f"accepted within two standard errors. {told}",
            "The bounds come from all training rows out of fold: the rows of a hospital had a "
            "part in them, the test rows had none.",
        ),
        tables=(card_tables.coverage(card),),
    )


def _gates(card: Card) -> Section:
    number, failed = len(card.evaluation.gates), len(card.failed)
    told = f"Not passed: {failed} of {number}." if failed else f"All {number} were passed."
    return Section(
        "Gates",
        (f"{told} No gate looks at the test rows.",),
        tables=(card_tables.gates(card),),
    )


def _promotions(card: Card) -> Section:
    if not card.promotions:
        return Section("Promotions", ("The log holds no promotion of this version.",))
    return Section("Promotions", tables=(card_tables.promotions(card),))


def _lineage(card: Card) -> Section:
    return Section("Lineage", tables=(card_tables.lineage(card),))


def _rows(name: str) -> str:
    return "the test rows" if name == TEST else name
