"""``python -m tune.study``: how well these methods do on these data, without a search's luck.

Three studies on Ray: repeated cross-validation of the main families with fixed parameters,
each hospital predicted by models of the others, and nested cross-validation, in which the
whole search runs inside each outer fold. ``make results`` writes them to docs/results.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import ray
from pydantic import BaseModel, ConfigDict
from rich.progress import Progress
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from heart import cohorts, pipelines
from heart.assessment import Hospital, hospital
from heart.cohorts import COHORTS, Cohort, CohortName
from heart.comparison import score_interval
from heart.conversion import probabilities
from heart.errors import UsageError, run_main
from heart.evaluation import Interval, scores
from heart.files import write_json, write_whole
from heart.settings import Settings, keep_private
from tune.candidates import Candidate, sample
from tune.runner import connected
from tune.spaces import DEFAULT
from tune.trial import METRICS, Fold, Folds, Preparer, make_folds

FOLDS: Final = 5
REPEATS: Final = 4
SEED: Final = 1
NESTED_CANDIDATES: Final = 24
FAMILIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "logistic_regression": {"C": 0.1},
    "naive_bayes": {},
    "random_forest": {"n_estimators": 300, "min_samples_leaf": 5},
    "extra_trees": {"n_estimators": 300, "min_samples_leaf": 5},
    "gradient_boosting": {
        "n_estimators": 150, "learning_rate": 0.05, "max_depth": 2, "subsample": 0.7
    },
    "svm": {"C": 1.0, "gamma": 0.02},
    "k_nearest_neighbours": {"n_neighbors": 25},
}  # fmt: skip
"""The main families with parameters in the middle of the default ranges, chosen beforehand."""


class Repeated(BaseModel):
    """A family's scores over the folds of a repeated cross-validation, corrected intervals."""

    model_config = ConfigDict(frozen=True)

    cohort: str
    rows: int
    family: str
    scores: dict[str, Interval]


class LeftOut(BaseModel):
    """A family trained on the other hospitals and tested on one."""

    model_config = ConfigDict(frozen=True)

    family: str
    hospital: Hospital


class Nested(BaseModel):
    """The search inside each outer fold: what it chose, and how that did on the fold."""

    model_config = ConfigDict(frozen=True)

    cohort: str
    candidates: int
    chosen: tuple[str, ...]
    scores: dict[str, Interval]


class Results(BaseModel):
    """All three studies."""

    model_config = ConfigDict(frozen=True)

    data_sha256: str
    repeated: tuple[Repeated, ...]
    left_out: tuple[LeftOut, ...]
    nested: tuple[Nested, ...]


@dataclass(frozen=True)
class Pool:
    """Runs functions on Ray's workers, in order, with a bar that shows how far they are."""

    progress: Progress

    def run(self, what: str, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Any:
        """One result a call; the first error of a call is raised."""
        remote = ray.remote(function)
        waiting = [remote.remote(*call) for call in calls]
        bar = self.progress.add_task(what, total=len(calls))
        left = waiting
        while left:
            done, left = ray.wait(left)
            self.progress.advance(bar, len(done))
        return ray.get(waiting)


def run(pool: Pool) -> Results:
    """All studies on the bundled table."""
    tables = {name: cohorts.load(name) for name in COHORTS}
    return Results(
        data_sha256=tables["all"].sha256,
        repeated=tuple(_repeated(pool, tables)),
        left_out=tuple(_left_out(pool, tables["all"])),
        nested=tuple(_nested(pool, table) for table in tables.values()),
    )


def _repeated(pool: Pool, tables: Mapping[CohortName, Cohort]) -> list[Repeated]:
    calls = [
        (table, family, repeat)
        for table in map(ray.put, tables.values())
        for family in FAMILIES
        for repeat in range(REPEATS)
    ]
    found = iter(pool.run("repeated cross-validation", score_repeat, calls))
    return [
        Repeated(
            cohort=name,
            rows=len(table),
            family=family,
            scores=_over_folds([fold for _ in range(REPEATS) for fold in next(found)]),
        )
        for name, table in tables.items()
        for family in FAMILIES
    ]


def score_repeat(patients: Cohort, family: str, repeat: int) -> list[dict[str, float]]:
    """The scores of a family on each fold of one repeat."""
    folds = make_folds(patients.y, folds=FOLDS, repeats=1, seed=SEED + repeat)
    return [score_fold(patients, family, fold) for fold in folds]


def score_fold(patients: Cohort, family: str, fold: Fold) -> dict[str, float]:
    """The scores of a family on a fold's rows, trained on the others."""
    train, test = fold
    p = _fitted(patients.take(train), family)(patients.X.iloc[test])
    return scores(patients.y[test], p)


def _left_out(pool: Pool, patients: Cohort) -> list[LeftOut]:
    table = ray.put(patients)
    sites = list(dict.fromkeys(patients.sites.tolist()))
    calls = [(table, family, site) for family in FAMILIES for site in sites]
    found: list[Hospital] = pool.run("one hospital left out", score_hospital, calls)
    return [
        LeftOut(family=family, hospital=scored)
        for (_, family, _), scored in zip(calls, found, strict=True)
    ]


def score_hospital(patients: Cohort, family: str, site: str) -> Hospital:
    """The scores on one hospital of a family trained on the others."""
    inside = patients.sites == site
    held_out = patients.take(inside)
    p = _fitted(patients.take(~inside), family)(held_out.X)
    return hospital(site, held_out.y, p, threshold=0.5, seed=SEED)


def _nested(pool: Pool, patients: Cohort) -> Nested:
    candidates = sample(DEFAULT, number=NESTED_CANDIDATES, seed=SEED)
    outer = list(
        StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(patients.X, patients.y)
    )
    inner = [ray.put(_inner(patients.take(train))) for train, _ in outer]
    calls = [(data, candidate) for data in inner for candidate in candidates]
    means = np.array(pool.run(f"nested search, {patients.name}", score_candidate, calls))
    best = [candidates[int(k)] for k in np.nanargmax(means.reshape(FOLDS, -1), axis=1)]
    found = [
        _score_chosen(patients, candidate, train, test)
        for candidate, (train, test) in zip(best, outer, strict=True)
    ]
    return Nested(
        cohort=patients.name,
        candidates=len(candidates),
        chosen=tuple(candidate.family for candidate in best),
        scores=_over_folds(found),
    )


def _inner(train: Cohort) -> Folds:
    folds = make_folds(train.y, folds=FOLDS, repeats=1, seed=SEED)
    return Folds(train.X, train.y, folds, DEFAULT.preprocessing, SEED)


def score_candidate(data: Folds, candidate: Candidate) -> float:
    """Mean ROC-AUC over the inner folds; NaN for a candidate that fails, as in a search."""
    preparer = Preparer(data)
    try:
        with threadpool_limits(limits=1):
            found = [preparer.score(candidate, fold) for fold in range(len(data))]
    except Exception:  # noqa: BLE001 - any estimator's error is this candidate's result
        return math.nan
    return float(np.mean([fold.scores["roc_auc"] for fold in found]))


def _score_chosen(
    patients: Cohort, candidate: Candidate, train: Any, test: Any
) -> dict[str, float]:
    model = pipelines.build(candidate.family, candidate.params, seed=SEED)
    model.fit(patients.X.iloc[train], patients.y[train])
    return scores(patients.y[test], probabilities(model, patients.X.iloc[test]))


def _fitted(train: Cohort, family: str) -> Callable[[pd.DataFrame], Any]:
    model = pipelines.build(family, FAMILIES[family], seed=SEED)
    with threadpool_limits(limits=1):
        model.fit(train.X, train.y)
    return lambda X: probabilities(model, X)


def _over_folds(found: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    return {name: score_interval([fold[name] for fold in found], folds=FOLDS) for name in METRICS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the studies, write the figures and the page that shows them."""
    from tune import study_page

    keep_private()
    parser = argparse.ArgumentParser(prog="python -m tune.study", description=__doc__)
    parser.add_argument("--address", default="local", help="local, auto or HOST:PORT")
    parser.add_argument("--out", type=Path, help="the Markdown page; else beside results.json")
    options = parser.parse_args(arguments)
    folder = Settings.from_environment().home.resolve() / "results"
    page = options.out or folder / "results.md"
    if page.is_dir():
        raise UsageError(f"--out must be a file, {page} is a folder", field="out")
    with connected(options.address), Progress() as progress:
        results = run(Pool(progress))
    write_json(folder / "results.json", results.model_dump(mode="json"))
    write_whole(page, study_page.markdown(results).encode())
    print(f"results: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
