"""What `bench_search.py` measures, and what of it must show on two cores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Final

from bench_workloads import Workload
from checks import Check, at_least, at_most
from pydantic import BaseModel, ConfigDict, Field
from rivals import RIVALS

SCHEDULERS: Final[Mapping[str, str]] = {"this": "none", "this-asha": "asha"}
PROGRAMS: Final = (*RIVALS, *SCHEDULERS)
BASELINE: Final = "grid-search-cv"
EXHAUSTIVE: Final = tuple(program for program in PROGRAMS if program != "this-asha")
LIMITS: Final[Mapping[str, int]] = {"ray-tune": 100}
"""The most candidates that a program is given: plain Ray Tune takes seconds for each."""

SAME: Final = 1e-9


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


class Failure(BaseModel):
    """A measurement that came to nothing."""

    model_config = ConfigDict(frozen=True)

    workload: str
    program: str
    run: int
    message: str


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
        checks.append(at_least("300 candidates: share fitting", row.fitting_share, 0.85))
        checks.append(at_most("300 candidates: ms a trial", row.overhead_ms_per_trial, 40))
    if row := found.get(("1000 candidates", "this")):
        checks.append(at_most("1000 candidates: driver, MB", row.driver_peak_mb, 700))
        if fewer := found.get(("300 candidates", "this")):
            growth = (row.span_seconds / row.trials) / (fewer.span_seconds / fewer.trials)
            checks.append(at_most("1000 candidates: time a trial, to 300", growth, 1.2))
    if seeds:
        lost, share = max(s.lost for s in seeds), max(s.share for s in seeds)
        checks.append(at_most(f"ASHA, worst of {len(seeds)} seeds: ROC-AUC lost", lost, 0.002))
        checks.append(at_most(f"ASHA, worst of {len(seeds)} seeds: fit seconds", share, 0.5))
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
            yield at_most(what, row.ratio_to_grid_search_cv, bound)


def _plain_ray_tune(rows: Sequence[Row]) -> Iterator[Check]:
    for row in rows:
        short = row.workload == "reference" or row.workload.endswith("candidates")
        if row.program == "ray-tune" and short and row.ratio_to_this is not None:
            yield at_least(f"{row.workload}: ray-tune to this", row.ratio_to_this, 1.5)


def _winners(rows: Sequence[Row]) -> Iterator[Check]:
    different = [row for row in rows if row.same_winner is False]
    if any(row.same_winner is not None for row in rows):
        yield at_most("exhaustive programs with another winner", len(different), 0)
