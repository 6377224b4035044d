"""``python -m serve_app`` and ``python -m serve_app.rollout`` as a user types them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from heart.bundle import Bundle
from heart.registry import Registry
from heart.settings import Settings
from heart.sources import champion_reference
from heart.store import connect, experiment_id
from serve_app.config import ADDRESS_FILE
from serve_app.environment import apart, free_port
from serve_app.rollout import known_patients
from tests.serve_app.load import steady_load
from tests.serve_app.logs import eventually
from tests.serve_app.versions import cautious, doubtful, failing

pytestmark = pytest.mark.long
START_S = 60.0
END_S = 40.0
ROLLOUT_S = 90.0
ROWS = known_patients()


@dataclass(frozen=True)
class Running:
    """A service in a process of its own, and what commands for it need."""

    url: str
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    address: str

    def rollout(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One rollout as a command; 2 s of watching unless said."""
        return subprocess.run(
            [sys.executable, "-m", "serve_app.rollout", *arguments],
            env=self.environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=ROLLOUT_S,
        )

    def version(self) -> str:
        return str(httpx.get(f"{self.url}/ready").json()["model_version"])


@pytest.fixture(scope="module")
def home(champion_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HEART_HOME with version 1, the champion, and three that differ from it."""
    home = tmp_path_factory.mktemp("versions") / "artifacts"
    shutil.copytree(champion_home, home)
    settings = Settings(home=home)
    client = connect(settings)
    registry = Registry(client, settings)
    champion = champion_reference(settings.bundles)
    assert champion is not None
    for number, make in (("2", cautious), ("3", failing), ("4", doubtful)):
        run = client.create_run(experiment_id(client, settings)).info.run_id
        folder = tmp_path_factory.mktemp("bundle")
        make(Path(champion.uri), folder, number)
        assert registry.register(run, folder) == number
    return home


@pytest.fixture(scope="module")
def bundles(home: Path) -> dict[str, Bundle]:
    settings = Settings(home=home)
    registry = Registry(connect(settings), settings)
    return {version: registry.load(version) for version in ("1", "2")}


@pytest.fixture(scope="module")
def running(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    port = free_port()
    environment = os.environ | apart(Path(tempfile.mkdtemp(prefix="haproxy-")))
    environment |= {"HEART_HOME": str(home), "HEART_PORT": str(port)}
    told = tmp_path_factory.mktemp("told") / "log"
    with told.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve_app", "--address", "local"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_S
    while not ready(url):
        assert process.poll() is None, told.read_text()
        assert time.monotonic() < deadline, told.read_text()
        time.sleep(0.1)
    yield Running(url, process, environment, (home / ADDRESS_FILE).read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(END_S) == 0, told.read_text()[-2000:]


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_out_and_back_under_load(running: Running, bundles: dict[str, Bundle]) -> None:
    assert running.version() == "1"
    with steady_load(running.url, ROWS) as answers:
        there = running.rollout("2", "--watch", "2")
        assert there.returncode == 0, there.stdout + there.stderr
        assert running.version() == "2"
        back = running.rollout("champion", "--watch", "2")
        assert back.returncode == 0, back.stdout + back.stderr
    assert set(answers.check(ROWS, bundles)) == {"1", "2"}
    lines = there.stdout.splitlines()
    assert lines[0] == "before: version 1; now: version 2"
    assert lines[1] == "served by 1 replica, judging 100 patients as it does"
    assert lines[2].startswith("watched for 2 s: ")
    assert lines[2].endswith(", 0 errors")
    assert lines[3] == "done: version 2"
    assert lines[4].startswith("version 2 is not the champion")
    assert back.stdout.splitlines()[-1] == "done: version 1"


def test_errors_take_it_back(running: Running) -> None:
    """Version 3 fails for patients older than any that the rollout asks about."""
    old = [[80.0, *row[1:]] for row in ROWS]
    with steady_load(running.url, old) as answers:
        done = running.rollout("3", "--watch", "20")
    assert done.returncode == 1
    assert "going back: " in done.stdout
    assert done.stdout.splitlines()[-1] == "gone back: version 1"
    assert answers.statuses()[500] > 0
    assert running.version() == "1"


def test_a_gate_that_was_not_passed_takes_force(running: Running) -> None:
    refused = running.rollout("4", "--watch", "0")
    assert refused.returncode == 2
    assert "version 4 did not pass" in refused.stderr
    assert running.version() == "1"
    forced = running.rollout("4", "--watch", "0", "--force")
    assert forced.returncode == 0, forced.stderr
    assert running.version() == "4"
    back = running.rollout("champion", "--watch", "0")
    assert back.returncode == 0, back.stderr
    assert running.version() == "1"


def test_interrupted_it_goes_back(running: Running) -> None:
    rollout = subprocess.Popen(
        [sys.executable, "-m", "serve_app.rollout", "2", "--watch", "60"],
        env=running.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert rollout.stdout is not None
    told = []
    for line in rollout.stdout:
        told.append(line.strip())
        if line.startswith("served by"):
            break
    assert running.version() == "2"
    rollout.send_signal(signal.SIGINT)
    rest, _ = rollout.communicate(timeout=ROLLOUT_S)
    assert rollout.returncode == 1, told
    assert "going back: interrupted" in rest
    assert rest.splitlines()[-1] == "gone back: version 1"
    assert running.version() == "1"


def test_a_challenger_in_shadow(running: Running, bundles: dict[str, Bundle]) -> None:
    begun = running.rollout("champion", "--shadow", "2", "--share", "1", "--watch", "0")
    assert begun.returncode == 0, begun.stderr
    with steady_load(running.url, ROWS) as answers:
        time.sleep(2)
    assert set(answers.check(ROWS, bundles)) == {"1"}
    ended = running.rollout("champion", "--shadow", "none", "--watch", "0")
    assert ended.returncode == 0, ended.stderr
    eventually(lambda: shadowed(running.url) > 0)


def shadowed(url: str) -> float:
    """The patients whom version 2 has judged in shadow."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("heart_shadow_predictions_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in counted if '"2"' in line)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["99"], "heart has no version 99"),
        (["previous"], "no version is previous"),
        (["2", "--share", "0.5"], "--share is of a version that --shadow names"),
        (["2", "--watch", "-1"], "must be 0 or more seconds"),
    ],
)
def test_wrong_use(running: Running, arguments: list[str], why: str) -> None:
    refused = running.rollout(*arguments)
    assert refused.returncode == 2
    assert why in refused.stderr
    assert running.version() == "1"


def test_a_minute_of_swaps(running: Running, bundles: dict[str, Bundle]) -> None:
    """A rollout takes longer than a second, so the config is put without its checks."""
    swaps = [sys.executable, "-c", SWAPS, running.address]
    with steady_load(running.url, ROWS) as answers:
        done = subprocess.run(
            swaps, env=running.environment, capture_output=True, check=False, text=True
        )
    assert done.returncode == 0, done.stderr
    versions = answers.check(ROWS, bundles)
    assert min(versions["1"], versions["2"]) > 100


SWAPS = """
import sys, time
from heart.settings import Settings
from serve_app.config import find
from serve_app.service import joined
from serve_app.user_config import UserConfig
settings = Settings.from_environment()
models = [find(settings, "2"), find(settings, "1")]
with joined(sys.argv[1]) as service:
    started = time.monotonic()
    for swap in range(60):
        service.change(UserConfig(model=models[swap % 2]))
        time.sleep(max(0, started + swap + 1 - time.monotonic()))
    assert time.monotonic() - started < 75
"""
