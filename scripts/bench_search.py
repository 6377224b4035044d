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

import argparse
import ctypes
import json
import os
import pickle
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rivals import RIVALS, Answer, Entry, Work

from heart import lineage
from heart.attributes import CATEGORICAL, NUMERIC
from heart.cohorts import Cohort
from heart.errors import UsageError, run_main
from heart.files import write_json
from heart.settings import Settings, keep_private
from tune import search
from tune.candidates import sample
from tune.journal import Journal
from tune.options import Options
from tune.plan import Plan, make_plan
from tune.spaces import Choice, FamilySpace, Integer, LogUniform, Space
from tune.trial import Folds, make_folds

SCHEDULERS: Final[Mapping[str, str]] = {"this": "none", "this-asha": "asha"}
PROGRAMS: Final = (*RIVALS, *SCHEDULERS)
BASELINE: Final = "grid-search-cv"
EXHAUSTIVE: Final = tuple(program for program in PROGRAMS if program != "this-asha")
LIMITS: Final[Mapping[str, int]] = {"ray-tune": 100}
"""The most candidates that a program is given: plain Ray Tune takes seconds for each."""
REFERENCE_CANDIDATES: Final = 31
NUMERIC_NOISE: Final = 0.1
CODE_NOISE: Final = 0.05
SAME: Final = 1e-9
SAMPLE_EVERY_S: Final = 0.5
LEAVE_S: Final = 15.0
"""How long what a program leaves behind may run on: Ray's processes take a second."""
WIDTH: Final = 200
PR_SET_CHILD_SUBREAPER: Final = 36
INTERRUPTED_EXIT: Final = 130

TALL: Final = Space(
    name="tall",
    families=(
        FamilySpace(
            "logistic_regression",
            {"C": LogUniform(0.003, 3.0), "solver": "lbfgs", "max_iter": 1000},
        ),
        FamilySpace(
            "random_forest",
            {
                "n_estimators": 100,
                "max_depth": Choice((4, 6, 8)),
                "max_features": Choice(("sqrt", 0.3)),
                "min_samples_leaf": Integer(1, 20),
            },
        ),
    ),
)
"""Two families within the default ranges; l2 alone, since saga takes minutes on 100,000 rows."""


@dataclass(frozen=True)
class Workload:
    """What all programs are given: candidates, and rows where the table is resampled."""

    name: str
    space: str
    number: int
    seed: int
    rows: int | None = None

    def options(self, scheduler: str = "none") -> Options:
        """The same as options of the search."""
        return Options(
            space=self.space,
            num_samples=self.number,
            algorithm="grid" if self.space == "reference" else "random",
            scheduler=scheduler,
            seed=self.seed,
            register_model=False,
        )

    def plan(self, scheduler: str = "none") -> Plan:
        """The rows, folds and candidates."""
        plan = make_plan(self.options(scheduler))
        return plan if self.rows is None else tall_plan(plan, rows=self.rows)


@dataclass(frozen=True)
class Usage:
    """What a process and all it started took."""

    wall_seconds: float
    cpu_seconds: float
    driver_peak_mb: float


class Figures(BaseModel):
    """What is measured.

    ``span_seconds`` are those between the start of the first fit and the end of the last,
    ``fitting_share`` the share of the cores' time in it that was spent in fits. The overhead
    is what is left of it, a trial, after fits and, where the program tells their time
    (``score_seconds``), the predictions of the rows left out: those belong to the work.
    ``trials_per_second`` counts the whole process.
    """

    model_config = ConfigDict(frozen=True)

    wall_seconds: float
    cpu_seconds: float
    driver_peak_mb: float
    span_seconds: float
    fit_seconds: float
    score_seconds: float
    fitting_share: float
    overhead_ms_per_trial: float
    trials_per_second: float
    best_roc_auc: float
    test_roc_auc: float
    load_before: float


class Measurement(Figures):
    """One program on one workload, once; ``best`` is the id of its best candidate."""

    workload: str
    program: str
    run: int
    trials: int
    stopped: int
    failed: int
    best: str
    means: dict[str, float] = Field(exclude=True)


class Row(Figures):
    """The medians of a program's runs on a workload, beside those of the others.

    The winner and the candidates' means are compared with those of the first program that
    ran all folds; None for that one, and for the winner of a search with early stopping.
    """

    workload: str
    program: str
    runs: int
    trials: int
    stopped: int
    failed: int
    ratio_to_grid_search_cv: float | None
    ratio_to_this: float | None
    same_winner: bool | None
    largest_difference: float | None


class Seed(BaseModel):
    """Early stopping against every fold, with one seed."""

    model_config = ConfigDict(frozen=True)

    seed: int
    exhaustive_roc_auc: float
    asha_roc_auc: float
    exhaustive_fit_seconds: float
    asha_fit_seconds: float

    @property
    def lost(self) -> float:
        """By how much the exhaustive winner is better."""
        return self.exhaustive_roc_auc - self.asha_roc_auc

    @property
    def share(self) -> float:
        """The share of the exhaustive search's fit seconds."""
        return self.asha_fit_seconds / self.exhaustive_fit_seconds


class Check(BaseModel):
    """Something that must show: a figure and its bound."""

    model_config = ConfigDict(frozen=True)

    what: str
    found: float
    must_be: Literal["at most", "at least"]
    bound: float
    holds: bool


class Failure(BaseModel):
    """A measurement that came to nothing."""

    model_config = ConfigDict(frozen=True)

    workload: str
    program: str
    run: int
    message: str


class ProgramError(Exception):
    """A measured program failed or took too long."""


def tall_plan(plan: Plan, *, rows: int) -> Plan:
    """A plan on a table of that many rows to train on, with the candidates of `TALL`."""
    options = plan.options
    train = resample(plan.train, rows=rows, seed=options.seed)
    folds = make_folds(train.y, folds=options.folds, repeats=options.repeats, seed=options.seed)
    return replace(
        plan,
        space=TALL,
        train=train,
        data=Folds(train.X, train.y, folds, TALL.preprocessing, options.seed),
        candidates=tuple(sample(TALL, number=options.num_samples, seed=options.seed)),
    )


def resample(cohort: Cohort, *, rows: int, seed: int) -> Cohort:
    """Patients drawn with replacement, their numbers jittered and some of their codes swapped.

    A table to measure time with, not to learn from.
    """
    rng = np.random.default_rng(seed)
    drawn = cohort.take(rng.integers(len(cohort), size=rows))
    X = drawn.X.copy()
    for name in NUMERIC:
        X[name] += rng.normal(scale=NUMERIC_NOISE * float(X[name].std()), size=rows)
    for name in CATEGORICAL:
        other = X[name].to_numpy()[rng.permutation(rows)]
        X[name] = X[name].where(rng.random(rows) >= CODE_NOISE, other)
    return replace(drawn, X=X)


def ours(arguments: Sequence[str]) -> int:
    """Search on a resampled table, in this process; the exit code."""
    rows, number, seed, scheduler = arguments
    workload = Workload("tall", "default", int(number), int(seed), rows=int(rows))
    options = workload.options(scheduler)
    search.run(options, Settings.from_environment(), plan=workload.plan(scheduler))
    return 0


def run_process(command: Sequence[str], *, folder: Path, timeout: float) -> Usage:
    """Run a program to its end with all it starts; raises `ProgramError`."""
    log = folder / "log"
    before = _children_cpu()
    with log.open("wb") as out:
        clock = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watch = Watch(process.pid, timeout)
        watch.start()
        try:
            code = process.wait()
            wall = time.perf_counter() - clock
        finally:
            watch.end()
            end_descendants(patience=LEAVE_S if process.returncode == 0 else 0)
            process.wait()
    if code != 0:
        why = f"no end after {timeout:g} s" if watch.too_late else f"exit code {code}"
        raise ProgramError(f"{why}: {_tail(log)}")
    cpu = max(_children_cpu() - before, watch.cpu_seconds)
    return Usage(wall_seconds=wall, cpu_seconds=cpu, driver_peak_mb=watch.peak_mb)


class Watch(threading.Thread):
    """Looks at a process and its descendants now and then, and kills it when its time is up."""

    def __init__(self, pid: int, timeout: float) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self.too_late = False
        self._pid = pid
        self._deadline = time.monotonic() + timeout
        self._over = threading.Event()
        self._cpu: dict[tuple[int, str], float] = {}

    @property
    def cpu_seconds(self) -> float:
        """Seconds of all processes seen, less what each took after it was last looked at."""
        return sum(self._cpu.values())

    def run(self) -> None:
        """Look until told to end."""
        while not self._over.wait(SAMPLE_EVERY_S):
            self._look()
            if time.monotonic() > self._deadline:
                self.too_late = True
                _kill(self._pid)
                return

    def end(self) -> None:
        """Stop looking."""
        self._over.set()
        self.join()

    def _look(self) -> None:
        self.peak_mb = max(self.peak_mb, _peak_mb(self._pid))
        for stat in descendants(os.getpid()):
            self._cpu[stat.pid, stat.started] = stat.cpu_seconds


@dataclass(frozen=True)
class Stat:
    """A line of /proc/PID/stat."""

    pid: int
    parent: int
    started: str
    cpu_seconds: float


def descendants(root: int) -> list[Stat]:
    """The processes under one, whoever started them."""
    children: dict[int, list[Stat]] = {}
    for stat in _processes():
        children.setdefault(stat.parent, []).append(stat)
    found: list[Stat] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += [stat.pid for stat in below]
    return found


def end_descendants(*, patience: float) -> None:
    """Wait for what a program left behind, kill what stays, and take in their usage."""
    deadline = time.monotonic() + patience
    while left := descendants(os.getpid()):
        for stat in left:
            if time.monotonic() > deadline:
                _kill(stat.pid)
            _reap(stat.pid)
        time.sleep(0.05)


def adopt_orphans() -> None:
    """Become the parent of processes whose own has gone: Ray leaves its workers to others."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _processes() -> Iterator[Stat]:
    ticks = os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        cpu = (int(fields[11]) + int(fields[12])) / ticks
        yield Stat(int(path.parent.name), int(fields[1]), fields[19], cpu)


def _peak_mb(pid: int) -> float:
    """The most memory a process has held so far; 0 where it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(s.split()[1]) / 1024 for s in lines if s.startswith("VmHWM:")), 0.0)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _environment(folder: Path) -> dict[str, str]:
    """The caller's, less what would send a program elsewhere or have it compile every time."""
    unwanted = ("HEART_", "MLFLOW_TRACKING", "RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    return kept | {"HEART_HOME": str(folder / "artifacts")}


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return "\n".join(lines[-15:]) or "no output"


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


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


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


def summarise(measurements: Sequence[Measurement]) -> list[Row]:
    """The medians of each program on each workload, in the order of measuring."""
    grouped: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measurements:
        grouped.setdefault((measurement.workload, measurement.program), []).append(measurement)
    return [_row(runs, grouped) for runs in grouped.values()]


def _row(
    runs: Sequence[Measurement], grouped: Mapping[tuple[str, str], Sequence[Measurement]]
) -> Row:
    one = runs[0]
    medians: dict[str, float] = {
        name: median(getattr(m, name) for m in runs) for name in Figures.model_fields
    }
    beside = {
        program: runs for (workload, program), runs in grouped.items() if workload == one.workload
    }
    first = next((beside[program][0] for program in EXHAUSTIVE if program in beside), one)
    compared = first is not one

    def ratio(program: str) -> float | None:
        if program not in beside:
            return None
        return medians["wall_seconds"] / median(m.wall_seconds for m in beside[program])

    return Row(
        **medians,
        workload=one.workload,
        program=one.program,
        runs=len(runs),
        trials=one.trials,
        stopped=one.stopped,
        failed=one.failed,
        ratio_to_grid_search_cv=ratio(BASELINE),
        ratio_to_this=ratio("this"),
        same_winner=(
            abs(one.best_roc_auc - first.best_roc_auc) <= SAME
            if compared and one.program in EXHAUSTIVE
            else None
        ),
        largest_difference=_largest_difference(one, first) if compared else None,
    )


def _largest_difference(one: Measurement, other: Measurement) -> float | None:
    both = one.means.keys() & other.means.keys()
    return max((abs(one.means[name] - other.means[name]) for name in both), default=None)


def compare_seeds(plans: Iterable[Workload], rows: Sequence[Row]) -> list[Seed]:
    """Early stopping against every fold, for each seed of which both were measured."""
    found = {(row.workload, row.program): row for row in rows}
    seeds = []
    for workload in plans:
        whole, early = (found.get((workload.name, program)) for program in SCHEDULERS)
        if whole and early:
            seeds.append(
                Seed(
                    seed=workload.seed,
                    exhaustive_roc_auc=whole.best_roc_auc,
                    asha_roc_auc=early.best_roc_auc,
                    exhaustive_fit_seconds=whole.fit_seconds,
                    asha_fit_seconds=early.fit_seconds,
                )
            )
    return seeds


def check(rows: Sequence[Row], seeds: Sequence[Seed]) -> list[Check]:
    """What must show on two cores, as far as it was measured."""
    found = {(row.workload, row.program): row for row in rows}
    checks = [*_ratios(found), *_plain_ray_tune(rows), *_winners(rows)]
    if row := found.get(("300 candidates", "this")):
        checks.append(_at_least("300 candidates: share fitting", row.fitting_share, 0.85))
        checks.append(_at_most("300 candidates: ms a trial", row.overhead_ms_per_trial, 40))
    if row := found.get(("1000 candidates", "this")):
        checks.append(_at_most("1000 candidates: driver, MB", row.driver_peak_mb, 700))
        if fewer := found.get(("300 candidates", "this")):
            growth = (row.span_seconds / row.trials) / (fewer.span_seconds / fewer.trials)
            checks.append(_at_most("1000 candidates: time a trial, to 300", growth, 1.2))
    if seeds:
        lost, share = max(s.lost for s in seeds), max(s.share for s in seeds)
        checks.append(_at_most(f"ASHA, worst of {len(seeds)} seeds: ROC-AUC lost", lost, 0.002))
        checks.append(_at_most(f"ASHA, worst of {len(seeds)} seeds: fit seconds", share, 0.5))
    return checks


def _ratios(found: Mapping[tuple[str, str], Row]) -> Iterator[Check]:
    bounds = (
        ("reference", "this", 2.0),
        ("300 candidates", "this", 1.1),
        ("300 candidates", "this-asha", 0.6),
    )
    for workload, program, bound in bounds:
        row = found.get((workload, program))
        if row and row.ratio_to_grid_search_cv is not None:
            what = f"{workload}: {program} to {BASELINE}"
            yield _at_most(what, row.ratio_to_grid_search_cv, bound)


def _plain_ray_tune(rows: Sequence[Row]) -> Iterator[Check]:
    for row in rows:
        short = row.workload == "reference" or row.workload.endswith("candidates")
        if row.program == "ray-tune" and short and row.ratio_to_this is not None:
            yield _at_least(f"{row.workload}: ray-tune to this", row.ratio_to_this, 1.5)


def _winners(rows: Sequence[Row]) -> Iterator[Check]:
    different = [row for row in rows if row.same_winner is False]
    if any(row.same_winner is not None for row in rows):
        yield _at_most("exhaustive programs with another winner", len(different), 0)


def _at_most(what: str, found: float, bound: float) -> Check:
    return Check(what=what, found=found, must_be="at most", bound=bound, holds=found <= bound)


def _at_least(what: str, found: float, bound: float) -> Check:
    return Check(what=what, found=found, must_be="at least", bound=bound, holds=found >= bound)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "packages": lineage.packages() | {"joblib": metadata.version("joblib")},
        "code_version": lineage.code_version(),
    }


def _first(path: str, key: str) -> str | None:
    lines = Path(path).read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)


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


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def show(rows: Sequence[Row], seeds: Sequence[Seed], checks: Sequence[Check]) -> None:
    """Print the tables, in Markdown."""
    console = Console(width=WIDTH, highlight=False)
    console.print(_times(rows))
    if seeds:
        console.print(_seeds(seeds))
    if checks:
        console.print(_checks(checks))


def _times(rows: Sequence[Row]) -> Table:
    table = _table(
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
    table = _table("seed", "every fold: ROC-AUC", "ASHA: ROC-AUC", "lost", "fit seconds, share")
    for seed in seeds:
        table.add_row(
            str(seed.seed),
            f"{seed.exhaustive_roc_auc:.4f}",
            f"{seed.asha_roc_auc:.4f}",
            f"{seed.lost:.4f}",
            f"{seed.share:.2f}",
        )
    return table


def _checks(checks: Sequence[Check]) -> Table:
    table = _table("what must show on two cores", "found", "bound", "holds")
    for one in checks:
        bound = f"{one.must_be} {one.bound:g}"
        table.add_row(one.what, f"{one.found:.4g}", bound, "yes" if one.holds else "NO")
    return table


def _table(*columns: str) -> Table:
    return Table(*(Column(name, no_wrap=True) for name in columns), box=box.MARKDOWN)


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="bench_search.py",
        description="Time the search against GridSearchCV, Optuna and plain Ray Tune.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument(
        "--sizes", default="reference,100,300,1000", help="reference, or numbers of candidates"
    )
    p.add_argument("--rows", default="1000,10000,100000", help="rows of resampled tables")
    p.add_argument("--rivals", default=",".join(PROGRAMS), help="programs to measure")
    p.add_argument("--seeds", type=int, default=5, help="seeds to compare early stopping with")
    p.add_argument("--seed-candidates", type=int, default=60, help="candidates of each seed")
    p.add_argument("--row-candidates", type=int, default=30, help="candidates on a resampled table")
    p.add_argument("--seed", type=int, default=42, help="candidates, folds, estimators; the first")
    p.add_argument("--runs", type=int, default=1, help="of each program; medians are reported")
    p.add_argument("--timeout", type=float, default=7200.0, help="seconds for one program")
    p.add_argument("--no-warm-up", action="store_true", help="all programs have run here before")
    p.add_argument("--out", type=Path, default=Path("artifacts/bench_search.json"))
    return p


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _numbers(option: str, text: str) -> list[int]:
    words = _words(text)
    for word in words:
        if not word.isdecimal() or int(word) < 1:
            raise UsageError(f'{option} takes numbers from 1, got "{word}"', field=option)
    return [int(word) for word in words]


def _programs(text: str) -> list[str]:
    words = _words(text)
    for word in words:
        if word not in PROGRAMS:
            raise UsageError(f'--rivals takes {", ".join(PROGRAMS)}, got "{word}"', field="rivals")
    return words


def _sizes(text: str, seed: int) -> list[Workload]:
    words = _words(text)
    numbers = iter(_numbers("--sizes", ",".join(word for word in words if word != "reference")))
    return [
        Workload("reference", "reference", REFERENCE_CANDIDATES, seed)
        if word == "reference"
        else Workload(f"{word} candidates", "default", next(numbers), seed)
        for word in words
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; exit code 1 where a program failed."""
    keep_private()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["ours"]:
        return ours(arguments[1:])
    given = _parser().parse_args(arguments)
    programs, sizes = _programs(given.rivals), _sizes(given.sizes, given.seed)
    tall = [
        Workload(f"{rows} rows", "default", given.row_candidates, given.seed, rows=rows)
        for rows in _numbers("--rows", given.rows)
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
