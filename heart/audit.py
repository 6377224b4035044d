"""What is wrong with a table of patients: duplicates, coding, impossible values, leaks.

``python -m heart.audit FILE`` audits a CSV with UCI's 13 attributes and a target named
``target``, ``condition``, ``HeartDisease`` or ``num``; a column ``site`` or ``dataset`` names
the hospital. ``--test FILE2`` audits a second table and looks for patients who are in both. The
exit code is 0, or 1 where a finding is serious, or 2 where a table cannot be audited. Nothing
that is printed contains a patient's value: findings name rules, rows and counts.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, computed_field
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from heart import audit_coding
from heart.audit_checks import classes, leaks, missingness, values
from heart.audit_duplicates import across, overlap, within
from heart.audit_table import Finding, Part, Patients, TableCoding, parse
from heart.errors import DataError, run_main

CHECKS = (values, classes, within, missingness, leaks, overlap)


class Report(BaseModel):
    """The findings on a table of ``n_rows`` rows, serious ones first.

    ``coding`` and ``inverted`` are how the table was read: in whose codes, and whether with 0
    for disease.
    """

    model_config = ConfigDict(frozen=True)

    n_rows: int
    coding: TableCoding
    inverted: bool
    findings: tuple[Finding, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def serious(self) -> bool:
        """Whether any finding is."""
        return any(finding.severity == "serious" for finding in self.findings)


def audit(table: pd.DataFrame, *, test: pd.DataFrame | None = None) -> Report:
    """Audit a table, and a table to test on with the patients the two share.

    Columns are named as in the module's description; cells are numbers or the words of
    `heart.attributes`. Raises `DataError` where an attribute or the target has no column, or no
    row has a label.
    """
    patients, reading, findings = _examine(table, "file")
    if test is not None:
        tested, _, found = _examine(test, "test")
        findings += found + across(patients, tested)
    return Report(
        n_rows=len(patients),
        coding=reading.coding,
        inverted=reading.inverted,
        findings=tuple(sorted(findings, key=lambda finding: finding.severity != "serious")),
    )


def read(path: Path) -> pd.DataFrame:
    """A CSV file as it is; raises `DataError` where it is none, or cannot be read."""
    try:
        table = pd.read_csv(io.BytesIO(path.read_bytes()), low_memory=False)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", field=str(path)
        ) from error
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is no CSV table: {reason}", field=str(path)) from error
    # Where rows have more cells than the header, pandas shifts the columns without a word.
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(f"{path} has rows with more cells than its header", field=str(path))
    return table


def show(report: Report) -> None:
    """Print a report for people."""
    console = Console(highlight=False, markup=False)
    target = "inverted" if report.inverted else "as it stands"
    console.print(f"{report.n_rows} rows, read in the coding {report.coding}, target {target}\n")
    table = RichTable(box=box.SIMPLE if console.is_terminal else None)
    for name in ("severity", "table", "finding", "what was found, and the rule"):
        table.add_column(name, max_width=20 if name == "finding" else None)
    for finding in report.findings:
        table.add_row(
            finding.severity, finding.table, finding.name, _explained(finding), end_section=True
        )
    console.print(table if report.findings else "nothing found")


def _explained(finding: Finding) -> str:
    """What was found, where, and against which rule."""
    shown = ", ".join(str(row) for row in finding.rows)
    more = ", …" if len(finding.rows) < finding.n_rows else ""
    where = [f"{'row' if finding.n_rows == 1 else 'rows'} {shown}{more}"] if shown else []
    return "\n".join([finding.found, *where, f"rule: {finding.rule}"])


def _examine(
    frame: pd.DataFrame, part: Part
) -> tuple[Patients, audit_coding.Reading, list[Finding]]:
    """Read a table, in the coding it is in, and check what concerns it alone."""
    table = parse(frame, part)
    judgement = audit_coding.judge(table)
    reading = judgement.reading
    patients = Patients(
        table=table,
        X=table.in_uci(reading.coding),
        y=np.asarray(1 - table.label if reading.inverted else table.label),
        part=part,
    )
    findings = audit_coding.findings(table, judgement, part)
    for check in CHECKS:
        findings += check(patients)
    return patients, reading, findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit a file, and print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m heart.audit", description="What is wrong with a table of patients."
    )
    parser.add_argument("file", type=Path, help="a CSV of patients, UCI's attributes and a target")
    parser.add_argument("--test", type=Path, metavar="FILE2", help="a CSV of patients to test on")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args(arguments)
    test = None if options.test is None else read(options.test)
    report = audit(read(options.file), test=test)
    if options.json:
        print(report.model_dump_json())
    else:
        show(report)
    return 1 if report.serious else 0


if __name__ == "__main__":
    sys.exit(run_main(main))
