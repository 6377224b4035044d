"""The search against other ways to do the same: the same candidates, folds and machine.

``python scripts/bench_search.py`` runs each program as a whole process, one after the other,
start-up included, and prints a table of times and ratios; the figures go to a JSON file after
each measurement, so that a run which is cut off keeps what it has. The programs:

- ``grid-search-cv``: scikit-learn's GridSearchCV(n_jobs=-1)
- ``optuna``: an Optuna loop with n_jobs, in threads as Optuna has them
- ``ray-tune``: plain Ray Tune with MLflowLoggerCallback, up to 100 candidates
- ``this``: ``python -m tune.search`` with every fold of every candidate
- ``this-asha``: the same with early stopping

Of the rivals the time of a fit includes the preprocessing in the pipeline, which this search
does once for all candidates and does not count. Linux alone: usage is read from /proc.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench_figures import (
    LIMITS,
    SCHEDULERS,
    Failure,
    Measurement,
    Row,
    Seed,
    check,
    compare_seeds,
    summarise,
)
from bench_options import numbers_of, parser, programs_of, sizes_of
from bench_tables import show
from bench_workloads import Workload
from checks import Check
from machine import cores, machine, say
from processes import ProgramError, Usage, adopt_orphans, run_process
from pydantic import BaseModel
from rivals import RIVALS, Answer, Entry, Work

from heart.errors import run_main
from heart.files import write_json
from heart.settings import Settings, keep_private
from tune import search
from tune.journal import Journal
from tune.plan import Plan

INTERRUPTED_EXIT: Final = 130


def ours(arguments: Sequence[str]) -> int:
    """Search on a resampled table, in this process; the exit code."""
    rows, number, seed, scheduler = arguments
    workload = Workload("tall", "default", int(number), int(seed), rows=int(rows))
    options = workload.options(scheduler)
    search.run(options, Settings.from_environment(), plan=workload.plan(scheduler))
    return 0


def measure(workload: Workload, program: str, *, run: int, timeout: float) -> Measurement:
    """Run one program on one workload; raises `ProgramError`."""
    load = os.getloadavg()[0]
    plan = workload.plan()
    with _temporary_folder() as folder:
        if program in RIVALS:
            usage, answer = _run_rival(plan, program, folder, timeout)
        else:
            usage, answer = _run_ours(workload, plan, program, folder, timeout)
    if not answer.means:
        raise ProgramError("no candidate was fitted on every fold")
    trials = len(plan.candidates)
    span = answer.last_fit - answer.first_fit
    core_seconds = span * cores()
    best = max(answer.means, key=lambda name: answer.means[name])
    return Measurement(
        **asdict(usage),
        workload=workload.name,
        program=program,
        run=run,
        trials=trials,
        stopped=answer.stopped,
        failed=trials - answer.stopped - len(answer.means),
        span_seconds=span,
        fit_seconds=answer.fit_seconds,
        fitting_share=answer.fit_seconds / core_seconds,
        score_seconds=answer.score_seconds,
        overhead_ms_per_trial=(core_seconds - answer.fit_seconds - answer.score_seconds)
        / trials
        * 1000,
        trials_per_second=trials / usage.wall_seconds,
        best=best,
        best_roc_auc=answer.means[best],
        test_roc_auc=answer.test_roc_auc,
        load_before=load,
        means=answer.means,
    )


def _run_rival(plan: Plan, program: str, folder: Path, timeout: float) -> tuple[Usage, Answer]:
    work, answer = folder / "work.pickle", folder / "answer.json"
    work.write_bytes(pickle.dumps(_work(plan)))
    script = Path(__file__).with_name("rivals.py")
    usage = run_process(
        [sys.executable, str(script), program, str(work), str(answer)],
        folder=folder,
        timeout=timeout,
    )
    return usage, Answer(**json.loads(answer.read_text()))


def _run_ours(
    workload: Workload, plan: Plan, program: str, folder: Path, timeout: float
) -> tuple[Usage, Answer]:
    usage = run_process(_command(workload, SCHEDULERS[program]), folder=folder, timeout=timeout)
    (found,) = (folder / "artifacts" / "search").iterdir()
    _, records = Journal(found).read()
    if {r.candidate.id for r in records} != {candidate.id for candidate in plan.candidates}:
        raise ProgramError("other candidates than given; was the code changed meanwhile?")
    folds = [fold for record in records for fold in record.folds]
    result = json.loads((found / "result.json").read_text())
    return usage, Answer(
        means={r.candidate.id: r.mean for r in records if r.status == "finished"},
        first_fit=min(fold.started for fold in folds),
        last_fit=max(fold.started + fold.fit_seconds for fold in folds),
        fit_seconds=sum(fold.fit_seconds for fold in folds),
        score_seconds=sum(fold.score_seconds for fold in folds),
        test_roc_auc=result["test"]["roc_auc"]["value"],
        stopped=sum(record.status == "stopped" for record in records),
    )


def _command(workload: Workload, scheduler: str) -> list[str]:
    if workload.rows is not None:
        numbers = (workload.rows, workload.number, workload.seed)
        return [
            sys.executable,
            str(Path(__file__).resolve()),
            "ours",
            *map(str, numbers),
            scheduler,
        ]
    options = workload.options(scheduler)
    command = [sys.executable, "-m", "tune.search", "--no-register", "--json"]
    for name in ("space", "num_samples", "algorithm", "scheduler", "seed"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return command


def _work(plan: Plan) -> Work:
    return Work(
        X=plan.train.X,
        y=plan.train.y,
        X_test=plan.test.X,
        y_test=plan.test.y,
        folds=plan.data.folds,
        preprocessing=plan.space.preprocessing,
        seed=plan.options.seed,
        entries=tuple(Entry(c.id, c.family, dict(c.params)) for c in plan.candidates),
        cores=cores(),
    )


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="bench-search-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Bench:
    """A benchmark under way: what has been measured, and the file that keeps it."""

    out: Path
    given: Mapping[str, Any]
    timeout: float
    seeds: Sequence[Workload]
    measurements: list[Measurement] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def warm_up(self, programs: Sequence[str]) -> None:
        """Run everything once, unmeasured: bytecode compiled, files in the page cache."""
        for program in programs:
            self._attempt(Workload("warm-up", "default", 2, 42), program, run=0)
        self.measurements.clear()
        self.failures.clear()

    def measure(self, workload: Workload, programs: Sequence[str], *, runs: int) -> None:
        """Every program in turn, in alternating order, as often as asked."""
        programs = [p for p in programs if workload.number <= LIMITS.get(p, workload.number)]
        for run in range(runs):
            for program in programs if run % 2 == 0 else reversed(programs):
                self._attempt(workload, program, run=run)
                self.write(complete=False)

    def write(self, *, complete: bool) -> tuple[list[Row], list[Seed], list[Check]]:
        """Write what there is so far."""
        rows = summarise(self.measurements)
        seeds = compare_seeds(self.seeds, rows)
        checks = check(rows, seeds)
        parts: dict[str, Sequence[BaseModel]] = {
            "table": rows,
            "seeds": seeds,
            "checks": checks,
            "failures": self.failures,
            "measurements": self.measurements,
        }
        content = {"complete": complete, "machine": machine(), "options": dict(self.given)}
        write_json(self.out, content | {name: _dumped(part) for name, part in parts.items()})
        return rows, seeds, checks

    def _attempt(self, workload: Workload, program: str, *, run: int) -> None:
        say(f"{workload.name}: {program}, run {run + 1} ...")
        try:
            found = measure(workload, program, run=run, timeout=self.timeout)
        except ProgramError as error:
            say(f"  failed: {error}")
            self.failures.append(
                Failure(workload=workload.name, program=program, run=run, message=str(error))
            )
        else:
            say(f"  {found.wall_seconds:.1f} s, {found.fitting_share:.0%} of it fitting")
            self.measurements.append(found)


def _dumped(part: Sequence[BaseModel]) -> list[dict[str, Any]]:
    return [model.model_dump(mode="json") for model in part]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; exit code 1 where a program failed."""
    keep_private()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["ours"]:
        return ours(arguments[1:])
    given = parser().parse_args(arguments)
    programs, sizes = programs_of(given.rivals), sizes_of(given.sizes, given.seed)
    tall = [
        Workload(f"{rows} rows", "default", given.row_candidates, given.seed, rows=rows)
        for rows in numbers_of("--rows", given.rows)
    ]
    seeds = [
        Workload(f"seed {seed}", "default", given.seed_candidates, seed)
        for seed in range(given.seed, given.seed + given.seeds)
    ]
    options = {name: value for name, value in vars(given).items() if name != "out"}
    bench = Bench(given.out, options, given.timeout, seeds)
    todo = [(workload, programs) for workload in sizes + tall]
    todo += [(workload, [p for p in programs if p in SCHEDULERS]) for workload in seeds]
    return _run(bench, todo, runs=given.runs, warm_up=[] if given.no_warm_up else programs)


def _run(
    bench: Bench,
    todo: Sequence[tuple[Workload, Sequence[str]]],
    *,
    runs: int,
    warm_up: Sequence[str],
) -> int:
    adopt_orphans()
    try:
        bench.warm_up(warm_up)
        for workload, programs in todo:
            bench.measure(workload, programs, runs=runs)
    except KeyboardInterrupt:
        show(*bench.write(complete=False))
        return INTERRUPTED_EXIT
    show(*bench.write(complete=True))
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(run_main(main))
