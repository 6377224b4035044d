"""The tables of `bench_search.py`, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench_figures import Row, Seed
from checks import Check
from rich.console import Console
from rich.table import Table
from tables import markdown, of_checks

WIDTH: Final = 200


def show(rows: Sequence[Row], seeds: Sequence[Seed], checks: Sequence[Check]) -> None:
    """Print the tables, in Markdown."""
    console = Console(width=WIDTH, highlight=False)
    console.print(_times(rows))
    if seeds:
        console.print(_seeds(seeds))
    if checks:
        console.print(of_checks(checks))


def _times(rows: Sequence[Row]) -> Table:
    table = markdown(
        "", "program", "seconds", "to GridSearchCV", "to this", "CPU s", "driver MB", "fitting",
        "ms a trial", "trials/s", "best ROC-AUC", "same winner",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.workload,
            row.program,
            f"{row.wall_seconds:.1f}",
            _optional(row.ratio_to_grid_search_cv, ".2f"),
            _optional(row.ratio_to_this, ".2f"),
            f"{row.cpu_seconds:.1f}",
            f"{row.driver_peak_mb:.0f}",
            f"{row.fitting_share:.0%}",
            f"{row.overhead_ms_per_trial:.0f}",
            f"{row.trials_per_second:.2f}",
            f"{row.best_roc_auc:.6f}",
            {None: "", True: "yes", False: "NO"}[row.same_winner],
        )
    return table


def _seeds(seeds: Sequence[Seed]) -> Table:
    table = markdown("seed", "every fold: ROC-AUC", "ASHA: ROC-AUC", "lost", "fit seconds, share")
    for seed in seeds:
        table.add_row(
            str(seed.seed),
            f"{seed.exhaustive_roc_auc:.4f}",
            f"{seed.asha_roc_auc:.4f}",
            f"{seed.lost:.4f}",
            f"{seed.share:.2f}",
        )
    return table


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
