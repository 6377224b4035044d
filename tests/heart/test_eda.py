"""The summary has the known figures; the page needs nothing else and is the same twice."""

from __future__ import annotations

import json
import re
import warnings
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.stats import binomtest, spearmanr

from heart import cohorts, eda, eda_figures, eda_sentences
from heart.attributes import BY_NAME, CATEGORICAL, NAMES, NUMERIC
from heart.cohorts import COHORTS, Cohort, CohortName
from heart.eda_figures import Drawn
from heart.eda_sentences import Correlation, Share
from heart.errors import DataError, run_main

MISSING = {
    "age": 0,
    "sex": 0,
    "cp": 0,
    "trestbps": 59,
    "chol": 29,
    "fbs": 90,
    "restecg": 2,
    "thalach": 55,
    "exang": 55,
    "oldpeak": 62,
    "slope": 307,
    "ca": 609,
    "thal": 484,
}
ZEROS = {"trestbps": 1, "chol": 172}
MOMENTS = {
    "age": (53.51, 9.43),
    "trestbps": (132.14, 19.06),
    "chol": (199.11, 110.84),
    "thalach": (137.54, 25.94),
    "oldpeak": (0.88, 1.09),
}
SITES = {
    "cleveland": (303, 139),
    "hungarian": (293, 106),
    "switzerland": (123, 115),
    "va": (199, 148),
}
FIGURES = ["balance", "hospitals", "distributions", "categories", "missing", "correlations"]
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a page holds; fails at a tag that is closed wrongly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def everyone() -> Cohort:
    return cohorts.load("all", treatment="raw")


@pytest.fixture(scope="module")
def summary(everyone: Cohort) -> eda.Summary:
    return eda.summarise(everyone)


@pytest.fixture(scope="module")
def figures(everyone: Cohort, summary: eda.Summary) -> dict[str, Drawn]:
    return {figure.name: figure for figure in eda.draw(everyone, summary)}


@pytest.fixture(scope="module")
def folder(everyone: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "eda"
    eda.write(everyone, folder)
    return folder


def test_the_classes_are_the_known_ones(summary: eda.Summary) -> None:
    assert (summary.rows, summary.without_disease, summary.with_disease) == (918, 410, 508)


def test_the_missing_values_of_the_table_are_the_known_ones(summary: eda.Summary) -> None:
    assert {name: missing.raw for name, missing in summary.missing.items()} == MISSING


def test_a_zero_that_means_missing_is_missing_and_no_other(summary: eda.Summary) -> None:
    expected = {name: count + ZEROS.get(name, 0) for name, count in MISSING.items()}
    assert {name: missing.clean for name, missing in summary.missing.items()} == expected


def test_the_hospitals_share_the_missing_values(summary: eda.Summary) -> None:
    assert summary.missing["chol"].by_site == {
        "cleveland": 0,
        "hungarian": 22,
        "switzerland": 123,
        "va": 56,
    }
    assert all(sum(m.by_site.values()) == m.clean for m in summary.missing.values())


@pytest.mark.parametrize("name", MOMENTS)
def test_means_and_deviations_before_zeros_are_missing_are_the_known_ones(
    name: str, summary: eda.Summary
) -> None:
    found = summary.numeric[name].raw
    assert found.mean is not None
    assert found.sd is not None
    assert (round(found.mean, 2), round(found.sd, 2)) == MOMENTS[name]
    assert str(found) == "{:.2f} ± {:.2f}".format(*MOMENTS[name])
    assert found.n == 918 - MISSING[name]


def test_a_numeric_attribute_is_told_without_its_zeros_and_by_class(summary: eda.Summary) -> None:
    chol = summary.numeric["chol"]
    clean = cohorts.load("all")
    assert chol.clean.mean == pytest.approx(clean.X["chol"].mean())
    assert chol.with_disease.median == clean.X["chol"][clean.y == 1].median()
    assert chol.without_disease.sd == pytest.approx(clean.X["chol"][clean.y == 0].std())
    assert chol.clean.n == chol.with_disease.n + chol.without_disease.n == 717


def test_each_hospital_has_its_patients_and_its_prevalence(summary: eda.Summary) -> None:
    assert {s: (share.n, share.with_disease) for s, share in summary.sites.items()} == SITES
    assert all(share.value == share.with_disease / share.n for share in summary.sites.values())


@pytest.mark.parametrize(("count", "n"), [(139, 303), (0, 7), (7, 7), (1, 1)])
def test_an_interval_is_wilsons(count: int, n: int) -> None:
    share = Share.of(np.repeat([1, 0], [count, n - count]))
    expected = binomtest(count, n).proportion_ci(0.95, method="wilson")
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_shares_are_those_of_the_words(everyone: Cohort, summary: eda.Summary) -> None:
    assert list(summary.shares) == list(CATEGORICAL)
    for name, shares in summary.shares.items():
        assert list(shares) == list(BY_NAME[name].words.values())
        assert sum(share.n for share in shares.values()) == 918 - MISSING[name]
    asymptomatic = everyone.y[everyone.X["cp"] == 4]
    found = summary.shares["cp"]["asymptomatic"]
    assert (found.n, found.with_disease) == (len(asymptomatic), asymptomatic.sum())


def test_the_correlations_are_spearmans_over_the_patients_who_have_both(
    everyone: Cohort, summary: eda.Summary
) -> None:
    found = {(pair.first, pair.second): pair for pair in summary.correlations}
    assert len(found) == len(NUMERIC) * (len(NUMERIC) + 1) / 2
    both = cohorts.load("all").X[["chol", "ca"]].dropna()
    pair = found["chol", "ca"]
    assert pair.n == len(both)
    assert pair.rho == pytest.approx(spearmanr(both["chol"], both["ca"]).statistic)
    age = found["age", "disease"]
    assert age.rho == pytest.approx(spearmanr(everyone.X["age"], everyone.y).statistic)


def test_the_summary_is_frozen(summary: eda.Summary) -> None:
    with pytest.raises(ValidationError):
        summary.rows = 1  # type: ignore[misc]


@pytest.mark.full
def test_cleveland_is_one_hospital(tmp_path: Path) -> None:
    summary = eda.write(cohorts.load("cleveland", treatment="raw"), tmp_path)
    assert (summary.rows, summary.without_disease, summary.with_disease) == (303, 164, 139)
    assert list(summary.sites) == ["cleveland"]
    page = Page((tmp_path / "eda.html").read_text())
    assert "Of the patients of cleveland, the one hospital, 45.9% [40.4%, 51.5%]" in page.words


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ([1], "0 patients without and 508 with disease"),
        ([0], "410 patients without and 0 with disease"),
        ([], "0 patients without and 0 with disease"),
    ],
)
def test_a_cohort_without_both_classes_is_refused(
    kept: list[int], told: str, everyone: Cohort, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"^cohort all has {told}: an analysis by class") as caught:
        eda.write(everyone.take(np.isin(everyone.y, kept)), tmp_path)
    assert caught.value.field == "cohort"
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_an_attribute_that_nobody_has_is_no_obstacle(everyone: Cohort, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = eda.write(everyone.take(everyone.sites == "switzerland"), tmp_path)
    assert summary.numeric["chol"].clean.mean is None
    assert not str(summary.numeric["chol"].clean)
    assert "NaN" not in (tmp_path / "summary.json").read_text()


@pytest.mark.full
def test_two_patients_are_enough(everyone: Cohort, tmp_path: Path) -> None:
    first = [int(np.flatnonzero(everyone.y == label)[0]) for label in (0, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = eda.write(everyone.take(np.array(first)), tmp_path)
    assert summary.numeric["age"].with_disease.sd is None


def test_all_files_are_written(folder: Path, summary: eda.Summary) -> None:
    expected = {f"{name}.svg" for name in FIGURES} | {"eda.html", "summary.json"}
    assert {path.name for path in folder.iterdir()} == expected
    assert json.loads((folder / "summary.json").read_text()) == json.loads(
        summary.model_dump_json()
    )


@pytest.mark.full
def test_the_same_patients_make_the_same_bytes(
    folder: Path, everyone: Cohort, tmp_path: Path
) -> None:
    eda.write(everyone, tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_page_is_well_formed_and_loads_nothing(folder: Path) -> None:
    text = (folder / "eda.html").read_text()
    page = Page(text)
    assert page.open == []
    assert not re.search(r"https?:|//\w|url\(|@import|<script|<link", text)
    addresses = [a[key] or "" for _, a in page.found for key in ("src", "href") if key in a]
    assert len(addresses) == len(FIGURES)
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)


def test_the_page_is_dark_where_that_is_preferred(folder: Path) -> None:
    assert "prefers-color-scheme: dark" in (folder / "eda.html").read_text()


def test_every_figure_has_a_text_for_those_who_cannot_see_it_and_a_sentence(folder: Path) -> None:
    page = Page((folder / "eda.html").read_text())
    texts = [image["alt"] or "" for image in page.all("img")]
    assert len(set(texts)) == len(page.all("figcaption")) == len(FIGURES)
    assert all(re.fullmatch(r"[A-Z].{20,}\.", text) for text in texts)


def test_the_page_names_its_source_and_every_attribute(folder: Path, summary: eda.Summary) -> None:
    words = Page((folder / "eda.html").read_text()).words
    assert summary.table_sha256 in words
    assert "doi:10.24432/C52P4X" in words
    assert all(name in words for name in NAMES)
    assert all("{:.2f} ± {:.2f}".format(*moments) in words for moments in MOMENTS.values())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_well_formed(name: str, folder: Path, figures: dict[str, Drawn]) -> None:
    root = ET.fromstring((folder / f"{name}.svg").read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    loaded = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
    assert all(address.startswith("#") for address in loaded)
    # A printed column is 3.5 inches wide, a page 7: text that is set at 7 points stays readable.
    assert float(str(root.get("width")).removesuffix("pt")) <= 7.2 * 72
    assert re.fullmatch(r"[A-Z].+\.", figures[name].shows)


def texts(figure: Drawn) -> list[str]:
    """What is written in a figure: matplotlib leaves each text as a comment."""
    return [unescape(text.strip()) for text in re.findall(r"<!--(.*?)-->", figure.svg, re.DOTALL)]


@pytest.mark.parametrize("name", COHORTS)
def test_a_patient_on_the_edge_of_two_bins_is_in_the_upper(name: CohortName) -> None:
    X = cohorts.load(name).X
    for attribute in NUMERIC:
        known = X[attribute].dropna().to_numpy()
        edges = eda_figures._edges(BY_NAME[attribute], known)
        assert edges[0] <= known.min() <= known.max() <= edges[-1]
        assert all(edge == float(f"{edge:.1f}") for edge in edges)


def test_an_axis_has_the_meaning_and_the_unit(figures: dict[str, Drawn]) -> None:
    written = " ".join(texts(figures["distributions"])).split()
    for name in NUMERIC:
        expected = f"{BY_NAME[name].meaning} ({BY_NAME[name].unit})"
        assert expected in " ".join(written)


def test_the_figures_are_of_the_patients_told(figures: dict[str, Drawn]) -> None:
    assert "n = 918" in texts(figures["balance"])
    assert "410 (44.7%)" in texts(figures["balance"])
    assert "115 of 123" in texts(figures["hospitals"])
    assert "reversible defect" in texts(figures["categories"])
    assert {"n = 717", "n = 309"} <= set(texts(figures["distributions"]))


def test_a_percentage_is_none_or_all_only_where_it_is(figures: dict[str, Drawn]) -> None:
    written = texts(figures["missing"])
    # Of 293 patients of hungarian one has no trestbps, of 199 of va one has a ca.
    assert {"0", "<1", "100", "66"} <= set(written)
    assert {"cleveland", "n = 303", "all", "n = 918"} <= set(written)
    rounded = [eda_sentences.percent(value) for value in (0, 0.3, 0.5, 1.2, 98.7, 99.5, 100)]
    assert rounded == ["0", "<1", "<1", "1", "99", ">99", "100"]


def test_the_sentences_are_computed_from_the_patients(figures: dict[str, Drawn]) -> None:
    shows = {name: figure.shows for name, figure in figures.items()}
    assert shows["balance"].startswith("Of 918 patients 508 have the disease, 55.3% [")
    assert "36.2% [30.9%, 41.8%] (hungarian)" in shows["hospitals"]
    assert "93.5% [87.7%, 96.7%] (switzerland)" in shows["hospitals"]
    assert "widest" not in shows["hospitals"]
    assert "Missing most often is ca, in 66.3% of all patients" in shows["missing"]
    assert "in chol, from 0.0% (cleveland) to 100.0% (switzerland)" in shows["missing"]


def test_a_median_is_told_on_the_side_where_it_is() -> None:
    X = pd.DataFrame({"age": [50, 60, 61.0], "chol": [200, 180, 190], "oldpeak": [1, 1, 1.0]})
    figure = eda_figures.distributions(X, np.array([0, 1, 1]))
    assert figure.shows == (
        "With disease the median is higher in age (60.5 against 50 years); "
        "lower in chol (185 against 200 mg/dl); equal in oldpeak (1)."
    )


def test_the_widest_range_is_named(summary: eda.Summary) -> None:
    few, many = (Share.of(np.repeat([1, 0], counts)) for counts in ((1, 9), (9, 1)))
    groups = {"sex": {"female": few, "male": few}, "exang": {"no_pain": few, "yes": many}}
    figure = eda_figures.forest("f", groups, pooled=summary.prevalence, title="t")
    assert figure.shows == (
        f"By exang the share with disease runs from {few} (no pain) to {many} (yes), "
        "the widest range of all."
    )


def test_the_strongest_correlation_may_be_negative() -> None:
    values = {("age", "chol"): 0.9, ("age", "disease"): -0.5, ("chol", "disease"): 0.4}
    pairs = [Correlation(first=a, second=b, rho=rho, n=9) for (a, b), rho in values.items()]
    told = "correlates most strongly with disease is age (\N{MINUS SIGN}0.50, n = 9)."
    assert eda_figures.correlations(pairs).shows.endswith(told)


def test_nothing_missing_is_told() -> None:
    complete = cohorts.load("cleveland", treatment="complete")
    assert eda_figures.missing(complete.X, complete.sites).shows == "No value is missing."


def test_the_command_writes_under_the_home_and_tells_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEART_HOME", str(tmp_path))
    assert eda.main([]) == 0
    printed = capsys.readouterr().out
    assert "cohort all: 918 patients, 410 without and 508 with disease, 55.3% [" in printed
    assert re.search(r"chol +29 +201 +199.11 ± 110.84 +246.87 ± 58.56", printed)
    assert f"page: {tmp_path / 'eda' / 'eda.html'}" in printed
    assert (tmp_path / "eda" / "eda.html").exists()


def test_json_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEART_HOME", str(tmp_path))
    assert eda.main(["--cohort", "cleveland", "--json"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == json.loads((tmp_path / "eda" / "summary.json").read_text())


def test_an_unknown_cohort_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEART_HOME", str(tmp_path))
    assert run_main(lambda: eda.main(["--cohort", "basel"])) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", 'error: cohort must be all or cleveland, got "basel"\n')
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_a_home_that_cannot_be_written_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "eda").write_text("a file")
    monkeypatch.setenv("HEART_HOME", str(tmp_path))
    assert run_main(lambda: eda.main([])) == 2
    assert re.fullmatch(r"error: .+ cannot be written: Not a directory\n", capsys.readouterr().err)


def test_an_unknown_option_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        eda.main(["--kohort", "all"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --kohort" in capsys.readouterr().err.splitlines()[-1]
