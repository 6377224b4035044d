"""The card says all that the artefacts say, in both renderings, and what went wrong first."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from heart import card, card_figures, card_tables, cohorts, pipelines, promotions, tripod
from heart.assessment import Assessment, Bin, Group, Predicted, assess
from heart.attributes import ATTRIBUTES
from heart.bundle import Bundle, save_bundle
from heart.calibration import Floats, fit_calibration
from heart.calibration_choice import choose_calibration
from heart.card_facts import Card, headline
from heart.cohorts import Cohort
from heart.decision import conformal_bounds
from heart.errors import BundleError, run_main
from heart.evaluation import Interval
from heart.files import sha256
from heart.gates import Evaluation, Gate
from heart.metadata import Metadata
from heart.promotions import Promotion
from heart.provenance import SOURCE
from heart.registry import Registry
from heart.settings import Settings
from heart.store import connect, experiment_id

VOID = {"meta"}
VERSION = "7"
PARTS = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}
"""The items of TRIPOD+AI that ask several things, and how many; the others ask one."""
PASSED = Gate(name="audit", rule="nothing serious", found="nothing serious", passed=True)
STOPPED = Gate(name="ROC-AUC floor", rule="at least 0.8", found="0.7 | less", passed=False)
AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
WHY = "for a | demonstration\nof <b>force</b> & [more](http://example.org) *`x`*"
Rows = tuple[tuple[str, ...], ...]


class Page(HTMLParser):
    """What a page holds; fails at a tag that is closed wrongly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.texts:
            tag, text = self.texts[-1]
            self.texts[-1] = (tag, text + data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def fit(patients: Cohort) -> Callable[[pd.DataFrame], Floats]:
    model = pipelines.build("logistic_regression", {"C": 0.1}, seed=42)
    model.fit(patients.X, patients.y)
    return lambda X: np.asarray(model.predict_proba(X)[:, 1])


@pytest.fixture(scope="module")
def told(patients: Cohort, metadata: Metadata) -> Card:
    """A version whose every number was measured."""
    train, test = cohorts.split(patients, test_size=0.2, seed=42)
    parts = [p for _, p in StratifiedKFold(3, shuffle=True, random_state=1).split(train.X, train.y)]
    p = np.empty(len(train))
    for part in parts:
        p[part] = fit(train.take(np.setdiff1d(np.arange(len(train)), part)))(train.X.iloc[part])
    method, briers = choose_calibration(train.y, [p], [parts])
    calibration = fit_calibration(method, train.y, p)
    bounds = conformal_bounds(train.y, p, error_rate=0.1)
    found = assess(
        Predicted(train, p),
        Predicted(test, calibration.apply(fit(train)(test.X))),
        fit=fit,
        bounds=bounds,
        briers=briers,
        threshold=0.5,
        seed=42,
    )
    evaluation = Evaluation(assessment=found, gates=(PASSED,))
    cv = {"roc_auc": Interval(value=0.8123, low=0.7456, high=0.8789)}
    known = {"calibration": calibration, "bounds": bounds, "test": found.test, "cv": cv}
    return Card(VERSION, metadata.model_copy(update=known), evaluation, ())


def assessed(told: Card, **changes: object) -> Card:
    """The same version, measured otherwise."""
    found = told.assessment.model_copy(update=changes)
    return replace(told, evaluation=told.evaluation.model_copy(update={"assessment": found}))


def promoted(*, forced: bool, reason: str = WHY, version: str = VERSION) -> Promotion:
    return Promotion(
        at=AT, action="promote", version=version, before="3", reason=reason, forced=forced
    )


def markdown_tables(text: str) -> dict[str, Rows]:
    """The tables by caption, header first; fails where a row has another number of cells."""
    found: dict[str, Rows] = {}
    pattern = re.compile(r"^\*\*(.+)\*\*\n\n((?:\|.*\n)+)", re.MULTILINE)
    for caption, body in pattern.findall(text):
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in body.splitlines()]
        assert len({len(line) for line in lines}) == 1, caption
        assert {cell.strip() for cell in lines[1]} == {"---"}
        rows = [lines[0], *lines[2:]]
        found[unplain(caption)] = tuple(tuple(map(unplain, row)) for row in rows)
    assert len(re.findall(r"^\| ---", text, re.MULTILINE)) == len(found)
    return found


def unplain(cell: str) -> str:
    """What Markdown makes of a cell."""
    bare = re.sub(r"^\*\*(.*)\*\*$", r"\1", cell.strip())
    return unescape(re.sub(r"\\(.)", r"\1", bare))


def html_tables(text: str) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for body in re.findall(r"<table>(.*?)</table>", text, re.DOTALL):
        (caption,) = re.findall(r"<caption>(.*?)</caption>", body)
        rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
        lines = (tuple(" ".join(unescape(cell).split()) for cell in row) for row in cells)
        found[unescape(caption)] = tuple(lines)
    return found


def intervals(told: Card) -> Iterator[tuple[str, Interval]]:
    found = told.assessment
    groups = [g.scores for g in found.groups if g.scores is not None]
    hospitals = [h.scores for h in found.hospitals]
    for scores in (told.metadata.cv, found.out_of_fold, found.test, *groups, *hospitals):
        yield from scores.items()


def numbers(told: Card) -> Iterator[float]:
    """The other numbers of an assessment."""
    found = told.assessment
    for group in found.bins:
        yield from (group.predicted, group.observed)
    for point in found.net_benefit:
        yield from (point.model, point.treat_all)
    for held in found.coverage.values():
        shares = (held.with_disease, held.without_disease, held.uncertain)
        yield from (share for share in shares if share is not None)


@pytest.mark.parametrize("render", [card.markdown, card.html])
def test_every_score_of_the_artefact_is_on_the_card(
    render: Callable[[Card], str], told: Card
) -> None:
    text = render(told)
    scores = list(intervals(told))
    assert len(scores) > 150
    assert [name for name, interval in scores if str(interval) not in text] == []
    assert [number for number in numbers(told) if f"{number:.3f}" not in text] == []
    briers = told.assessment.brier_by_calibration
    assert all(f"{score:.4f}" in text for score in briers.values())


def test_each_score_stands_in_its_own_cell(told: Card) -> None:
    tables = markdown_tables(card.markdown(told))
    header, *rows = tables["Scores, with 95% intervals"]
    assert header == ("score", "cross-validation", "out of fold (n = 734)", "test (n = 184)")
    found = told.assessment
    for name, cv, out_of_fold, test in rows:
        assert cv == str(told.metadata.cv.get(name, "not computed"))
        assert (out_of_fold, test) == (str(found.out_of_fold[name]), str(found.test[name]))
    assert {row[0] for row in rows} == set(found.test)
    header, *rows = next(t for c, t in tables.items() if c.startswith("Scores of a hospital"))
    by_name = {name: cells for name, *cells in rows}
    for place, hospital in enumerate(found.hospitals):
        assert header[place + 1] == hospital.site
        assert by_name["patients"][place] == str(hospital.n)
        assert by_name["without disease"][place] == str(hospital.negatives)
        for name, score in hospital.scores.items():
            assert by_name[name][place] == str(score)


def test_both_renderings_have_the_same_tables(told: Card) -> None:
    whole = replace(told, promotions=(promoted(forced=True), promoted(forced=False)))
    in_markdown, in_html = markdown_tables(card.markdown(whole)), html_tables(card.html(whole))
    assert in_markdown == in_html
    assert len(in_markdown) == 13


def test_a_changed_score_changes_the_card(told: Card) -> None:
    score = Interval(value=0.1234, low=0.0567, high=0.2345)
    changed = assessed(told, test=told.assessment.test | {"roc_auc": score})
    for render in (card.markdown, card.html, headline):
        assert str(score) not in render(told)
        assert str(score) in render(changed)
    assert card_figures.calibration(told.assessment.bins) != card_figures.calibration(
        told.assessment.bins[:-1]
    )


def test_the_counts_are_those_of_the_rows(told: Card, train: Cohort) -> None:
    assert (told.train, told.with_disease, told.test) == (734, int(train.y.sum()), 184)
    assert told.sites == {str(s): int((train.sites == s).sum()) for s in np.unique(train.sites)}
    sites = ", ".join(f"{site} {n}" for site, n in told.sites.items())
    rows = f"734 training rows, {told.with_disease} of them with disease, by hospital: {sites}."
    assert rows in card.markdown(told)


def test_the_headline_is_one_sentence_with_score_interval_and_rows(told: Card) -> None:
    assert headline(told) == (
        f"Version 7 (logistic regression) has a ROC-AUC of {told.assessment.test['roc_auc']} "
        "(95% interval) on 184 test rows that had no part in its training or choice."
    )


def test_purpose_licence_and_citation_are_said(told: Card) -> None:
    for text in (card.markdown(told), card.html(told)):
        assert "angiography, done now, would find a coronary narrowing of 50% or more" in text
        assert "Not for screening" in text
        assert "Not for a future event" in text
        assert all(value in text for value in SOURCE.values())
        assert all(a.meaning in text for a in ATTRIBUTES)


def test_the_lineage_is_whole(told: Card) -> None:
    lineage = dict(card_tables.lineage(told).rows)
    known = told.metadata.lineage.model_dump(exclude={"packages"})
    assert {str(value) for value in known.values()} <= set(lineage.values())
    assert lineage["SHA-256 of the ONNX graph"] == told.metadata.onnx_sha256
    assert lineage["version of onnx"] == "1.0"
    assert lineage["code had uncommitted changes"] == "no"


def test_code_with_uncommitted_changes_is_a_warning(told: Card) -> None:
    lineage = told.metadata.lineage.model_copy(update={"code_version": "0.1.0+abc-dirty"})
    dirty = replace(told, metadata=told.metadata.model_copy(update={"lineage": lineage}))
    assert "**Warning.** The code had changes" in card.markdown(dirty)
    assert dict(card_tables.lineage(dirty).rows)["code had uncommitted changes"] == "yes"
    assert "**Warning.** The code had changes" not in card.markdown(told)


def test_a_gate_that_was_not_passed_is_said_first(told: Card) -> None:
    stopped = replace(
        told, evaluation=told.evaluation.model_copy(update={"gates": (PASSED, STOPPED)})
    )
    for text in (card.markdown(stopped), card.html(stopped)):
        said = text.index("Gates that were not passed: ROC-AUC floor: at least 0.8, found 0.7")
        assert said < text.index("Purpose")
        assert "Not passed: 1 of 2." in text
    assert "**not passed**" in card.markdown(stopped)
    assert '<td class="bad">not passed</td>' in card.html(stopped)
    assert markdown_tables(card.markdown(stopped))["Gates"][-1][2] == "0.7 | less"
    assert "not passed" not in card.markdown(told)


def test_a_forced_promotion_is_said_first_with_its_reason(told: Card) -> None:
    forced = replace(told, promotions=(promoted(forced=True),))
    page = card.html(forced)
    assert page.index("Promoted by force on 2026-03-01") < page.index("<nav")
    assert "<b>" not in page
    text = card.markdown(forced)
    assert text.index("Promoted by force on 2026-03-01") < text.index("## Purpose")
    assert "for a \\| demonstration of &lt;b>force" in text
    assert "by force" not in card.markdown(replace(told, promotions=(promoted(forced=False),)))


def test_the_history_of_promotions_is_told(told: Card) -> None:
    assert "no promotion of this version" in card.markdown(told)
    rolled = promoted(forced=False, reason="worse").model_copy(update={"action": "rollback"})
    several = replace(told, promotions=(promoted(forced=True), rolled))
    rows = card_tables.promotions(several).rows
    assert rows[0][:4] == ("2026-03-01 12:30 UTC", "promote", "3", "by force")
    assert rows[1] == ("2026-03-01 12:30 UTC", "rollback", "3", "no", "worse")


def test_a_coverage_that_fails_is_said(told: Card) -> None:
    coverage = told.assessment.coverage
    holding = {k: v.model_copy(update={"holds": True}) for k, v in coverage.items()}
    failing = holding | {"va": holding["va"].model_copy(update={"holds": False})}
    bad, good = assessed(told, coverage=failing), assessed(told, coverage=holding)
    assert "does not hold" not in card.markdown(good) + card.html(good)
    for text in (card.markdown(bad), card.html(bad)):
        assert "It does not hold for va." in text
        assert text.index("bounds do not hold: va") < text.index("Purpose")
    verdicts = {row[0]: row[-1] for row in card_tables.coverage(bad).rows}
    assert [name for name, verdict in verdicts.items() if verdict == "does not hold"] == ["va"]
    assert "**does not hold**" in card.markdown(bad)
    assert '<td class="bad">does not hold</td>' in card.html(bad)


def test_a_class_without_patients_has_no_coverage(told: Card) -> None:
    none = told.assessment.coverage["va"].model_copy(update={"without_disease": None})
    changed = assessed(told, coverage=told.assessment.coverage | {"va": none})
    rows = {row[0]: row for row in card_tables.coverage(changed).rows}
    assert rows["va"][3] == "no such patient"


def test_hospitals_are_told_from_the_worst_to_the_best(told: Card) -> None:
    for score in ("roc_auc", "calibration_intercept"):
        ordered = sorted(told.assessment.hospitals, key=lambda h: h.scores[score].value)
        ends = [f"{h.scores[score]} ({h.site})" for h in (ordered[0], ordered[-1])]
        assert f"from {' to '.join(ends)}." in card.markdown(told)
    assert "little more than noise: switzerland." in card.markdown(told)


def test_groups_that_are_withheld_are_said(told: Card) -> None:
    assert [group.group for group in told.withheld] == ["site: switzerland"]
    for text in (card.markdown(told), card.html(told)):
        assert "are withheld: site: switzerland." in text
        assert "too small to be scored: site: switzerland (n = 98)" in text
    table = card_tables.groups(told)[-1]
    place = table.header.index("switzerland")
    assert {row[place] for row in table.rows[1:]} == {"withheld"}
    kinds = [table.caption for table in card_tables.groups(told)]
    assert kinds == [
        f"Scores out of fold by {kind}, with 95% intervals" for kind in ("sex", "age", "site")
    ]


def test_a_score_that_a_group_leaves_undefined_is_said(told: Card) -> None:
    scores = told.assessment.groups[0].scores
    assert scores is not None
    few = Group(group="sex: female", n=50, scores={"roc_auc": scores["roc_auc"]})
    changed = assessed(told, groups=(few, told.assessment.groups[1]))
    rows = {row[0]: row[1] for row in card_tables.groups(changed)[0].rows}
    assert rows["calibration_slope"] == "undefined"
    assert rows["roc_auc"] == str(scores["roc_auc"])


def test_one_hospital_alone_is_none_left_out(told: Card) -> None:
    coverage = {name: told.assessment.coverage[name] for name in ("test", "cleveland")}
    alone = assessed(told, hospitals=(), coverage=coverage)
    for text in (card.markdown(alone), card.html(alone)):
        assert "the rows are of one hospital, which cannot be left out" in text
        assert "Left out of the training, hospitals" not in text


@pytest.mark.parametrize("method", ["none", "sigmoid", "isotonic"])
def test_the_calibration_that_was_chosen_is_said(method: str, told: Card) -> None:
    known = told.metadata.calibration.model_copy(update={"method": method, "slope": 1.2345})
    chosen = replace(told, metadata=told.metadata.model_copy(update={"calibration": known}))
    rows = {row[0]: row[2] for row in card_tables.calibrations(chosen).rows}
    assert [name for name, choice in rows.items() if choice == "chosen"] == [method]
    assert f"Calibration chosen: {method}." in card.html(chosen)
    assert ("slope 1.2345" in card.html(chosen)) == (method == "sigmoid")


def test_the_page_is_whole_and_loads_nothing(told: Card) -> None:
    text = card.html(replace(told, promotions=(promoted(forced=True),)))
    page = Page(text)
    assert text.lstrip().startswith("<!doctype html>")
    assert page.all("html") == [{"lang": "en"}]
    assert not [t for t, _ in page.found if t in {"script", "link", "img", "iframe", "object"}]
    for tag, attributes in page.found:
        assert not {"src", "srcset", "data", "background", "onload"} & set(attributes)
        for name, value in attributes.items():
            if name.endswith("href") and tag != "a":
                assert str(value).startswith("#")
    assert re.findall(r"@import|url\((?!#)", text) == []
    assert page.text("h1") == ["Model card: version 7"]


def test_the_page_is_accessible(told: Card) -> None:
    page = Page(card.html(told))
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    figures = page.all("svg")
    assert [figure["role"] for figure in figures] == ["img", "img"]
    assert all(len(str(figure["aria-label"])) > 60 for figure in figures)
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert {str(a["href"])[1:] for a in page.all("a") if str(a["href"])[0] == "#"} <= set(ids)
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', card.html(told))
    assert set(references) <= {str(name) for name in ids}
    assert len(references) > 20


def test_the_figures_are_drawn_from_the_bins_and_the_thresholds(told: Card) -> None:
    found = told.assessment
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = (
            card_figures.calibration(found.bins),
            card_figures.decision_curve(found.net_benefit),
        )
    for figure in figures:
        ET.fromstring(figure.svg)
        assert figure.svg.count("<use") > len(found.bins)
    far = max(found.bins, key=lambda b: abs(b.predicted - b.observed))
    assert f"prediction of {far.predicted:.3f}" in figures[0].shows
    assert f"{far.observed:.3f} have the disease" in figures[0].shows
    useless = tuple(p.model_copy(update={"model": -1.0}) for p in found.net_benefit)
    assert "at 0 of 12 thresholds" in card_figures.decision_curve(useless).shows


def test_a_group_has_wilsons_interval() -> None:
    assert str(Bin(predicted=0.5, observed=0.3, n=10).interval) == "0.300 [0.108, 0.603]"


def test_a_page_sets_the_colours_of_its_figures(told: Card) -> None:
    svg = card_figures.inline(card_figures.calibration(told.assessment.bins))
    assert {"var(--ink)", "var(--accent)"} <= set(re.findall(r"var\(--\w+\)", svg))
    assert not {"#22313f", "#0f4c75", "#ffffff"} & set(re.findall(r"#[0-9a-f]{6}\b", svg))


@pytest.mark.parametrize(
    "text", ["plain", "a | b", "two\nlines", "<script>", "*bold* `code`", "back\\slash \\|", "&lt;"]
)
def test_plain_text_stays_what_it_is_in_a_table(text: str) -> None:
    plain = card.plain(text)
    assert "\n" not in plain
    assert re.findall(r"(?<!\\)(?:\\\\)*\|", plain) == []
    assert "<" not in plain
    assert unplain(plain) == " ".join(text.split())


def test_the_items_are_the_published_ones_each_once_each_answered(told: Card) -> None:
    items = tripod.items(told)
    assert [item.number for item in items] == list(range(1, 28))
    assert {i.number: len(i.parts) for i in items if len(i.parts) > 1} == PARTS
    assert all(part.asks and part.answer for item in items for part in item.parts)
    in_markdown = re.findall(r"^### (\d+)\. ", card.markdown(told), re.MULTILINE)
    in_html = [heading.partition(".")[0] for heading in Page(card.html(told)).text("h3")]
    assert in_markdown == in_html == [str(number) for number in range(1, 28)]
    text = card.markdown(told)
    assert all(card.plain(part.answer) in text for item in items for part in item.parts)


@pytest.mark.parametrize(
    "text",
    [
        "## 13 Class imbalance\n",
        "## 13 Class imbalance\n- methods ::\n",
        "## 13 Class imbalance\n- methods ::   \n",
        "## 13 Class imbalance\n- methods :: not reported:\n",
        "## 12 Methods\n- one :: answered\n- two ::\n",
    ],
)
def test_an_item_without_an_answer_fails(text: str) -> None:
    with pytest.raises(ValueError, match="has no answer"):
        list(tripod.read(text))


def test_the_lines_of_the_answers_are_all_read(told: Card) -> None:
    path = Path(tripod.__file__).parent / "templates" / "tripod.md"
    lines = [line for line in path.read_text().splitlines() if line.startswith(("-", "##"))]
    items = tripod.items(told)
    assert len(lines) == sum(1 + len(item.parts) for item in items) == 27 + 52


def answer(told: Card, number: int, part: int = 0) -> str:
    return tripod.items(told)[number - 1].parts[part].answer


def test_answers_come_from_the_artefacts(told: Card) -> None:
    assert str(told.assessment.test["roc_auc"]) in answer(told, 2)
    assert f"cleveland ({told.sites['cleveland']} training rows)" in answer(told, 6)
    assert f"734 rows to train on, {told.with_disease} of them with" in answer(told, 10)
    assert "seed 7" in answer(told, 12)
    assert "55.3% of the training rows" in answer(told, 13)
    assert f"below {told.metadata.bounds.low:.3f}" in answer(told, 15)
    assert "918 rows" in answer(told, 20)
    assert all(str(score) in answer(told, 23) for score in told.assessment.test.values())


def test_what_is_said_of_the_preparation_is_what_the_pipeline_does(told: Card) -> None:
    assert "median" in answer(told, 11)
    assert "no indicator" in answer(told, 11)
    prepared = pipelines.preprocessor("logistic_regression", "default")
    steps = {name: dict(steps.steps) for name, steps, _ in prepared.transformers}
    strategies = [steps[kind]["impute"].strategy for kind in ("numeric", "categorical")]
    assert strategies == ["median", "most_frequent"]
    assert not any(steps[kind]["impute"].add_indicator for kind in steps)
    assert ("scale" in steps["numeric"]) == (", scaled;" in answer(told, 12, 1))
    assert ", not scaled;" in answer(with_recipe(told, family="random_forest"), 12, 1)


def test_class_weights_are_said_where_there_are_any(told: Card) -> None:
    assert "No weighting and no resampling" in answer(told, 13)
    weighted = with_recipe(told, params={"class_weight": "balanced"})
    assert "Class weights: balanced" in answer(weighted, 13)
    assert "No weighting" not in answer(weighted, 13)


def with_recipe(told: Card, **changes: object) -> Card:
    recipe = told.metadata.recipe.model_copy(update=changes)
    return replace(told, metadata=told.metadata.model_copy(update={"recipe": recipe}))


def test_a_card_is_made_of_a_bundle_and_its_lines_of_the_log(told: Card, graph: bytes) -> None:
    log = [promoted(forced=False), promoted(forced=True, version="3")]
    content = told.evaluation.model_dump_json().encode()
    bundle = Bundle(graph, told.metadata, version=VERSION, evaluation=content)
    assert Card.of(bundle, log) == replace(told, promotions=(log[0],))


def test_an_evaluation_that_is_none_is_an_error(told: Card, graph: bytes) -> None:
    with pytest.raises(BundleError, match=r"^evaluation.json of version 7 is no evaluation: 2 "):
        Card.of(Bundle(graph, told.metadata, version=VERSION, evaluation=b"{}"), [])


@pytest.fixture(scope="module")
def home(told: Card, graph: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with two versions, the first of them champion by force."""
    home = tmp_path_factory.mktemp("home") / "artifacts"
    settings = Settings(home=home)
    client = connect(settings)
    registry = Registry(client, settings)
    content = told.evaluation.model_dump_json().encode()
    for seed in (1, 2):
        run_id = str(client.create_run(experiment_id(client, settings)).info.run_id)
        lineage = told.metadata.lineage.model_copy(update={"run_id": run_id, "seed": seed})
        known = {"lineage": lineage, "evaluation_sha256": sha256(content)}
        metadata = told.metadata.model_copy(update=known)
        save_bundle(home / "made" / run_id, graph, metadata, evaluation=content)
        registry.register(run_id, home / "made" / run_id)
    registry.promote("1", reason=WHY, forced=True)
    registry.challenge("2")
    assert promotions.read(settings.promotions)[0].forced
    return home


@pytest.mark.parametrize(("named", "version"), [("", "1"), ("challenger", "2"), ("2", "2")])
def test_the_command_writes_the_card_and_says_where(
    named: str,
    version: str,
    home: Path,
    told: Card,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HEART_HOME", str(home))
    assert run_main(lambda: card.main([named] if named else [])) == 0
    folder = home / "cards" / version
    paths = [folder / "card.md", folder / "card.html"]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in paths]
    for path in paths:
        text = path.read_text()
        assert f"Model card: version {version}" in text
        assert str(told.assessment.test["roc_auc"]) in text
        assert ("Promoted by force" in text) == (version == "1")


def test_the_command_writes_where_it_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEART_HOME", str(home))
    assert card.main(["1", "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"card.md", "card.html"}
    assert not (home / "cards" / "1" / "out").exists()


@pytest.mark.parametrize(
    ("named", "message"),
    [("99", "error: heart has no version 99"), ("previous", "error: no version is previous")],
)
def test_an_unknown_version_is_one_line(
    named: str,
    message: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HEART_HOME", str(home))
    assert run_main(lambda: card.main([named])) == 2
    assert capsys.readouterr().err.splitlines() == [message]


def test_without_a_champion_the_command_says_so_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEART_HOME", str(home))
    monkeypatch.setenv("HEART_MODEL_NAME", "another")
    assert run_main(lambda: card.main([])) == 2
    assert capsys.readouterr().err.splitlines() == ["error: no version is champion"]


def test_the_same_artefacts_make_the_same_card(told: Card) -> None:
    assert card.html(told) == card.html(told)
    read = Assessment.model_validate_json(told.assessment.model_dump_json())
    again = replace(told, evaluation=told.evaluation.model_copy(update={"assessment": read}))
    assert card.markdown(again) == card.markdown(told)
