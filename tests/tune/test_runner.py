"""Fitting on Ray Tune: how many workers, where they wait for each other, what is lost."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import ray
from ray.exceptions import ActorDiedError
from ray.tune.search import Searcher
from records import plan_of

from heart.settings import Settings
from tune import runner
from tune.candidates import Candidate
from tune.journal import TrialRecord
from tune.recording import MAX_FAILURES, Fitting, Recorder
from tune.runner import fit
from tune.searchers import ListSearcher, config_of
from tune.searches import Search
from tune.starting_line import StartingLine
from tune.trial import CandidateTrial

NODE = "a" * 56
BUDGET_S = 0.3
LATE_S = runner.TICK_S + runner.GRACE_S + runner.END_S + 0.4


class Handle:
    """An actor's handle whose every method can be called."""

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: None)


def lost(reference: object) -> NoReturn:
    raise ActorDiedError


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> None:
    """As inside an actor of a cluster, without one."""
    here = SimpleNamespace(
        current_actor="worker", get_actor_id=lambda: "1", get_node_id=lambda: NODE
    )
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)


@pytest.mark.parametrize(
    ("asked", "workers"), [(None, 2), (1, 1), (2, 2), (9, 2)], ids=["not", "less", "same", "more"]
)
def test_there_are_never_more_workers_than_cores(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, workers: int
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(runner, "_starting_line", Handle)
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    monkeypatch.setattr(runner, "_tune", lambda fitting, *_: seen.append(fitting.workers))
    plan = plan_of(max_concurrent=asked)
    fit(plan, known=(), cores=2, deadline=None, on_record=lambda _: None, on_tick=lambda _: None)
    assert seen == [workers]


def test_a_trial_runs_from_its_start_to_its_end_and_not_while_it_waits_for_a_worker() -> None:
    fitting = Fitting(plan_of(), lambda _: None)
    recorder = Recorder(fitting, ListSearcher([]))
    fitting.stop.set()  # nothing is recorded any more
    first, second = ({"trials": [], "trial": SimpleNamespace(trial_id=i)} for i in "12")
    seen = []
    for happened, trial in (
        (recorder.on_trial_start, first),
        (recorder.on_trial_start, second),
        (recorder.on_trial_recover, first),
        (recorder.on_trial_start, first),
        (recorder.on_trial_complete, second),
        (recorder.on_trial_error, first),
    ):
        happened(0, **trial)
        seen.append(len(fitting.running))
    assert seen == [1, 2, 1, 2, 1, 0]


def test_a_trial_that_tune_gives_up_is_tried_again_until_it_lost_too_many_workers() -> None:
    """Tune itself tries none again whose worker dies while it is handed the trial."""
    records: list[TrialRecord] = []
    candidate = Candidate("svm", {"C": 1.0})
    searcher = ListSearcher([candidate])
    recorder = Recorder(Fitting(plan_of(), records.append), searcher)
    for number in range(MAX_FAILURES + 1):
        assert searcher.suggest(str(number)) == config_of(candidate)
        assert searcher.suggest("another") is None, "it may come back"
        assert records == []
        searcher.on_trial_complete(str(number), error=True)
        trial: Any = SimpleNamespace(
            trial_id=str(number), config=config_of(candidate), num_failures=1
        )
        recorder.on_trial_error(0, [], trial)
    assert [record.message for record in records] == ["given up 4 times, as its workers were lost"]
    assert searcher.suggest("another") == Searcher.FINISHED


@pytest.mark.usefixtures("context")
def test_the_line_is_on_the_drivers_own_node(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def remote(**options: Any) -> Any:
        asked.update(options)
        return lambda line: SimpleNamespace(remote=line)

    monkeypatch.setattr(ray, "remote", remote)
    assert isinstance(runner._starting_line(), StartingLine)
    assert asked["num_cpus"] == 0
    strategy = asked["scheduling_strategy"]
    assert (strategy.node_id, strategy.soft) == (NODE, False)


@pytest.mark.usefixtures("context")
def test_a_line_that_is_lost_holds_no_worker_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lost)
    plan = plan_of()
    trial = CandidateTrial.__new__(CandidateTrial)
    dummy = Candidate("dummy", {"strategy": "prior"})
    trial.setup(config_of(dummy), plan.data, Handle(), workers=2, stoppable=False)
    assert trial.step()["done"]


def test_a_time_budget_is_kept_though_the_fits_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2 minutes a tenth is 12 s: what it may be late by is less."""
    monkeypatch.setattr(ray, "get", lambda _: [])
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    monkeypatch.setattr(runner, "_starting_line", Handle)
    fits = threading.Event()
    monkeypatch.setattr(runner, "_tune", lambda *_: fits.wait())
    started = time.monotonic()
    ending = fit(
        plan_of(),
        known=(),
        cores=2,
        deadline=started + BUDGET_S,
        on_record=lambda _: None,
        on_tick=lambda _: None,
    )
    took = time.monotonic() - started
    fits.set()
    assert ending == "time_budget"
    assert BUDGET_S <= took < BUDGET_S + LATE_S
    assert LATE_S < 0.1 * 120


def test_a_time_budget_begins_with_the_search() -> None:
    plan = plan_of(time_budget=9.5)
    assert Search(plan, Settings(), "a-search", begun=100.0).deadline == 109.5
    assert Search(plan_of(), Settings(), "a-search").deadline is None


def test_a_search_ends_though_its_line_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lost)
    monkeypatch.setattr(runner, "GRACE_S", 0.0)
    monkeypatch.setattr(runner, "END_S", 0.0)
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait, daemon=True)
    thread.start()
    fitting = Fitting(plan_of(), lambda _: None)
    runner._end(thread, fitting, Handle())
    waiting.set()
    assert fitting.stop.is_set()
