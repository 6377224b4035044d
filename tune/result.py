"""What a search found, as ``result.json`` and ``--json`` tell it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from heart import lineage
from heart.evaluation import Interval
from heart.gates import Gate
from tune.leaderboard import RULES, Entry
from tune.plan import Plan

if TYPE_CHECKING:
    from tune.promotion import Decision
    from tune.winner import Winner


WIDTH: Final = 160


class WinnerResult(BaseModel):
    """The chosen candidate."""

    model_config = ConfigDict(frozen=True)

    family: str
    params: dict[str, Any]
    candidate: str
    rule: str
    parity: float | None
    passed_over: tuple[str, ...]


class Trials(BaseModel):
    """How the trials ended; ``unwritten`` ones are in the journal and not in MLflow."""

    model_config = ConfigDict(frozen=True)

    planned: int
    finished: int
    stopped: int
    failed: int
    unwritten: int


class Result(BaseModel):
    """One search. ``tracked`` says whether MLflow has all of it."""

    model_config = ConfigDict(frozen=True)

    run: str
    run_id: str
    ending: str
    tracked: bool
    cohort: str
    space: str
    algorithm: str
    scheduler: str
    rows: dict[str, int]
    checksums: dict[str, str]
    code_version: str
    seed: int
    split_seed: int
    winner: WinnerResult
    cv: dict[str, Interval]
    cv_deviation: dict[str, float]
    test: dict[str, Interval]
    trials: Trials
    wall_seconds: float
    fit_seconds: float
    model_version: str | None
    champion: bool
    reason: str
    gates: tuple[Gate, ...]


def make_result(
    plan: Plan,
    board: Sequence[Entry],
    won: Winner,
    decision: Decision,
    *,
    run: str,
    run_id: str,
    ending: str,
    unwritten: int,
    wall_seconds: float,
) -> Result:
    """All that is told of a search."""
    by_status = [entry.record.status for entry in board]
    folds = won.entry.record.folds
    return Result(
        run=run,
        run_id=run_id,
        ending=ending,
        tracked=unwritten == 0 and bool(run_id) and not decision.postponed,
        cohort=plan.cohort,
        space=plan.space.name,
        algorithm=plan.algorithm,
        scheduler=plan.scheduler,
        rows={"train": len(plan.train), "test": len(plan.test)},
        checksums={"data": plan.train.sha256, "code": lineage.code_sha256()},
        code_version=lineage.code_version(),
        seed=plan.options.seed,
        split_seed=plan.options.split_seed,
        winner=_winner(plan, won),
        cv=won.cv,
        cv_deviation={
            name: float(np.std([fold.scores[name] for fold in folds])) for name in won.cv
        },
        test=won.test,
        trials=Trials(
            planned=plan.number,
            finished=by_status.count("finished"),
            stopped=by_status.count("stopped"),
            failed=by_status.count("failed"),
            unwritten=unwritten,
        ),
        wall_seconds=wall_seconds,
        fit_seconds=sum(entry.record.fit_seconds for entry in board),
        model_version=decision.version,
        champion=decision.champion,
        reason=decision.reason,
        gates=decision.gates,
    )


def metrics(result: Result) -> dict[str, float]:
    """What the parent run in MLflow shows."""
    cv = {f"cv_{name}": interval.value for name, interval in result.cv.items()}
    test = {f"test_{name}": interval.value for name, interval in result.test.items()}
    return cv | test | {"wall_seconds": result.wall_seconds, "fit_seconds": result.fit_seconds}


def print_summary(result: Result, folder: Path) -> None:
    """The result for people."""
    table = Table("score", "cross-validation", f"test ({result.rows['test']} rows)", box=None)
    for name, interval in result.test.items():
        table.add_row(name, str(result.cv.get(name, "")), str(interval))
    kept = f"version {result.model_version}" if result.model_version else "no version"
    standing = "champion" if result.champion else "not champion"
    # In a file or a pipe a table is not broken to fit a screen.
    width = None if sys.stdout.isatty() else WIDTH
    console = Console(highlight=False, soft_wrap=True, markup=False, width=width)
    console.print(f"winner: {result.winner.family} {result.winner.params}")
    console.print(table)
    if result.gates:
        console.print(gate_table(result.gates))
    console.print(f"{kept}, {standing}: {result.reason}")
    console.print(f"report: {folder / 'report.html'}")
    if not result.tracked:
        console.print(
            f"MLflow did not answer: {result.trials.unwritten} trials are in the journal alone; "
            f"`python -m tune.search --resume {result.run}` writes them"
        )


def gate_table(gates: Sequence[Gate]) -> Table:
    """The gates as a table: the rule, what was found, the verdict."""
    table = Table("gate", "rule", "found", "verdict", box=None)
    for gate in gates:
        table.add_row(gate.name, gate.rule, gate.found, "passed" if gate.passed else "FAILED")
    return table


def _winner(plan: Plan, won: Winner) -> WinnerResult:
    record = won.entry.record
    return WinnerResult(
        family=record.family,
        params=record.params,
        candidate=record.candidate.id,
        rule=RULES[plan.options.select],
        parity=won.parity,
        passed_over=won.passed_over,
    )
