"""The report: one file that needs nothing else, with every candidate in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from records import fitted, one_core, plan_of, scored

from heart.settings import Settings
from tune.candidates import Candidate
from tune.journal import TrialRecord
from tune.leaderboard import Entry, rank
from tune.plan import Plan
from tune.promotion import Decision
from tune.report import Figures, draw, html
from tune.result import Result, make_result
from tune.winner import choose

REFERS = {"src", "srcset", "href", "xlink:href", "data", "action", "poster", "background"}
HOSTILE = '<script>alert("1")</script> & more'


class Page(HTMLParser):
    """What a browser would fetch, and the text of each cell of each row of each table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in REFERS:
                self.fetched.append(str(value))
            if name == "style":
                self.fetched += addresses(str(value))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


def addresses(css: str) -> list[str]:
    return re.findall(r"url\(\s*['\"]?([^)'\"]*)", css)


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> Iterator[None]:
    with one_core():
        yield


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of()


@pytest.fixture(scope="module")
def records(plan: Plan) -> list[TrialRecord]:
    families = {family.family: family for family in plan.space.families}
    assert {"svm", "mlp"} < set(families)
    svm = {"C": 1.0, "gamma": 0.01}
    logistic = {"C": 0.1, "l1_ratio": 0.5, "solver": "saga", "max_iter": 5000}
    mlp = {"hidden": 3, "alpha": 1.0, "max_iter": 5000}
    return [
        fitted(plan, Candidate("logistic_regression", logistic)),
        fitted(plan, Candidate("logistic_regression", logistic | {"C": 1.0})),
        fitted(plan, Candidate("dummy", {"strategy": "prior"})),
        scored(Candidate("svm", svm), [0.7], status="stopped"),
        scored(Candidate("mlp", mlp), [], status="failed", message=HOSTILE),
    ]


@pytest.fixture(scope="module")
def board(plan: Plan, records: list[TrialRecord]) -> list[Entry]:
    return rank(plan, records)


@pytest.fixture(scope="module")
def figures(plan: Plan, board: list[Entry]) -> Figures:
    return draw(plan, board, threshold=0.5)


@pytest.fixture(scope="module")
def result(plan: Plan, board: list[Entry]) -> Result:
    return make_result(
        plan,
        board,
        choose(plan, board, Settings()),
        Decision("3", False, f"not better: {HOSTILE}"),
        run="a-search",
        run_id="0123",
        ending="complete",
        unwritten=0,
        wall_seconds=2.0,
    )


@pytest.fixture(scope="module")
def text(result: Result, board: list[Entry], figures: Figures) -> str:
    return html(result, board, figures)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_a_browser_fetches_nothing(page: Page, text: str) -> None:
    assert page.fetched, "glyphs and clips inside the figures"
    within = ("#", "data:image/png;base64,")
    assert [link for link in page.fetched if not link.startswith(within)] == []
    assert [link for link in addresses(text) if not link.startswith(within)] == []
    assert not {"script", "link", "iframe", "img", "object", "embed"} & page.tags
    assert "@import" not in text


def test_every_candidate_is_in_the_leaderboard(page: Page, board: list[Entry]) -> None:
    rows = page.rows[-len(board) :]
    assert [row[1] for row in rows] == [entry.record.family for entry in board]
    assert [json.loads(row[2]) for row in rows] == [entry.record.params for entry in board]
    assert [row[0] for row in rows] == ["1", "2", "3", "", ""]
    assert [row[5] for row in rows[:3]] == [f"{e.record.mean:.4f}" for e in board[:3]]
    assert rows[3][3:7] == ["stopped after fold 1", "1", "0.7000", ""]
    assert rows[4][3:7] == [f"failed: {HOSTILE}", "0", "", ""]


def test_what_comes_from_outside_is_escaped(text: str) -> None:
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") == 2, "the candidate's message and the reason"


def test_the_winner_its_scores_and_its_lineage_are_told(
    page: Page, text: str, result: Result
) -> None:
    assert result.winner.rule in text
    assert result.checksums["data"] in text
    assert result.code_version in text
    assert ["roc_auc", str(result.cv["roc_auc"]), str(result.test["roc_auc"])] in page.rows
    assert f'class="won"><td class="n">{1}' in text


def test_figures_of_each_family_that_finished_and_of_what_was_varied(figures: Figures) -> None:
    assert list(figures.families) == [
        "families",
        "roc",
        "calibration",
        "confusion-logistic_regression",
        "confusion-dummy",
    ]
    assert set(figures.parameters) == {
        "parameters-logistic_regression",
        "parameters-svm",
    }


def test_figures_are_the_same_for_the_same_search(
    plan: Plan, records: list[TrialRecord], figures: Figures
) -> None:
    assert draw(plan, rank(plan, records[::-1]), threshold=0.5) == figures


def test_each_figure_is_one_svg(figures: Figures) -> None:
    for svg in (figures.families | figures.parameters).values():
        assert svg.startswith("<svg")
        assert svg.rstrip().endswith("</svg>")
        assert svg.count("<svg") == 1


def test_the_result_counts_how_trials_ended(result: Result) -> None:
    assert result.trials.model_dump() == {
        "planned": 8,
        "finished": 3,
        "stopped": 1,
        "failed": 1,
        "unwritten": 0,
    }
    assert result.rows == {"train": 242, "test": 61}
    assert result.tracked
    assert Result.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize(
    ("unwritten", "run_id", "postponed"), [(1, "0123", False), (0, "", False), (0, "0123", True)]
)
def test_what_mlflow_lacks_is_not_called_tracked(
    plan: Plan, board: list[Entry], unwritten: int, run_id: str, postponed: bool
) -> None:
    result = make_result(
        plan,
        board,
        choose(plan, board, Settings()),
        Decision(None, False, "why", postponed=postponed),
        run="a-search",
        run_id=run_id,
        ending="complete",
        unwritten=unwritten,
        wall_seconds=2.0,
    )
    assert not result.tracked
