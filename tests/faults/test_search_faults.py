"""Kill what runs a search, at random moments: no trial is lost, none is recorded twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow.tracking import MlflowClient
from ray.cluster_utils import Cluster

from heart.settings import Settings
from serve_app.environment import free_port
from tune.journal import Journal
from tune.plan import make_plan
from tune.recording import MAX_FAILURES
from tune.search import INTERRUPTED_EXIT
from tune.tracking import SEARCH_TAG, TRIAL_TAG

CANDIDATES = 24
OPTIONS = (
    *("--num-samples", str(CANDIDATES)),
    *("--scheduler", "none"),
    *("--folds", "3"),
    "--no-register",
)
LAST_KILL = CANDIDATES - 6
"""Trials after which nothing is killed any more: a search that has ended cannot be hit."""
DEADLINE_S = 240.0


class Run:
    """A search in a process of its own, started again with ``--resume`` after a kill."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    @property
    def journal(self) -> Path | None:
        return next(self.home.glob("search/*/journal.jsonl"), None)

    @property
    def done(self) -> int:
        return self.journal.read_text().count("\n") - 1 if self.journal else 0

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        resume = ("--resume", self.journal.parent.name) if self.journal else self._options
        with (self.home.parent / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tune.search", *resume],
                env=os.environ | {"HEART_HOME": str(self.home)},
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def wait_for(self, trials: int) -> None:
        """Until so many trials are in the journal, or the search has ended."""
        deadline = time.monotonic() + DEADLINE_S
        while self.done < trials and self.process.poll() is None:
            assert time.monotonic() < deadline, (self.home.parent / "log").read_text()
            time.sleep(0.02)

    def workers(self) -> list[int]:
        """The processes of this search in which candidates are fitted."""
        listed = subprocess.run(
            ["ps", "-eo", "pid,sess,args"], capture_output=True, text=True, check=True
        )
        rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
        mine = str(os.getsid(self.process.pid))
        return [int(pid) for pid, session, name in rows if session == mine and "Trial" in name]

    def finish(self) -> None:
        assert self.process.wait(DEADLINE_S) == 0, (self.home.parent / "log").read_text()


def check_nothing_lost_or_doubled(run: Run, settings: Settings | None = None) -> None:
    """The journal and MLflow have each candidate once, and each finished."""
    assert run.journal is not None
    header, records = Journal(run.journal.parent).read()
    expected = {candidate.id for candidate in make_plan(header.options).candidates}
    assert Counter(record.candidate.id for record in records) == Counter(expected)
    assert [r.message for r in records if r.status != "finished"] == []
    settings = settings or Settings(home=run.home)
    client = MlflowClient(settings.resolved_tracking_uri)
    experiment = client.get_experiment_by_name(settings.experiment).experiment_id
    runs = client.search_runs([experiment], max_results=1000)
    trials = [r.data.tags[TRIAL_TAG] for r in runs if TRIAL_TAG in r.data.tags]
    assert Counter(trials) == Counter(expected)
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert sum(SEARCH_TAG in r.data.tags for r in runs) == 1
    result = json.loads((run.journal.parent / "result.json").read_text())
    assert result["trials"]["finished"] == CANDIDATES


def kill_the_driver(run: Run, rng: random.Random) -> bool:
    os.kill(run.process.pid, signal.SIGKILL)
    killed = run.process.wait() == -signal.SIGKILL
    run.start()
    return killed


def kill_a_worker(run: Run, rng: random.Random) -> bool:
    """Between two trials a worker may be about to start: it is waited for."""
    deadline = time.monotonic() + DEADLINE_S
    while run.process.poll() is None and time.monotonic() < deadline:
        if workers := run.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                return True
        time.sleep(0.02)
    return False


def random_moments() -> random.Random:
    """A generator whose seed is told, for a run that is to be repeated."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def search_under(home: Path, kill: Callable[[Run, random.Random], bool], *, kills: int) -> Run:
    """Run a search to its end, with kills after random numbers of trials and waits."""
    rng = random_moments()
    run = Run(home, *OPTIONS)
    run.start()
    killed = 0
    for after in sorted(rng.sample(range(1, LAST_KILL), kills)):
        run.wait_for(after)
        time.sleep(rng.uniform(0, 0.3))
        killed += kill(run, rng)
    run.finish()
    assert killed == kills
    return run


@pytest.mark.full
@pytest.mark.timeout(900)
def test_many_kills_of_the_driver(tmp_path: Path) -> None:
    check_nothing_lost_or_doubled(search_under(tmp_path / "home", kill_the_driver, kills=6))


@pytest.mark.full
@pytest.mark.timeout(900)
def test_many_kills_of_workers(tmp_path: Path) -> None:
    check_nothing_lost_or_doubled(
        search_under(tmp_path / "home", kill_a_worker, kills=MAX_FAILURES)
    )


@pytest.mark.full
@pytest.mark.timeout(900)
def test_trials_of_a_lost_node_run_elsewhere(tmp_path: Path) -> None:
    rng = random_moments()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = cluster.add_node(num_cpus=1)
        run = Run(tmp_path / "home", *OPTIONS, "--address", cluster.address)
        run.start()
        run.wait_for(rng.randrange(1, LAST_KILL))
        time.sleep(rng.uniform(0, 0.3))
        assert run.process.poll() is None
        cluster.remove_node(lost, allow_graceful=False)
        run.finish()
    finally:
        cluster.shutdown()
    check_nothing_lost_or_doubled(run)


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real tracking server that answers; killed at the end if it still lives."""
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(
            [*command, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=2).status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def stalled(folder: Path) -> Iterator[tuple[Run, Settings]]:
    """A search under way, whose tracking server stalls; dead when this is over."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    run = Run(folder / "home", *OPTIONS, "--tracking-uri", uri)
    with mlflow_server(folder / "server", port) as server:
        run.start()
        run.wait_for(CANDIDATES // 4)
        os.killpg(server.pid, signal.SIGSTOP)
        run.wait_for(CANDIDATES // 2)
        yield run, Settings(home=run.home, tracking_uri=uri)


def check_resumed(run: Run, settings: Settings, folder: Path) -> None:
    """With a server that answers again, ``--resume`` writes what was missing."""
    port = urlsplit(settings.tracking_uri).port
    assert port is not None
    with mlflow_server(folder / "server", port):
        run.start()
        run.finish()
        check_nothing_lost_or_doubled(run, settings)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_tracking_server_that_stalls_and_dies(tmp_path: Path) -> None:
    """The search goes on and says what is not written; ``--resume`` writes it."""
    with stalled(tmp_path) as (run, settings):
        assert run.process.poll() is None
    run.finish()
    assert "--resume" in (tmp_path / "log").read_text()
    check_resumed(run, settings, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ctrl_c_does_not_wait_for_a_tracking_server_that_stalls(tmp_path: Path) -> None:
    with stalled(tmp_path) as (run, settings):
        asked = time.monotonic()
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(DEADLINE_S) == INTERRUPTED_EXIT
        took = time.monotonic() - asked
    print(f"ended after {took:.1f} s")
    assert took < 5
    assert "MLflow did not answer in time" in (tmp_path / "log").read_text()
    check_resumed(run, settings, tmp_path)
