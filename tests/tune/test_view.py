"""What a user sees while a search runs."""

from __future__ import annotations

import pytest
from records import scored

from tune import view
from tune.candidates import Candidate
from tune.view import View

SVM = scored(Candidate("svm", {"C": 1}), [0.9, 0.8])
BETTER = scored(Candidate("svm", {"C": 2}), [0.91, 0.81])
STOPPED = scored(Candidate("mlp", {"hidden": 2}), [0.99], status="stopped")
FAILED = scored(Candidate("mlp", {"hidden": 3}), [], status="failed", message="it [red]raised")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(view, "LINE_EVERY_S", 0.0)


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with View(total=4, cores=2, known=[]) as seen:
        seen.tick(0)
        for record in (SVM, BETTER, STOPPED):
            seen.add(record)
            seen.tick(1)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "", "the result alone goes there"
    assert "\x1b" not in err
    assert lines[0].startswith("0/4 trials, workers are starting, ")
    assert lines[1].startswith("1/4 trials, best ROC-AUC 0.8500 svm, ")
    assert lines[3].startswith("3/4 trials, best ROC-AUC 0.8600 svm, "), "stopped ones are no best"
    assert lines[0].endswith(", 0 running on 2 cores")
    assert lines[3].endswith(" s left, 1 running on 2 cores")
    assert lines[-1] == "3/4 trials, best ROC-AUC 0.8600 svm, 0 s", "nothing runs any more"
    assert len(lines) == 5, "one a tick and one at the end"


def test_a_first_trial_that_takes_long_is_no_worker_that_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with View(total=4, cores=2, known=[]) as seen:
        seen.tick(0)
        seen.tick(2)
    assert capsys.readouterr().err.splitlines() == [
        "0/4 trials, workers are starting, 0 running on 2 cores",
        "0/4 trials, 0 s, 2 running on 2 cores",
    ]


def test_lines_are_seconds_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "LINE_EVERY_S", 3600.0)
    with View(total=4, cores=2, known=[SVM]) as seen:
        for _ in range(50):
            seen.tick(2)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_time_left_is_told_from_the_trials_of_this_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with View(total=10, cores=2, known=[SVM] * 4) as seen:
        monkeypatch.setattr(seen, "_started", seen._started - 60)
        seen.add(BETTER)
        seen.add(BETTER)
        seen.tick(2)
    told = capsys.readouterr().err
    assert "6/10 trials" in told
    assert "60 s, about 120 s left" in told


def test_a_search_that_is_resumed_whole_has_nothing_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with View(total=1, cores=2, known=[SVM]):
        pass
    assert "1/1 trials, best ROC-AUC 0.8500 svm, nothing left to do" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_a_table_of_families_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with View(total=4, cores=2, known=[]) as seen:
        for record in (SVM, BETTER, STOPPED, FAILED):
            seen.add(record)
        seen.tick(2)
    err = capsys.readouterr().err
    assert "\x1b" in err
    rows = [line.split() for line in err.splitlines()]
    assert ["svm", "2", "0", "0", "0.8600"] in rows
    assert ["mlp", "0", "1", "1"] in rows


def test_what_is_told_once_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    with View(total=4, cores=2, known=[]) as seen:
        for _ in range(3):
            seen.say_once("it is away")
    assert capsys.readouterr().err.count("it is away") == 1


@pytest.mark.usefixtures("terminal")
def test_a_line_of_its_own_stays_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with View(total=4, cores=2, known=[]) as seen:
        seen.say("search [20260101-000000] at http://127.0.0.1 " + "x" * 200)
    assert "search [20260101-000000] at http://127.0.0.1 " + "x" * 200 in capsys.readouterr().err
