"""Fitting the candidates on Ray Tune, and ending in time.

Tune runs in a thread of its own. The main thread watches the clock and the keyboard, so a
time budget or Ctrl-C does not wait for the fits under way, as Tune's own means do.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

import ray
from ray import tune as ray_tune
from ray.exceptions import RayActorError
from ray.tune import RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from heart.errors import UsageError
from tune.journal import TrialRecord
from tune.plan import Plan
from tune.recording import MAX_FAILURES, Fitting, Recorder, StopNow
from tune.searchers import ListSearcher
from tune.starting_line import StartingLine
from tune.trial import OBJECTIVE, CandidateTrial

TUNE_VARIABLES: Final = {
    # The journal and MLflow keep the results; Tune's own files cost 30 to 130 ms a trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
REDUCTION_FACTOR: Final = 2
"""Over five folds ASHA then cuts after folds 1, 2 and 4."""
TICK_S: Final = 0.1
CONNECT_S: Final = 5.0
GRACE_S: Final = 0.5
END_S: Final = 1.0

Ending = Literal["complete", "time_budget", "interrupted"]


@contextlib.contextmanager
def connected(address: str) -> Iterator[int]:
    """A Ray cluster, and how many cores it has; one of its own for ``local``.

    A process that is connected already keeps its cluster. Raises `UsageError`.
    """
    if ray.is_initialized():
        yield _cores()
        return
    os.environ.update({key: v for key, v in TUNE_VARIABLES.items() if key not in os.environ})
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(
            f"--address {address}: no Ray cluster answers there: {first}", field="address"
        ) from error
    try:
        yield _cores()
    finally:
        ray.shutdown()


def fit(
    plan: Plan,
    *,
    known: Sequence[TrialRecord],
    cores: int,
    deadline: float | None,
    on_record: Callable[[TrialRecord], None],
    on_tick: Callable[[int], None],
) -> Ending:
    """Fit what is not known yet, one record a trial, and say how it ended.

    ``on_tick`` is called all the while, with the number of trials that are running.
    """
    left = plan.number - len(known)
    if left <= 0:
        return "complete"
    # A worker without a core never starts, and the others would wait for it.
    workers = min(plan.options.max_concurrent or cores, cores, left)
    fitting = Fitting(plan, on_record, workers=workers)
    line = _starting_line()
    thread = threading.Thread(target=_tune, args=(fitting, known, line), daemon=True)
    thread.start()
    try:
        ending = _watch(thread, lambda: on_tick(len(fitting.running)), deadline)
        if ending != "complete":
            _end(thread, fitting, line)
    finally:
        ray.kill(line)
    if fitting.failure is not None and ending == "complete":
        raise fitting.failure
    return ending


def _starting_line() -> Any:
    """The line on this process's own node: whichever other node is lost, it stays."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(StartingLine).remote()


def _watch(
    thread: threading.Thread,
    on_tick: Callable[[], None],
    deadline: float | None,
) -> Ending:
    try:
        while thread.is_alive():
            thread.join(TICK_S)
            on_tick()
            if deadline is not None and time.monotonic() > deadline:
                return "time_budget"
    except KeyboardInterrupt:
        return "interrupted"
    return "complete"


def _end(thread: threading.Thread, fitting: Fitting, line: Any) -> None:
    """Let the short trials end, then end the workers under the long ones."""
    fitting.stop.set()
    thread.join(GRACE_S)
    if thread.is_alive():
        # Without the line the workers are not known; they end with this process.
        with contextlib.suppress(RayActorError):
            for worker in ray.get(line.workers.remote()):
                ray.kill(ray.cloudpickle.loads(worker))
        thread.join(END_S)


def _tune(fitting: Fitting, known: Sequence[TrialRecord], line: Any) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix="heart-tune-") as storage:
            _tuner(fitting, known, line, storage).fit()
    except BaseException as error:  # noqa: BLE001 - carried to the main thread, which raises it
        fitting.failure = error


def _tuner(fitting: Fitting, known: Sequence[TrialRecord], line: Any, storage: str) -> Tuner:
    plan = fitting.plan
    searcher = _searcher(plan, known)
    trainable = ray_tune.with_parameters(
        CandidateTrial,
        data=plan.data,
        line=line,
        workers=fitting.workers,
        stoppable=plan.scheduler != "none",
    )
    return Tuner(
        trainable,
        tune_config=TuneConfig(
            search_alg=searcher,
            scheduler=_scheduler(plan),
            num_samples=-1,
            max_concurrent_trials=fitting.workers,
            reuse_actors=True,
            metric=None,
            mode=None,
        ),
        run_config=RunConfig(
            storage_path=storage,
            verbose=0,
            stop=StopNow(fitting.stop),
            callbacks=[Recorder(fitting, searcher)],
            failure_config=ray_tune.FailureConfig(max_failures=MAX_FAILURES),
        ),
    )


def _searcher(plan: Plan, known: Sequence[TrialRecord]) -> ListSearcher:
    if plan.algorithm == "optuna":
        from tune.optuna_searcher import OptunaSearcher

        told = [(r.candidate, math.nan if r.status == "failed" else r.mean) for r in known]
        return OptunaSearcher(
            plan.space, number=plan.number - len(known), seed=plan.options.seed, known=told
        )
    done = {record.candidate.id for record in known}
    return ListSearcher([c for c in plan.candidates if c.id not in done])


def _scheduler(plan: Plan) -> TrialScheduler:
    if plan.scheduler == "none":
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        metric=OBJECTIVE,
        mode="max",
        max_t=len(plan.data),
        grace_period=1,
        reduction_factor=REDUCTION_FACTOR,
    )


def _check_answers(address: str) -> None:
    """Raise `UsageError` where nothing listens: Ray alone tries for minutes."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"--address {address}: no Ray cluster answers there: {error}", field="address"
        ) from error


def _cores() -> int:
    """The cores that are free: a service on the same cluster keeps its own."""
    return max(1, int(ray.available_resources().get("CPU", 1)))
