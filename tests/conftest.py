"""One Ray instance and one champion for the whole suite."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray import serve

import serve_app  # noqa: F401 - sets Ray's variables, as `serve run` does before Ray starts
from heart.settings import Settings, keep_private
from heart.store import connect
from serve_app.environment import apart, free_port
from tune.options import QUICK_FOLDS, QUICK_SAMPLES, Options
from tune.result import Result
from tune.runner import connected
from tune.search import run

# A suite in the background of a shell would have its children ignore Ctrl-C as it does.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.update(apart(Path(tempfile.mkdtemp(prefix="haproxy-"))))  # read when Ray starts
ALLOWED_SKIPS: dict[str, str] = {
    f"tests/kuberay/{test}": (
        "neither the schemas of the custom resources nor a cluster is on a runner"
    )
    for test in (
        "test_monitoring.py::test_custom_resources_are_valid",
        "test_overlays.py::test_custom_resources_are_valid[minikube]",
        "test_overlays.py::test_custom_resources_are_valid[production]",
        "test_overlays.py::test_custom_resources_are_valid[production in steps]",
    )
}
"""Tests that continuous integration may skip, each with its reason."""

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in Ray's workers: threads that spin cost minutes
QUICK = Options(folds=QUICK_FOLDS, num_samples=QUICK_SAMPLES)
PATIENT: dict[str, object] = {
    "age": 54,
    "sex": 1,
    "cp": 1,
    "trestbps": 130,
    "chol": 246,
    "fbs": 0,
    "restecg": 1,
    "thalach": 150,
    "exang": 0,
    "oldpeak": 1.2,
    "slope": 2,
    "ca": 0,
    "thal": 3,
}

_skipped: list[str] = []
_homes: dict[str, Path] = {}


@pytest.fixture(scope="session", autouse=True)
def _private() -> None:
    keep_private()


@pytest.fixture(scope="session")
def ray_instance() -> Iterator[int]:
    """A local Ray, started as the search starts it; the number of its cores."""
    with connected("local") as cores:
        yield cores


@pytest.fixture(scope="session")
def champion_result(
    tmp_path_factory: pytest.TempPathFactory, ray_instance: int, empty_database: Path
) -> Result:
    """What a quick search found in a HEART_HOME of its own."""
    home = tmp_path_factory.mktemp("champion") / "artifacts"
    home.mkdir()
    shutil.copy(empty_database, home)
    result = run(QUICK, Settings(home=home))
    assert result is not None
    assert result.champion
    _homes[result.run] = home
    return result


@pytest.fixture(scope="session")
def champion_home(champion_result: Result) -> Path:
    """The HEART_HOME with that search's champion."""
    return _homes[champion_result.run]


@pytest.fixture(scope="session")
def serve_url(ray_instance: int) -> Iterator[str]:
    """Ray Serve without an application, one for all: its HAProxy starts once in a Ray."""
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database with all its tables: making them takes seconds, a copy none."""
    home = tmp_path_factory.mktemp("database")
    connect(Settings(home=home))
    return home / "mlflow.db"


@pytest.fixture
def stored(settings: Settings, empty_database: Path) -> Settings:
    """Settings with a home that holds nothing but such a database."""
    settings.home.mkdir()
    shutil.copy(empty_database, settings.home)
    return settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with an empty home."""
    return Settings(home=tmp_path / "artifacts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The service keeps a core of the shared Ray once it runs, so its tests come last."""
    items.sort(key=lambda item: bool({"contract", "serve_app"} & {*item.path.parts}))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration a skip that is not allowed is a failure."""
    unknown = [name for name in _skipped if name not in ALLOWED_SKIPS]
    if os.environ.get("CI") and unknown:
        print(f"\nskipped without leave: {', '.join(unknown)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure() -> None:
    if ray.is_initialized():
        ray.shutdown()
