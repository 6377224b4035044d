"""One candidate over k folds, in a worker that keeps what it has prepared."""

from __future__ import annotations

import base64
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import ray
from ray.exceptions import RayActorError
from ray.tune import Trainable
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold

from heart.errors import UsageError
from heart.evaluation import scores
from heart.pipelines import Preprocessing, estimator, is_scaled, preprocessor
from tune.candidates import Candidate

METRICS: Final = ("roc_auc", "f1", "accuracy", "brier_score")
OBJECTIVE: Final = "mean_roc_auc"
START_TIMEOUT_S: Final = 20.0

Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Folds:
    """The training rows and how they are split; what every worker gets, once.

    ``X`` has shape (n, 13), ``y`` shape (n,), and each fold is a pair of row numbers.
    """

    X: pd.DataFrame
    y: npt.NDArray[np.int64]
    folds: tuple[Fold, ...]
    preprocessing: Preprocessing
    seed: int

    def __len__(self) -> int:
        return len(self.folds)


@dataclass(frozen=True)
class Prepared:
    """A fold after the preprocessing: dense arrays for fitting and for scoring."""

    X_fit: npt.NDArray[np.float64]
    y_fit: npt.NDArray[np.int64]
    X_score: npt.NDArray[np.float64]
    y_score: npt.NDArray[np.int64]


@dataclass(frozen=True)
class FoldScore:
    """What one fold gave: its scores, the seconds of fitting and of scoring, the probabilities."""

    scores: dict[str, float]
    fit_seconds: float
    probabilities: npt.NDArray[np.float64]
    started: float
    score_seconds: float = 0.0


@dataclass
class Preparer:
    """Prepares each fold once for all the families that share a preprocessing."""

    data: Folds
    _kept: dict[tuple[int, bool], Prepared] = field(default_factory=dict)

    def fold(self, number: int, family: str) -> Prepared:
        """One fold as arrays, as a family's pipeline would make them."""
        key = (number, is_scaled(family, self.data.preprocessing))
        if key not in self._kept:
            self._kept[key] = self._prepare(number, family)
        return self._kept[key]

    def _prepare(self, number: int, family: str) -> Prepared:
        fit, score = self.data.folds[number]
        transform = preprocessor(family, self.data.preprocessing)
        return Prepared(
            X_fit=transform.fit_transform(self.data.X.iloc[fit]),
            y_fit=self.data.y[fit],
            X_score=transform.transform(self.data.X.iloc[score]),
            y_score=self.data.y[score],
        )

    def score(self, candidate: Candidate, number: int) -> FoldScore:
        """Fit a candidate on one fold and score it on the rest.

        Raises what the estimator raises, and ValueError for a probability that is not finite;
        a fit that does not converge raises ``ConvergenceWarning``.
        """
        prepared = self.fold(number, candidate.family)
        model = estimator(candidate.family, candidate.params, seed=self.data.seed)
        started, clock = time.time(), time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            model.fit(prepared.X_fit, prepared.y_fit)
        fit_seconds = time.perf_counter() - clock
        p = np.asarray(model.predict_proba(prepared.X_score), dtype=np.float64)[:, 1]
        if not np.isfinite(p).all():
            raise ValueError("a predicted probability is not finite")
        every = scores(prepared.y_score, p)
        found = {name: every[name] for name in METRICS}
        score_seconds = time.perf_counter() - clock - fit_seconds
        return FoldScore(found, fit_seconds, p, started, score_seconds)


def make_folds(
    y: npt.NDArray[np.int64], *, folds: int, repeats: int, seed: int
) -> tuple[Fold, ...]:
    """Repeated stratified folds of the training rows; raises `UsageError` for too many.

    For one repeat these are the folds of ``StratifiedKFold(folds, shuffle=True)`` with the
    same seed, which the published baselines used; a repeat k uses the seed plus k.
    """
    smallest = int(np.bincount(y, minlength=2).min())
    if not 2 <= folds <= smallest:
        raise UsageError(
            f"--folds must be from 2 to {smallest}, the rows of the smaller class, got {folds}",
            field="folds",
        )
    made: list[Fold] = []
    for repeat in range(repeats):
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed + repeat)
        made.extend(splitter.split(np.zeros(len(y)), y))
    return tuple(made)


def encode(probabilities: npt.NDArray[np.float64]) -> str:
    """Probabilities as text for the journal: float32, base64."""
    return base64.b64encode(probabilities.astype(np.float32).tobytes()).decode()


def decode(text: str) -> npt.NDArray[np.float64]:
    """Probabilities back from the journal."""
    return np.frombuffer(base64.b64decode(text), dtype=np.float32).astype(np.float64)


class CandidateTrial(Trainable):
    """One candidate; the worker outlives it and takes the next.

    A step is one fold where a scheduler may end the candidate after it, else all of them:
    each step is a message to Tune and back, which costs as much as a small fit.
    """

    def setup(
        self, config: Mapping[str, Any], data: Folds, line: Any, workers: int, stoppable: bool
    ) -> None:
        """Take the data, then wait until the other workers are up.

        Tune hands a waiting trial to the first idle worker and calls off the start of its
        own; with trials shorter than a start, one worker would end up with all of them.
        """
        self._preparer = Preparer(data)
        self._candidate = _candidate(config)
        self._line, self._workers, self._stoppable = line, workers, stoppable
        self._waited = False
        self._done: list[FoldScore] = []

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Take the next candidate."""
        self._candidate = _candidate(new_config)
        self._done = []
        return True

    def step(self) -> dict[str, Any]:
        """Score the next fold, or all that are left."""
        self._wait_for_others()
        folds = len(self._preparer.data)
        try:
            for fold in range(len(self._done), len(self._done) + 1 if self._stoppable else folds):
                self._done.append(self._preparer.score(self._candidate, fold))
        except Exception as error:  # noqa: BLE001 - any estimator's error is this candidate's result
            return self._result(done=True, error=f"{type(error).__name__}: {error}")
        return self._result(done=len(self._done) == folds)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A fold is cheaper to fit again than to restore."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """A trial that lost its worker starts again at its first fold."""
        self._done = []

    def _wait_for_others(self) -> None:
        context = ray.get_runtime_context()
        worker = ray.cloudpickle.dumps(context.current_actor)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._waited:
            try:
                up = ray.get(self._line.arrive.remote(context.get_actor_id(), worker))
            except RayActorError:
                up = self._workers  # A line that is lost holds nobody up.
            self._waited = up >= self._workers or time.monotonic() > deadline
            time.sleep(0 if self._waited else 0.02)

    def _result(self, *, done: bool, error: str | None = None) -> dict[str, Any]:
        auc = [fold.scores["roc_auc"] for fold in self._done]
        return {
            OBJECTIVE: float(np.mean(auc)) if auc and error is None else 0.0,
            "done": done,
            "error_message": error,
            "folds": [
                {
                    "scores": fold.scores,
                    "fit_seconds": fold.fit_seconds,
                    "score_seconds": fold.score_seconds,
                    "started": fold.started,
                    "probabilities": encode(fold.probabilities),
                }
                for fold in self._done
            ],
            "worker": f"{os.uname().nodename}:{os.getpid()}",
        }


def _candidate(config: Mapping[str, Any]) -> Candidate:
    return Candidate(config["candidate"]["family"], config["candidate"]["params"])
