"""Where Tune gets its candidates from."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from ray.tune.search import Searcher

from tune.candidates import Candidate, grid, sample
from tune.optuna_searcher import OptunaSearcher
from tune.searchers import ListSearcher, config_of
from tune.space import Choice, FamilySpace, Space, Uniform
from tune.spaces import DEFAULT, REFERENCE_POOLED, WIDE
from tune.trial import OBJECTIVE

LINE = Space("line", (FamilySpace("svm", {"gamma": Uniform(0.0, 1.0)}),))
FINITE = Space(
    "finite",
    (
        FamilySpace("dummy", {"strategy": "prior"}),
        FamilySpace("svm", {"C": Choice((1, 2, 3))}),
    ),
)


def candidate_of(config: object) -> Candidate:
    assert isinstance(config, dict)
    return Candidate(**config["candidate"])


def result(score: float) -> dict[str, Any]:
    return {OBJECTIVE: score, "error_message": None}


def run(searcher: OptunaSearcher, number: int, *, score: float = 0.5) -> list[Candidate]:
    found: list[Candidate] = []
    for trial in range(number):
        config = searcher.suggest(str(trial))
        if config == Searcher.FINISHED:
            break
        found.append(candidate_of(config))
        searcher.on_trial_complete(str(trial), result(score))
    return found


def optuna_searcher(
    space: Space = DEFAULT,
    *,
    number: int = 100,
    seed: int = 1,
    known: list[tuple[Candidate, float]] | None = None,
) -> OptunaSearcher:
    return OptunaSearcher(space, number=number, seed=seed, known=known or [])


def test_a_list_is_walked_in_its_order_and_ends() -> None:
    candidates = sample(DEFAULT, number=5, seed=0)
    searcher = ListSearcher(candidates)
    assert [candidate_of(searcher.suggest(str(i))) for i in range(5)] == candidates
    assert searcher.suggest("5") is None, "one that is under way may come back"
    for trial in range(5):
        searcher.on_trial_complete(str(trial), result(0.5))
    assert [searcher.suggest(str(i)) for i in (5, 6)] == [Searcher.FINISHED] * 2


def test_a_candidate_that_lost_its_worker_comes_again() -> None:
    candidates = sample(DEFAULT, number=2, seed=0)
    for searcher in (ListSearcher(candidates), optuna_searcher(number=2)):
        first, second = (candidate_of(searcher.suggest(trial)) for trial in "01")
        searcher.on_trial_complete("0", error=True)
        searcher.again(first)
        assert candidate_of(searcher.suggest("2")) == first
        searcher.on_trial_complete("1", result(0.5))
        assert searcher.suggest("3") is None, "the first is under way"
        searcher.on_trial_complete("2", result(0.6))
        assert searcher.suggest("3") == Searcher.FINISHED
        assert first != second


def test_a_list_learns_nothing() -> None:
    first, second = (ListSearcher(grid(REFERENCE_POOLED)) for _ in range(2))
    first.suggest("0")
    second.suggest("0")
    first.on_trial_complete("0", result(0.9))
    assert first.suggest("1") == second.suggest("1")


def test_a_candidate_is_carried_as_plain_values() -> None:
    candidate = Candidate("svm", {"C": 1.0})
    assert config_of(candidate) == {"candidate": {"family": "svm", "params": {"C": 1.0}}}


def test_optuna_gives_as_many_as_asked() -> None:
    assert len(run(optuna_searcher(number=7), 20)) == 7


def test_the_same_seed_gives_the_same_candidates() -> None:
    assert run(optuna_searcher(), 15) == run(optuna_searcher(), 15)
    assert run(optuna_searcher(), 15) != run(optuna_searcher(seed=2), 15)


def test_optuna_never_leaves_the_space() -> None:
    ranges = {family.family: family.params for family in WIDE.families}
    for candidate in run(optuna_searcher(WIDE), 40):
        params = ranges[candidate.family]
        assert set(candidate.params) == set(params)
        for name, value in candidate.params.items():
            match params[name]:
                case Choice(values):
                    assert value in values
                case constant if not hasattr(constant, "low"):
                    assert value == constant
                case bounds:
                    assert bounds.low <= value <= bounds.high


def test_optuna_never_repeats_a_candidate() -> None:
    found = run(optuna_searcher(), 60)
    assert len({candidate.id for candidate in found}) == len(found) == 60


def test_optuna_ends_where_the_space_is_used_up() -> None:
    found = run(optuna_searcher(FINITE), 100)
    assert {c.id for c in found} == {c.id for c in grid(FINITE)}
    assert len(found) == 4


def test_several_candidates_are_under_way_at_once() -> None:
    searcher = optuna_searcher()
    configs = [searcher.suggest(str(trial)) for trial in range(4)]
    assert len({candidate_of(config).id for config in configs}) == 4
    for trial in (2, 0, 3, 1):
        searcher.on_trial_complete(str(trial), result(0.5))


def test_optuna_learns_where_the_scores_are_high() -> None:
    def distance(known: list[tuple[Candidate, float]]) -> float:
        found = run(optuna_searcher(LINE, known=known), 10)
        return sum(abs(c.params["gamma"] - 0.9) for c in found) / len(found)

    known = [(c, 1 - abs(c.params["gamma"] - 0.9)) for c in sample(LINE, number=30, seed=0)]
    assert distance(known) < 0.5 * distance([])


def test_what_is_known_counts_as_if_it_had_been_run() -> None:
    """A search that goes on proposes what one without a break would have proposed next."""
    known = [(c, 1 - abs(c.params["gamma"] - 0.9)) for c in sample(LINE, number=30, seed=0)]
    told, lived = optuna_searcher(LINE, known=known), optuna_searcher(LINE)
    for candidate, score in known:
        lived._study.enqueue_trial({"family": "svm", "svm.gamma": candidate.params["gamma"]})
        assert candidate_of(lived.suggest(candidate.id)) == candidate
        lived.on_trial_complete(candidate.id, result(score))
    assert run(told, 5) == run(lived, 5)


def test_a_search_that_goes_on_does_not_repeat_what_is_known() -> None:
    before = run(optuna_searcher(), 5)
    after = run(optuna_searcher(known=[(candidate, 0.8) for candidate in before]), 20)
    assert not {c.id for c in before} & {c.id for c in after}


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (None, True),
        (None, False),
        ({OBJECTIVE: 0.7}, True),
        ({OBJECTIVE: float("-inf"), "error_message": "it raised"}, False),
    ],
    ids=["worker lost", "no result", "worker lost after a fold", "candidate raised"],
)
def test_a_trial_that_failed_is_told_as_a_failure(last: dict[str, Any] | None, error: bool) -> None:
    searcher = optuna_searcher()
    searcher.suggest("0")
    searcher.on_trial_complete("0", last, error=error)
    assert [t.state for t in searcher._study.trials] == [optuna.trial.TrialState.FAIL]


def test_a_known_failure_is_told_as_one() -> None:
    (candidate,) = sample(LINE, number=1, seed=0)
    searcher = optuna_searcher(LINE, known=[(candidate, math.nan)])
    assert [t.state for t in searcher._study.trials] == [optuna.trial.TrialState.FAIL]


def test_a_trial_that_was_stopped_counts_with_its_mean() -> None:
    searcher = optuna_searcher()
    searcher.suggest("0")
    searcher.on_trial_complete("0", result(0.61) | {"folds": [1]})
    assert searcher._study.trials[0].value == 0.61


def test_optuna_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    run(optuna_searcher(FINITE, known=[(grid(FINITE)[0], math.nan)]), 10)
    assert capfd.readouterr() == ("", "")
