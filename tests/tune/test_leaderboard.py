"""The order of the candidates, and which of them wins by which rule."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import plan_of, scored

from heart.comparison import corrected_standard_error
from tune.candidates import Candidate
from tune.journal import TrialRecord
from tune.leaderboard import Entry, as_csv, preferred, rank
from tune.plan import Plan

BEST = plan_of(select="best")
ONE_SE = plan_of(select="one-se")
DUMMY = Candidate("dummy", {"strategy": "prior"})


def candidate(family: str, number: float = 1) -> Candidate:
    return Candidate(family, {"number": number})


RECORDS = [
    scored(candidate("svm", 1), [0.9, 0.8, 0.85]),
    scored(candidate("svm", 2), [0.9, 0.8, 0.85]),
    scored(candidate("logistic_regression"), [0.9, 0.8, 0.85]),
    scored(candidate("mlp", 1), [0.91, 0.8, 0.85]),
    scored(candidate("mlp", 2), [0.99, 0.99], status="stopped"),
    scored(candidate("mlp", 3), [0.99], status="stopped"),
    scored(candidate("mlp", 4), [0.98], status="stopped"),
    scored(candidate("mlp", 5), [0.999, 0.999], status="failed", message="it raised"),
    scored(candidate("mlp", 6), [], status="failed", message="it raised"),
    scored(candidate("random_forest", 7), [], status="failed", message="it raised"),
]


def order(board: list[Entry]) -> list[str]:
    return [f"{entry.record.family} {entry.record.params['number']:g}" for entry in board]


def test_ranked_by_mean_then_stopped_then_failed() -> None:
    ties = sorted(["svm 1", "svm 2"], key=lambda name: candidate("svm", int(name[-1])).id)
    assert order(rank(BEST, RECORDS)) == [
        "mlp 1",
        "logistic_regression 1",
        *ties,
        "mlp 2",
        "mlp 3",
        "mlp 4",
        "mlp 5",
        "random_forest 7",
        "mlp 6",
    ]


def test_only_those_that_finished_have_a_rank() -> None:
    assert [entry.rank for entry in rank(BEST, RECORDS)] == [1, 2, 3, 4, *[None] * 6]


@given(st.permutations(RECORDS))
def test_the_order_does_not_depend_on_which_trial_ended_first(records: list[TrialRecord]) -> None:
    assert rank(BEST, records) == rank(BEST, RECORDS)
    assert preferred(ONE_SE, rank(ONE_SE, records)) == preferred(ONE_SE, rank(ONE_SE, RECORDS))


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=20))
def test_ranks_follow_the_means(scores: list[list[float]]) -> None:
    board = rank(BEST, [scored(candidate("svm", i), s) for i, s in enumerate(scores)])
    assert [entry.rank for entry in board] == list(range(1, len(scores) + 1))
    means = [entry.record.mean for entry in board]
    assert means == sorted(means, reverse=True)
    assert means[0] == pytest.approx(np.mean(scores, axis=1).max())


def test_an_entry_has_its_mean_and_corrected_standard_error() -> None:
    (entry,) = rank(BEST, [scored(candidate("svm"), [0.9, 0.8, 0.85])])
    assert entry.record.mean == pytest.approx(0.85)
    # The variance of 0.0025, times 1/3 for the folds and 1/2 for their shared rows.
    assert entry.standard_error == pytest.approx(math.sqrt(0.0025 * (1 / 3 + 1 / 2)))


def test_repeats_are_folds_of_the_same_size() -> None:
    twice = plan_of(repeats=2)
    (entry,) = rank(twice, [scored(candidate("svm"), [0.9, 0.8, 0.85] * 2)])
    variance = np.var([0.9, 0.8, 0.85] * 2, ddof=1)
    assert entry.standard_error == pytest.approx(math.sqrt(variance * (1 / 6 + 1 / 2)))


def test_one_fold_has_no_standard_error() -> None:
    (entry,) = rank(BEST, [scored(candidate("svm"), [0.9], status="stopped")])
    assert math.isnan(entry.standard_error)
    assert entry.row()["standard_error"] is None


def wins(plan: Plan, *records: TrialRecord) -> str:
    return order(preferred(plan, rank(plan, records)))[0]


def test_the_best_mean_wins() -> None:
    near = scored(candidate("logistic_regression"), [0.9, 0.8, 0.85])
    assert wins(BEST, near, scored(candidate("mlp"), [0.91, 0.8, 0.85])) == "mlp 1"


def test_one_se_takes_the_simplest_near_the_best() -> None:
    # Apart by 0.01 on average, with a corrected error of 0.0091 in the first case only.
    best = scored(candidate("mlp"), [0.90, 0.80, 0.85])
    wide = scored(candidate("logistic_regression"), [0.90, 0.80, 0.82])
    narrow = scored(candidate("logistic_regression"), [0.89, 0.79, 0.84])
    assert corrected_standard_error([0, 0, 0.03], folds=3) > 0.01
    assert wins(ONE_SE, best, wide) == "logistic_regression 1"
    assert wins(ONE_SE, best, narrow) == "mlp 1"


def test_one_se_is_of_the_paired_difference() -> None:
    # Each mean has an error of 0.09, the difference none: the better one is better everywhere.
    best = scored(candidate("mlp"), [0.95, 0.75, 0.85])
    other = scored(candidate("logistic_regression"), [0.94, 0.74, 0.84])
    assert rank(ONE_SE, [best])[0].standard_error > 0.05
    assert wins(ONE_SE, best, other) == "mlp 1"


def test_one_se_takes_the_best_of_the_simplest_family() -> None:
    records = [
        scored(candidate("mlp"), [0.90, 0.80, 0.86]),
        scored(candidate("logistic_regression", 1), [0.90, 0.80, 0.83]),
        scored(candidate("logistic_regression", 2), [0.90, 0.80, 0.84]),
    ]
    found = preferred(ONE_SE, rank(ONE_SE, records))
    assert order(found) == ["logistic_regression 2", "logistic_regression 1", "mlp 1"]


def test_one_se_keeps_the_others_in_their_rank() -> None:
    records = [
        scored(candidate("mlp"), [0.90, 0.80, 0.85]),
        scored(candidate("svm"), [0.60, 0.60, 0.60]),
        scored(candidate("logistic_regression"), [0.70, 0.70, 0.70]),
    ]
    found = preferred(ONE_SE, rank(ONE_SE, records))
    assert order(found) == ["mlp 1", "logistic_regression 1", "svm 1"]


def test_equal_scores_are_near() -> None:
    same = [0.9, 0.8, 0.85]
    both = scored(candidate("mlp"), same), scored(candidate("svm"), same)
    assert wins(ONE_SE, *both) == "svm 1"


@pytest.mark.parametrize("plan", [BEST, ONE_SE], ids=["best", "one-se"])
def test_what_did_not_finish_cannot_win(plan: Plan) -> None:
    unfinished = [record for record in RECORDS if record.status != "finished"]
    assert preferred(plan, rank(plan, unfinished)) == []
    assert preferred(plan, rank(plan, [])) == []


def test_the_table_has_a_line_a_candidate() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(rank(BEST, RECORDS)))))
    assert len(lines) == len(RECORDS)
    first, last = lines[0], lines[-1]
    assert (first["rank"], first["status"], first["folds"]) == ("1", "finished", "3")
    assert float(first["mean_roc_auc"]) == pytest.approx(2.56 / 3, abs=1e-6)
    assert json.loads(first["params"]) == {"number": 1}
    assert (last["rank"], last["mean_roc_auc"], last["message"]) == ("", "", "it raised")


def test_the_table_of_nothing_is_a_header() -> None:
    assert as_csv([]).count("\n") == 1
    assert as_csv([]) == as_csv(rank(BEST, RECORDS)).splitlines(keepends=True)[0]
