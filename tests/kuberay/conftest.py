"""A cluster's stand-in for each test, a kubeconfig that leads to it, and the command."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from apiserver import ApiServer
from deploying import FAST, OVERLAY, Command, Outcome
from world import World

from heart.errors import run_main
from heart.registry import Registry
from heart.settings import Settings
from heart.store import connect
from kuberay.deploy import main
from kuberay.waiting import Pace


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """An API server without anything, and the kubeconfig that leads to it."""
    with ApiServer() as api:
        path = tmp_path / "kubeconfig"
        path.write_text(api.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield api


@pytest.fixture
def world(api: ApiServer) -> Iterator[World]:
    """A cluster that works, with an operator."""
    with World(api) as world:
        world.operator()
        yield world


@pytest.fixture
def deploy(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command on the test's overlay, as it ends on a command line."""

    def run(*arguments: str, context: str | None = "minikube", pace: Pace = FAST) -> Outcome:
        given = [arguments[0], "--overlay", str(OVERLAY), "--timeout", "5", *arguments[1:]]
        given[1:1] = ["--context", context] if context else []
        capsys.readouterr()
        code = run_main(lambda: main(given, pace=pace))
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Outcome(code, told.out, told.err)

    return run


@pytest.fixture
def registry(champion_home: Path, tmp_path: Path) -> Registry:
    """A copy of the registry with the suite's champion, version 1; artefacts where they are."""
    home = tmp_path / "cluster"
    home.mkdir()
    shutil.copy(champion_home / "mlflow.db", home)
    settings = Settings(home=home, tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    return Registry(connect(settings), settings)


@pytest.fixture
def uri(registry: Registry) -> str:
    """The tracking URI of that registry."""
    return registry.settings.tracking_uri
