"""Tables in Markdown, as the scripts print them and the docs have them."""

from __future__ import annotations

from collections.abc import Sequence

from checks import Check
from rich import box
from rich.table import Column, Table


def markdown(*columns: str) -> Table:
    """An empty table; no column is folded."""
    return Table(*(Column(name, no_wrap=True) for name in columns), box=box.MARKDOWN)


def of_checks(checks: Sequence[Check]) -> Table:
    """What must show, with whether it does."""
    table = markdown("what must show on two cores", "found", "bound", "holds")
    for one in checks:
        bound = f"{one.must_be} {one.bound:g}"
        table.add_row(one.what, f"{one.found:.4g}", bound, "yes" if one.holds else "NO")
    return table
