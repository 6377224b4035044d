"""Who the patients are, in numbers and figures, before any model sees them.

``python -m heart.eda`` writes the figures, ``summary.json`` and one page, ``eda.html``, which
needs no other file, to ``eda/`` under HEART_HOME.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict
from rich import box
from rich.console import Console
from rich.table import Column, Table

from heart import cohorts, eda_figures
from heart.attributes import ATTRIBUTES, BY_NAME, CATEGORICAL, NAMES, NUMERIC
from heart.cohorts import COHORTS, Cohort, CohortName, without_zeros
from heart.eda_figures import Drawn
from heart.eda_sentences import CLASSES, Correlation, Share
from heart.errors import DataError, run_main
from heart.evaluation import Labels
from heart.files import write_json, write_whole
from heart.provenance import SOURCE
from heart.settings import Settings


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Moments(_Frozen):
    """Of n known values, in the attribute's unit; sd is the sample's. None where undefined."""

    n: int
    mean: float | None
    sd: float | None
    median: float | None

    def __str__(self) -> str:
        if self.mean is None:
            return ""
        return f"{self.mean:.2f}" + ("" if self.sd is None else f" ± {self.sd:.2f}")


class Numeric(_Frozen):
    """A numeric attribute as the table has it, and by class with the zeros missing."""

    raw: Moments
    clean: Moments
    without_disease: Moments
    with_disease: Moments


class Missing(_Frozen):
    """Patients without a value: as the table has it, and with the zeros missing, by hospital."""

    raw: int
    clean: int
    by_site: dict[str, int]


class Summary(_Frozen):
    """A cohort in numbers; ``shares`` are those with disease by attribute and word."""

    cohort: CohortName
    table_sha256: str
    rows: int
    without_disease: int
    with_disease: int
    prevalence: Share
    sites: dict[str, Share]
    missing: dict[str, Missing]
    numeric: dict[str, Numeric]
    shares: dict[str, dict[str, Share]]
    correlations: tuple[Correlation, ...]


def summarise(cohort: Cohort) -> Summary:
    """The numbers of a cohort that was loaded with ``treatment="raw"``.

    Where nothing else is said they are those with the zeros that mean missing taken as such.
    Raises `DataError` for a cohort without patients, or with patients of one class alone.
    """
    if len(np.unique(cohort.y)) < 2:
        raise DataError(
            f"cohort {cohort.name} has {int((cohort.y == 0).sum())} patients without and "
            f"{int((cohort.y == 1).sum())} with disease: an analysis by class needs both",
            field="cohort",
        )
    clean = without_zeros(cohort.X)
    prevalence = Share.of(cohort.y)
    return Summary(
        cohort=cohort.name,
        table_sha256=cohort.sha256,
        rows=len(cohort),
        without_disease=len(cohort) - prevalence.with_disease,
        with_disease=prevalence.with_disease,
        prevalence=prevalence,
        sites={str(s): Share.of(cohort.y[cohort.sites == s]) for s in np.unique(cohort.sites)},
        missing={name: _missing(cohort, clean, name) for name in NAMES},
        numeric={name: _numeric(cohort, clean, name) for name in NUMERIC},
        shares={name: _shares(clean[name], cohort.y) for name in CATEGORICAL},
        correlations=_correlations(clean, cohort.y),
    )


def draw(cohort: Cohort, summary: Summary) -> tuple[Drawn, ...]:
    """The figures of a cohort that was loaded with ``treatment="raw"``, in reading order."""
    clean, pooled = without_zeros(cohort.X), summary.prevalence
    return (
        eda_figures.balance(cohort.y),
        eda_figures.forest(
            "hospitals", {"hospital": summary.sites}, pooled=pooled, title="Disease by hospital"
        ),
        eda_figures.distributions(clean[list(NUMERIC)], cohort.y),
        eda_figures.forest(
            "categories", summary.shares, pooled=pooled, title="Disease by category"
        ),
        eda_figures.missing(clean, cohort.sites),
        eda_figures.correlations(summary.correlations),
    )


def page(summary: Summary, figures: Sequence[Drawn]) -> str:
    """Figures and numbers as one HTML page that loads nothing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("heart", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    images = [(f, base64.b64encode(f.svg.encode()).decode()) for f in figures]
    return environment.get_template("eda.html").render(
        summary=summary, images=images, attributes=ATTRIBUTES, source=SOURCE
    )


def write(cohort: Cohort, folder: Path) -> Summary:
    """Write figures, ``summary.json`` and ``eda.html``, the same bytes for the same patients.

    Raises `DataError` like `summarise`, `StorageError` where the folder cannot be written.
    """
    summary = summarise(cohort)
    figures = draw(cohort, summary)
    for figure in figures:
        write_whole(folder / f"{figure.name}.svg", figure.svg.encode())
    write_json(folder / "summary.json", summary.model_dump(mode="json"))
    write_whole(folder / "eda.html", page(summary, figures).encode())
    return summary


def _missing(cohort: Cohort, clean: pd.DataFrame, name: str) -> Missing:
    absent = clean[name].isna()
    by_site = absent.groupby(cohort.sites).sum()
    return Missing(
        raw=int(cohort.X[name].isna().sum()),
        clean=int(absent.sum()),
        by_site={str(site): int(count) for site, count in by_site.items()},
    )


def _numeric(cohort: Cohort, clean: pd.DataFrame, name: str) -> Numeric:
    return Numeric(
        raw=_moments(cohort.X[name]),
        clean=_moments(clean[name]),
        without_disease=_moments(clean[name][cohort.y == 0]),
        with_disease=_moments(clean[name][cohort.y == 1]),
    )


def _moments(values: pd.Series[float]) -> Moments:
    found = {"mean": values.mean(), "sd": values.std(ddof=1), "median": values.median()}
    return Moments(
        n=int(values.count()), **{name: _defined(value) for name, value in found.items()}
    )


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _shares(values: pd.Series[float], y: Labels) -> dict[str, Share]:
    """The share with disease of each word that some patient has."""
    words = BY_NAME[str(values.name)].words
    having = {word: y[values.to_numpy() == code] for code, word in words.items()}
    return {word: Share.of(labels) for word, labels in having.items() if len(labels)}


def _correlations(clean: pd.DataFrame, y: Labels) -> tuple[Correlation, ...]:
    """Of each pair of numeric attributes, and of each with the class, ties at their mean rank."""
    table = clean[list(NUMERIC)].assign(**{CLASSES[1]: y})
    known = table.notna().to_numpy().astype(int)
    rho, n = table.corr(method="spearman").to_numpy(), known.T @ known
    return tuple(
        Correlation(first=first, second=second, rho=_defined(rho[i, j]), n=n[i, j])
        for (i, first), (j, second) in combinations(enumerate((*NUMERIC, CLASSES[1])), 2)
    )


def _print(summary: Summary, path: Path) -> None:
    """The summary for people: the hospitals, the attributes, where the page is."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"cohort {summary.cohort}: {summary.rows} patients, {summary.without_disease} without "
        f"and {summary.with_disease} with disease, {summary.prevalence}"
    )
    style = box.SIMPLE if console.is_terminal else None
    hospitals = Table("hospital", *_right("patients", "with disease, 95% interval"), box=style)
    for site, share in summary.sites.items():
        hospitals.add_row(site, str(share.n), str(share))
    names = _right("missing", "and zeros", "mean ± sd", "without zeros")
    attributes = Table("attribute", *names, box=style)
    for name, missing in summary.missing.items():
        numeric = summary.numeric.get(name)
        moments = [str(m) for m in (numeric.raw, numeric.clean)] if numeric else []
        attributes.add_row(name, str(missing.raw), str(missing.clean), *moments)
    console.print(hospitals)
    console.print(attributes)
    console.print(f"page: {path}")


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right", no_wrap=True) for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Analyse a cohort from the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m heart.eda", description="The patients in numbers and figures."
    )
    # Without choices: the cohort's own error is one line.
    parser.add_argument(
        "--cohort", default="all", metavar="|".join(COHORTS), help="patients; default: all"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as one line")
    options = parser.parse_args(arguments)
    folder = Settings.from_environment().home.resolve() / "eda"
    summary = write(cohorts.load(options.cohort, treatment="raw"), folder)
    if options.json:
        print(summary.model_dump_json())
    else:
        _print(summary, folder / "eda.html")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
