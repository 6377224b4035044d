"""``python -m tune.search`` as a user types it, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from mlflow.tracking import MlflowClient

from heart.bundle import load_champion
from heart.errors import UsageError, run_main
from heart.settings import Settings
from tune.options import Options
from tune.search import main, run
from tune.tracking import SEARCH_TAG

QUICK = ("--folds", "2", "--num-samples", "3")


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tune.search", *arguments]


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"HEART_HOME": str(home)}


def search(home: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(home, *arguments),
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Typed:
    """A command in this process, on the shared Ray: its exit code and its last line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, home: Path, *arguments: str) -> tuple[object, str]:
        self._monkeypatch.setenv("HEART_HOME", str(home))
        try:
            code: object = run_main(lambda: main(arguments))
        except SystemExit as refused:
            code = refused.code
        return code, self._capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def typed(
    ray_instance: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Typed:
    return Typed(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--space", "nowhere"), 'got "nowhere"'),
        (("--space", "nowhere.py:SPACE"), "nowhere.py is no Python file"),
        (
            ("--space", "reference", "--cohort", "all"),
            "--space reference is for --cohort cleveland",
        ),
        (("--algorithm", "grid"), "is a range"),
        (("--folds", "1"), "--folds must be from 2 to 328"),
        (("--folds", "1000"), "--folds must be from 2 to 328"),
        (("--num-samples", "0"), "--num-samples must be at least 1, got 0"),
        (("--test-size", "1.5"), "1.5"),
        (("--time-budget", "0"), "--time-budget must be above 0 seconds, got 0"),
        (("--resume", "nothing"), "there is no search in"),
        (("--cohort", "mars"), "invalid choice"),
        (("--colour", "red"), "unrecognized arguments: --colour red"),
        (("--seed", "-1"), "--seed must be from 0"),
    ],
)
def test_a_wrong_option_is_one_clear_line_and_nothing_is_written(
    tmp_path: Path, typed: Typed, arguments: tuple[str, ...], told: str
) -> None:
    home = tmp_path / "artifacts"
    code, line = typed(home, *arguments)
    assert code == 2
    assert told in line
    assert not home.exists()


@pytest.mark.full
def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    home = tmp_path / "artifacts"
    done = search(home, "--address", "127.0.0.1:1", *QUICK)
    assert done.returncode == 2
    assert "--address 127.0.0.1:1: no Ray cluster answers there" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not home.exists()


def test_nothing_is_written_before_a_cluster_answers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UsageError, match=r"--address 127\.0\.0\.1:1: no Ray cluster"):
        run(Options(address="127.0.0.1:1"), settings)
    assert not settings.home.exists()


def test_a_damaged_database_is_named_and_left_as_it_is(tmp_path: Path, typed: Typed) -> None:
    home = tmp_path / "artifacts"
    home.mkdir()
    database = home / "mlflow.db"
    database.write_bytes(b"this is no database" * 100)
    before = database.read_bytes()
    code, line = typed(home, *QUICK)
    assert code == 2
    assert str(database) in line
    assert database.read_bytes() == before
    assert not (home / "search").exists()


@pytest.mark.full
def test_a_locked_database_is_named(champion_home: Path, typed: Typed) -> None:
    with sqlite3.connect(champion_home / "mlflow.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        code, line = typed(champion_home, *QUICK)
        other.execute("ROLLBACK")
    assert code == 2
    assert "database is locked" in line


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, typed: Typed) -> None:
    (tmp_path / "file").write_text("no folder")
    code, line = typed(tmp_path / "file" / "artifacts", *QUICK)
    assert code == 2
    assert str(tmp_path / "file") in line


def test_a_full_disk_ends_the_search_and_keeps_the_champion(champion_home: Path) -> None:
    before = load_champion(Settings(home=champion_home).bundles)
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from heart.files import write_whole; from heart.errors import UsageError, run_main;"
        "from pathlib import Path;"
        f"sys.exit(run_main(lambda: write_whole(Path({str(champion_home / 'bundles')!r}) /"
        "'champion.json', b'x' * 5000)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "champion.json cannot be written" in done.stderr
    after = load_champion(Settings(home=champion_home).bundles)
    assert before is not None
    assert after is not None
    assert after.version == before.version


@pytest.mark.full
def test_two_searches_at_once_do_not_damage_each_other(tmp_path: Path) -> None:
    home = tmp_path / "artifacts"
    running = [
        subprocess.Popen(
            command(home, *QUICK, "--json", "--seed", str(seed)),
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    ended = [process.communicate(timeout=200) for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    results = [json.loads(out.splitlines()[-1]) for out, _ in ended]
    assert {result["model_version"] for result in results} == {"1", "2"}
    settings = Settings(home=home)
    champion = load_champion(settings.bundles)
    assert champion is not None
    client = MlflowClient(settings.resolved_tracking_uri)
    alias = client.get_model_version_by_alias(settings.model_name, "champion")
    assert champion.version == str(alias.version)
    for result in results:
        assert client.get_run(result["run_id"]).data.tags[SEARCH_TAG] == result["run"]
        assert (settings.searches / result["run"] / "result.json").exists()


@pytest.mark.full
def test_ctrl_c_ends_a_long_trial_within_five_seconds_and_resume_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "artifacts"
    space = tmp_path / "slow.py"
    space.write_text(
        "from tune.space import Choice, FamilySpace, Space\n"
        "SLOW = Space('slow', (\n"
        "    FamilySpace('dummy', {'strategy': 'prior'}),\n"
        "    FamilySpace('logistic_regression', {'C': Choice((0.1, 1.0)), 'max_iter': 500}),\n"
        "    FamilySpace('random_forest', {'n_estimators': Choice((30, 100_000))}),\n"
        "))\n"
    )
    arguments = ("--space", f"{space}:SLOW", "--folds", "2", "--no-register")
    process = subprocess.Popen(
        command(home, *arguments),
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = _wait_for_trials(home, 4)
    time.sleep(1)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    took = time.monotonic() - asked
    print(f"ended after {took:.1f} s")
    assert took < 5
    assert process.returncode == 130
    assert "interrupted after 4 of 5 trials" in told
    assert "1. 0." in told
    assert (journal.parent / "leaderboard.csv").exists()
    client = MlflowClient(Settings(home=home).resolved_tracking_uri)
    experiment = client.get_experiment_by_name("heart").experiment_id
    (parent,) = client.search_runs([experiment], f"tags.`{SEARCH_TAG}` = '{journal.parent.name}'")
    assert parent.info.status == "KILLED"


def _wait_for_trials(home: Path, number: int, timeout: float = 90) -> Path:
    """The journal, once it has so many trials."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for journal in home.glob("search/*/journal.jsonl"):
            if journal.read_text().count("\n") > number:
                return journal
        time.sleep(0.1)
    raise AssertionError(f"no {number} trials within {timeout} s")
