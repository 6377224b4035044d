"""The search in MLflow: a real database, and a server that is away."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from records import scored

from heart.comparison import corrected_standard_error
from heart.errors import TrackingError
from heart.settings import Settings
from tune import conclusion, tracking
from tune.candidates import Candidate
from tune.journal import TrialRecord
from tune.tracking import PARENT_TAG, SEARCH_TAG, TRIAL_TAG, Tracker

FINISHED = scored(Candidate("svm", {"C": 1.5, "gamma": None}), [0.8, 0.9, 0.85])
STOPPED = scored(Candidate("mlp", {"hidden": 2}), [0.6], status="stopped")
FAILED = scored(
    Candidate("mlp", {"hidden": 3}), [], status="failed", message="it raised " + "x" * 6000
)
RECORDS = [FINISHED, STOPPED, FAILED]
PATIENCE_S = 20.0
AT_ONCE_S = 0.2


@pytest.fixture
def home(stored: Settings) -> Settings:
    return stored


@pytest.fixture
def nowhere(tmp_path: Path) -> Settings:
    """A server that is away: a port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return Settings(home=tmp_path / "artifacts", tracking_uri=f"http://127.0.0.1:{port}")


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[Settings]:
    """A server that takes a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        yield Settings(home=tmp_path / "artifacts", tracking_uri=f"http://127.0.0.1:{port}")


def tracker_of(settings: Settings, *, search: str = "a-search") -> Tracker:
    return Tracker(settings, search=search, tags={"cohort": "all", "seed": 42}, folds=3)


def track(settings: Settings, records: Sequence[TrialRecord], *, search: str = "a-search") -> str:
    """Write records as a search would; the parent's id."""
    tracker = tracker_of(settings, search=search)
    tracker.open()
    for record in records:
        tracker.add(record)
    assert tracker.drain() == 0
    return tracker.run_id


def runs(settings: Settings, where: str) -> list[Run]:
    client = MlflowClient(settings.resolved_tracking_uri)
    experiment = client.get_experiment_by_name(settings.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], where))


def children(settings: Settings, run_id: str) -> dict[str, Run]:
    """The child runs by the trial they are of, each there once."""
    found = runs(settings, f"tags.`{PARENT_TAG}` = '{run_id}'")
    by_trial = {run.data.tags[TRIAL_TAG]: run for run in found}
    assert len(by_trial) == len(found)
    return by_trial


def parents(settings: Settings) -> list[Run]:
    return runs(settings, f"tags.`{SEARCH_TAG}` != ''")


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        time.sleep(0.02)


@contextmanager
def refusing(settings: Settings, table: str, *, when: str = "true") -> Iterator[None]:
    """The database refuses some rows of a table, as if the disk gave out there."""
    with closing(sqlite3.connect(settings.home / "mlflow.db")) as database:
        database.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN {when} "
            "BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )
        database.commit()
        yield
        database.execute("DROP TRIGGER refuse")
        database.commit()


def test_a_search_is_a_parent_run_with_its_tags(home: Settings) -> None:
    run_id = track(home, [])
    (parent,) = parents(home)
    assert parent.info.run_id == run_id
    assert parent.info.run_name == "a-search"
    assert parent.info.status == "RUNNING"
    assert parent.data.tags["cohort"] == "all"
    assert parent.data.tags["seed"] == "42"


def test_a_trial_is_a_child_run_with_an_honest_status(home: Settings) -> None:
    found = children(home, track(home, RECORDS))
    statuses = {trial: run.info.status for trial, run in found.items()}
    assert statuses == {
        FINISHED.candidate.id: "FINISHED",
        STOPPED.candidate.id: "KILLED",
        FAILED.candidate.id: "FAILED",
    }
    early = {trial: run.data.tags.get("stopped_early") for trial, run in found.items()}
    assert early == {
        FINISHED.candidate.id: None,
        STOPPED.candidate.id: "after fold 1 of 3",
        FAILED.candidate.id: None,
    }
    told = found[FAILED.candidate.id].data.tags["message"]
    assert told == FAILED.message[: len(told)] if FAILED.message else False
    assert told.startswith("it raised")


def test_a_trial_has_its_parameters_and_times(home: Settings) -> None:
    run = children(home, track(home, RECORDS))[FINISHED.candidate.id]
    assert run.data.params == {"family": "svm", "C": "1.5", "gamma": "None"}
    assert run.data.tags["worker"] == "host:1"
    assert run.info.run_name == f"svm-{FINISHED.candidate.id}"
    assert (run.info.start_time, run.info.end_time) == (10_000, 20_000)


def test_a_trial_has_its_scores_fold_by_fold(home: Settings) -> None:
    found = children(home, track(home, RECORDS))
    run = found[FINISHED.candidate.id]
    client = MlflowClient(home.resolved_tracking_uri)
    history = client.get_metric_history(run.info.run_id, "fold_roc_auc")
    assert [(m.step, m.value) for m in history] == [(0, 0.8), (1, 0.9), (2, 0.85)]
    for name in ("fold_f1", "fold_accuracy", "fold_brier_score"):
        assert len(client.get_metric_history(run.info.run_id, name)) == 3
    scores = FINISHED.fold_scores
    assert run.data.metrics["mean_roc_auc"] == pytest.approx(0.85)
    assert run.data.metrics["std_roc_auc"] == pytest.approx(np.std(scores))
    error = corrected_standard_error(scores, folds=3)
    assert run.data.metrics["standard_error_roc_auc"] == pytest.approx(error)
    assert run.data.metrics["fit_seconds"] == pytest.approx(0.75)
    assert "standard_error_roc_auc" not in found[STOPPED.candidate.id].data.metrics
    assert found[FAILED.candidate.id].data.metrics == {"fit_seconds": 0}


def test_a_search_that_goes_on_keeps_its_parent_and_writes_no_trial_twice(home: Settings) -> None:
    before = track(home, RECORDS[:2])
    old = children(home, before)
    after = track(home, RECORDS)
    assert after == before
    assert len(parents(home)) == 1
    new = children(home, after)
    assert set(new) == {record.candidate.id for record in RECORDS}
    assert all(new[trial].info.run_id == run.info.run_id for trial, run in old.items())


def test_a_search_that_goes_on_is_running_again(home: Settings) -> None:
    tracker = tracker_of(home)
    tracker.open()
    tracker.drain()
    tracker.end("KILLED", metrics={}, tags={}, artifacts=[])
    assert [run.info.status for run in parents(home)] == ["KILLED"]
    track(home, [])
    assert [run.info.status for run in parents(home)] == ["RUNNING"]


def test_two_searches_have_runs_of_their_own(home: Settings) -> None:
    first, second = (track(home, RECORDS, search=name) for name in ("one", "another"))
    assert first != second
    assert len(children(home, first)) == len(children(home, second)) == 3


def test_a_child_cut_off_half_way_is_deleted_and_written_again(home: Settings) -> None:
    run_id = track(home, RECORDS)
    client = MlflowClient(home.resolved_tracking_uri)
    half = children(home, run_id)[FINISHED.candidate.id].info.run_id
    client.update_run(half, status="RUNNING")
    track(home, RECORDS)
    found = children(home, run_id)
    assert len(found) == 3
    assert found[FINISHED.candidate.id].info.run_id != half
    assert found[FINISHED.candidate.id].info.status == "FINISHED"
    assert client.get_run(half).info.lifecycle_stage == "deleted"


def test_a_trial_whose_writing_failed_half_way_is_there_once(home: Settings) -> None:
    tracker = tracker_of(home)
    tracker.open()
    with refusing(home, "params"):
        tracker.add(FINISHED)
        eventually(lambda: tracker.away)
    assert tracker.drain() == 0
    (run,) = children(home, tracker.run_id).values()
    assert run.info.status == "FINISHED"
    assert run.data.params["C"] == "1.5"


def test_a_parent_whose_writing_failed_half_way_is_there_once(home: Settings) -> None:
    with refusing(home, "tags", when="NEW.key = 'cohort'"), pytest.raises(TrackingError):
        tracker_of(home).open()
    track(home, [])
    assert len(runs(home, "")) == 1


def test_the_end_closes_the_parent_with_what_was_found(home: Settings, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("found")
    tracker = tracker_of(home)
    tracker.open()
    tracker.drain()
    tracker.end("FINISHED", metrics={"cv_roc_auc": 0.9}, tags={"winner": "svm"}, artifacts=[report])
    (parent,) = parents(home)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["cv_roc_auc"] == 0.9
    assert parent.data.tags["winner"] == "svm"
    client = MlflowClient(home.resolved_tracking_uri)
    assert [f.path for f in client.list_artifacts(parent.info.run_id)] == ["report.html"]


def test_more_trials_than_a_page_are_found_again(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PAGE", 2)
    many = [scored(Candidate("svm", {"C": number}), [0.8]) for number in range(5)]
    run_id = track(home, many)
    track(home, many)
    assert len(children(home, run_id)) == 5


def test_what_is_not_written_in_time_is_counted(home: Settings) -> None:
    tracker = tracker_of(home)
    tracker.open()
    with closing(sqlite3.connect(home.home / "mlflow.db")) as database:
        database.execute("BEGIN EXCLUSIVE")
        for record in RECORDS:
            tracker.add(record)
        assert tracker.drain(within=0.2) == 3
        database.rollback()


def test_a_server_that_is_away_holds_nothing_up(nowhere: Settings) -> None:
    tracker = tracker_of(nowhere)
    started = time.monotonic()
    tracker.open()
    for _ in range(100):
        tracker.add(FINISHED)
    assert time.monotonic() - started < AT_ONCE_S
    eventually(lambda: tracker.away)


def test_a_server_that_stalls_holds_nothing_up(stalled: Settings) -> None:
    tracker = tracker_of(stalled)
    started = time.monotonic()
    tracker.open()
    tracker.add(FINISHED)
    assert time.monotonic() - started < AT_ONCE_S
    assert tracker.unwritten == 1


def test_a_search_that_is_interrupted_does_not_wait_for_a_server(
    stalled: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(conclusion, "CLOSE_S", AT_ONCE_S)
    tracker = tracker_of(stalled)
    tracker.open()
    for record in RECORDS:
        tracker.add(record)
    started = time.monotonic()
    conclusion.close(tracker, "KILLED", "interrupted")
    assert time.monotonic() - started < 2 * AT_ONCE_S
    told = "MLflow did not answer in time: 3 trials are in the journal alone; --resume writes them"
    assert capsys.readouterr().err == f"{told}\n"


def test_a_search_that_is_interrupted_closes_its_run(home: Settings) -> None:
    tracker = tracker_of(home)
    tracker.open()
    tracker.add(FINISHED)
    conclusion.close(tracker, "KILLED", "interrupted")
    (parent,) = parents(home)
    assert (parent.info.status, parent.data.tags["message"]) == ("KILLED", "interrupted")
    assert len(children(home, tracker.run_id)) == 1


def test_what_a_server_that_is_away_did_not_get_is_written_later(
    nowhere: Settings, home: Settings
) -> None:
    tracker = tracker_of(nowhere)
    tracker.open()
    for record in RECORDS:
        tracker.add(record)
    assert tracker.drain() == 3
    assert tracker.run_id == ""
    with pytest.raises(TrackingError, match="does not answer"):
        tracker.end("FAILED", metrics={}, tags={}, artifacts=[])
    run_id = track(home, RECORDS)
    assert len(children(home, run_id)) == 3


def test_a_damaged_database_is_told_at_once(home: Settings) -> None:
    (home.home / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(TrackingError, match="not a database"):
        tracker_of(home).open()
