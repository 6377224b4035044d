"""Fitting on Ray Tune: how many workers, where they wait for each other, what is lost."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import ray
from ray.exceptions import ActorDiedError
from records import plan_of

from tune import runner
from tune.candidates import Candidate
from tune.runner import Fitting, fit
from tune.searchers import config_of
from tune.starting_line import StartingLine
from tune.trial import CandidateTrial

NODE = "a" * 56


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
    fit(plan, known=(), cores=2, deadline=None, on_record=lambda _: None, on_tick=lambda: None)
    assert seen == [workers]


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
