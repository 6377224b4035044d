"""The other ways to search that `bench_search.py` measures, each a whole process of its own.

``python scripts/rivals.py NAME WORK ANSWER`` fits the candidates of a pickled `Work` and writes
an `Answer` as JSON. At the top only what scikit-learn users import anyway: a rival that paid
for Ray or Optuna without using them would be measured too slow.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline

from heart.pipelines import Preprocessing, estimator, preprocessor

THRESHOLD: Final = 0.5


@dataclass(frozen=True)
class Entry:
    """One candidate: its id, its family, its parameters."""

    id: str
    family: str
    params: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Work:
    """What every rival gets: rows to train on and to test on, folds of the former, candidates."""

    X: pd.DataFrame
    y: npt.NDArray[np.int64]
    X_test: pd.DataFrame
    y_test: npt.NDArray[np.int64]
    folds: tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], ...]
    preprocessing: Preprocessing
    seed: int
    entries: tuple[Entry, ...]
    cores: int

    def steps(self, entry: Entry) -> dict[str, Any]:
        """The unfitted steps of a candidate's pipeline."""
        return {
            "preprocess": preprocessor(entry.family, self.preprocessing),
            "model": estimator(entry.family, entry.params, seed=self.seed),
        }

    def pipeline(self, entry: Entry) -> Pipeline:
        """The unfitted pipeline of a candidate."""
        return TimedPipeline(list(self.steps(entry).items()))


@dataclass(frozen=True)
class Answer:
    """What a search found: the mean ROC-AUC by candidate, and when it fitted, in epoch seconds.

    ``fit_seconds`` adds up the seconds of all fits, on whichever core, ``score_seconds`` those of
    predicting and scoring where the program tells them. ``stopped`` counts the
    candidates that early stopping cut; one that failed has no mean either.
    """

    means: dict[str, float]
    first_fit: float
    last_fit: float
    fit_seconds: float
    test_roc_auc: float
    stopped: int = 0
    score_seconds: float = 0.0


class TimedPipeline(Pipeline):
    """A pipeline that remembers when it was fitted, and for how long."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> TimedPipeline:
        """Fit preprocessing and model."""
        self.started_, clock = time.time(), time.perf_counter()
        super().fit(X, y, **params)
        self.seconds_ = time.perf_counter() - clock
        return self


def score(model: TimedPipeline, X: pd.DataFrame, y: npt.NDArray[np.int64]) -> dict[str, float]:
    """The four scores from one prediction, as the search has them, and the time of the fit."""
    p = model.predict_proba(X)[:, 1]
    called = p >= THRESHOLD
    return {
        "roc_auc": float(roc_auc_score(y, p)),
        "f1": float(f1_score(y, called)),
        "accuracy": float(accuracy_score(y, called)),
        "brier_score": float(brier_score_loss(y, p)),
        "started": model.started_,
        "seconds": model.seconds_,
    }


def grid_search_cv(work: Work) -> Answer:
    """scikit-learn's own search, on all cores by joblib's processes."""
    search = GridSearchCV(
        work.pipeline(work.entries[0]),
        [{name: [step] for name, step in work.steps(entry).items()} for entry in work.entries],
        scoring=score,
        refit="roc_auc",
        n_jobs=-1,
        cv=list(work.folds),
    )
    search.fit(work.X, work.y)
    found = search.cv_results_

    def folds(name: str) -> npt.NDArray[np.float64]:
        return np.stack([found[f"split{k}_test_{name}"] for k in range(len(work.folds))], axis=1)

    rows = [
        _summary(*fold)
        for fold in zip(folds("roc_auc"), folds("started"), folds("seconds"), strict=True)
    ]
    return _answer(work, dict(enumerate(rows)), model=search.best_estimator_)


def optuna_loop(work: Work) -> Answer:
    """Optuna's loop with ``n_jobs``: threads of one process, the candidates enqueued."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
    for number in range(len(work.entries)):
        study.enqueue_trial({"candidate": number})
    rows: dict[int, dict[str, float]] = {}

    def objective(trial: optuna.Trial) -> float:
        number = trial.suggest_int("candidate", 0, len(work.entries) - 1)
        rows[number] = _cross_validated(work, number)
        return rows[number]["roc_auc"]

    study.optimize(objective, n_trials=len(work.entries), n_jobs=work.cores)
    return _answer(work, rows)


def plain_ray_tune(work: Work) -> Answer:
    """Ray Tune as its guide has it: a function, a grid, MLflow's callback, all else default."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    # "local", so that no cluster which happens to run on the machine is taken.
    ray.init(address="local")
    here = Path.cwd()
    tuner = tune.Tuner(
        tune.with_parameters(_trainable, work=work),
        param_space={"candidate": tune.grid_search(list(range(len(work.entries))))},
        tune_config=tune.TuneConfig(metric="roc_auc", mode="max"),
        run_config=tune.RunConfig(
            storage_path=str(here / "ray_results"),
            callbacks=[
                MLflowLoggerCallback(f"sqlite:///{here / 'mlflow.db'}", experiment_name="heart")
            ],
        ),
    )
    results = tuner.fit()
    rows = {r.config["candidate"]: r.metrics for r in results if r.config and not r.error}
    answer = _answer(work, rows)
    ray.shutdown()
    return answer


RIVALS: Final[Mapping[str, Callable[[Work], Answer]]] = {
    "grid-search-cv": grid_search_cv,
    "optuna": optuna_loop,
    "ray-tune": plain_ray_tune,
}


def _trainable(config: Mapping[str, Any], work: Work) -> None:
    from ray import tune

    tune.report(_cross_validated(work, config["candidate"]))


def _cross_validated(work: Work, number: int) -> dict[str, float]:
    entry = work.entries[number]
    found = cross_validate(work.pipeline(entry), work.X, work.y, cv=list(work.folds), scoring=score)
    others = {name: float(found[f"test_{name}"].mean()) for name in ("f1", "accuracy")}
    return others | _summary(found["test_roc_auc"], found["test_started"], found["test_seconds"])


def _summary(
    roc_auc: npt.NDArray[np.float64],
    started: npt.NDArray[np.float64],
    seconds: npt.NDArray[np.float64],
) -> dict[str, float]:
    """One candidate's folds in a few numbers; NaN where a fold failed."""
    return {
        "roc_auc": float(np.mean(roc_auc)),
        "first_fit": float(np.min(started)),
        "last_fit": float(np.max(started + seconds)),
        "fit_seconds": float(np.sum(seconds)),
    }


def _answer(
    work: Work, rows: Mapping[int, Mapping[str, float]], *, model: Pipeline | None = None
) -> Answer:
    """Refit the best candidate, unless the search has, and look at the test rows once."""
    whole = {number: row for number, row in rows.items() if np.isfinite(row["roc_auc"])}
    best = max(whole, key=lambda number: (whole[number]["roc_auc"], -number))
    if model is None:
        model = work.pipeline(work.entries[best]).fit(work.X, work.y)
    p = model.predict_proba(work.X_test)[:, 1]
    return Answer(
        means={work.entries[number].id: float(row["roc_auc"]) for number, row in whole.items()},
        first_fit=min(row["first_fit"] for row in whole.values()),
        last_fit=max(row["last_fit"] for row in whole.values()),
        fit_seconds=sum(row["fit_seconds"] for row in whole.values()),
        test_roc_auc=float(roc_auc_score(work.y_test, p)),
    )


def main(arguments: Sequence[str]) -> int:
    """Run one rival; the exit code."""
    name, work_file, answer_file = arguments
    warnings.simplefilter("ignore", ConvergenceWarning)
    # joblib's processes take their filters from here.
    os.environ["PYTHONWARNINGS"] = "ignore"
    work: Work = pickle.loads(Path(work_file).read_bytes())  # noqa: S301 - written by the caller
    answer = RIVALS[name](work)
    Path(answer_file).write_text(json.dumps(asdict(answer)))
    return 0


if __name__ == "__main__":
    # By the module's own name: worker processes then import these classes instead of being
    # sent their code with every task.
    from rivals import main as run

    sys.exit(run(sys.argv[1:]))
