"""Where the patients come from and what is in the table, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from heart.attributes import NAMES
from heart.cohorts import (
    COHORTS,
    SHA256,
    TABLE,
    ZERO_IS_MISSING,
    Cohort,
    drop_duplicates,
    load,
    read_table,
)
from heart.download import Refresh

SOURCE = {
    "name": "UCI Heart Disease",
    "citation": "Janosi, Steinbrunn, Pfisterer, Detrano (1988)",
    "doi": "10.24432/C52P4X",
    "licence": "CC BY 4.0",
}


def show(refreshed: Refresh | None = None, *, as_json: bool = False) -> None:
    """Print the description, and what a refresh found; one line of JSON, or tables.

    Raises `DataError` where the bundled table is not what it is said to be.
    """
    description = describe()
    if as_json:
        outcome = {} if refreshed is None else {"refresh": refreshed.outcome}
        print(json.dumps(description | outcome, allow_nan=False))
        return
    if refreshed is not None:
        print(f"{refreshed.message}\n")
    _print_description(description, Console(highlight=False, markup=False))


def describe() -> dict[str, Any]:
    """Provenance, hospitals, cohorts and missing values of the bundled table, ready for JSON.

    Shares are fractions of the rows that they stand beside. Raises `DataError` like `load`.
    """
    table = read_table()
    return {
        "source": SOURCE,
        "table": {
            "path": str(TABLE),
            "sha256": SHA256,
            "verified": True,
            "rows": len(table),
            "duplicates": len(table) - len(drop_duplicates(table)),
        },
        "sites": [_describe_site(name, rows) for name, rows in table.groupby("site")],
        "cohorts": {name: _describe_cohort(load(name, treatment="raw")) for name in COHORTS},
    }


def _describe_site(name: Any, table: pd.DataFrame) -> dict[str, Any]:
    with_disease = int((table["num"] > 0).sum())
    return {
        "site": str(name),
        "rows": len(table),
        "with_disease": with_disease,
        "prevalence": with_disease / len(table),
    }


def _describe_cohort(cohort: Cohort) -> dict[str, Any]:
    empty = cohort.X.isna().sum()
    zero = (cohort.X[ZERO_IS_MISSING] == 0).sum()
    return {
        "rows": len(cohort),
        "complete_rows": int(cohort.X.notna().all(axis=1).sum()),
        "with_disease": int(cohort.y.sum()),
        "prevalence": float(cohort.y.mean()),
        "missing": {
            name: {"empty": int(empty[name]), "zero": int(zero.get(name, 0))} for name in NAMES
        },
    }


def _print_description(description: dict[str, Any], console: Console) -> None:
    source, table = description["source"], description["table"]
    console.print(f"{source['name']}: {source['citation']}", soft_wrap=True)
    console.print(f"doi:{source['doi']}, {source['licence']}", soft_wrap=True)
    console.print(
        f"{table['path']}: {table['rows']} rows, {table['duplicates']} of them exact duplicates",
        soft_wrap=True,
    )
    console.print(f"SHA-256 {table['sha256']}, verified\n", soft_wrap=True)
    _print_table(
        console,
        ["hospital", "rows", "with disease", "prevalence"],
        [
            [site["site"], site["rows"], site["with_disease"], f"{site['prevalence']:.1%}"]
            for site in description["sites"]
        ],
    )
    cohorts = description["cohorts"]
    _print_table(
        console,
        ["cohort", "rows", "complete", "with disease", "prevalence"],
        [
            [name, c["rows"], c["complete_rows"], c["with_disease"], f"{c['prevalence']:.1%}"]
            for name, c in cohorts.items()
        ],
    )
    _print_table(
        console,
        ["missing", *(f"{name}: {kind}" for name in cohorts for kind in ("empty", "zero"))],
        [
            [name, *(count for c in cohorts.values() for count in c["missing"][name].values())]
            for name in NAMES
        ],
    )


def _print_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A ruled table for a person at a terminal, plain columns for whatever reads a pipe."""
    table = Table(box=box.SIMPLE if console.is_terminal else None)
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table, "")
