"""A service without a champion starts, says so, and takes up the first one."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect
from ray import serve
from ray.serve.handle import DeploymentHandle

from heart.bundle import CHAMPION_FILE, Bundle
from heart.settings import Settings
from serve_app.deployment import Heart
from tests.serve_app.browsing import browsing
from tests.serve_app.logs import eventually, log_lines

pytestmark = pytest.mark.full
# pandas is no concern of ours: Ray Serve imports it where it is installed.
HEAVY = {"sklearn", "mlflow", "matplotlib", "optuna", "ray.tune"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def handle(serve_url: str, home: Path) -> Iterator[DeploymentHandle]:
    class Probe(Heart):
        """Says what its process has imported. Local, as the replica cannot import the tests."""

        def modules(self) -> list[str]:
            return list(sys.modules)

    deployment = serve.deployment(name="probe", user_config={})(serve.ingress()(Probe))
    settings = Settings(home=home, champion_poll_s=0.1)
    handle = serve.run(deployment.bind(settings), name="waiting", route_prefix="/waiting")
    # With Serve's throughput settings handles take the caller's event loop, and there is none.
    handle._init(_run_router_in_separate_loop=True)
    yield handle
    serve.delete("waiting")


@pytest.fixture(scope="module")
def waiting(serve_url: str, handle: DeploymentHandle) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{serve_url}/waiting") as client:
        yield client


def test_it_lives_and_is_not_ready(waiting: httpx.Client, patient: dict[str, Any]) -> None:
    health = waiting.get("/health")
    assert health.status_code == 200
    assert health.json() == {
        "status": "ok",
        "model_loaded": False,
        "model_version": None,
        "run_id": None,
    }
    asked = [
        waiting.get("/ready"),
        waiting.post("/predict", json=patient),
        waiting.post("/predict/batch", json={"patients": [patient]}),
    ]
    for answer in asked:
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "no_model"
        assert "python -m tune.search" in answer.json()["error"]["message"]


def test_it_says_once_what_to_run(waiting: httpx.Client, home: Path) -> None:
    (line,) = log_lines(str(home))
    assert line["level"] == "WARNING"
    assert "run `python -m tune.search`" in line["message"]


def test_documentation_under_a_prefix(waiting: httpx.Client) -> None:
    page = waiting.get("/docs")
    assert "/waiting/static-offline-docs/swagger-ui.css" in page.text
    assert waiting.get("/static-offline-docs/swagger-ui.css").status_code == 200


def test_a_damaged_champion_is_waited_out(waiting: httpx.Client, home: Path) -> None:
    (home / "bundles").mkdir()
    (home / "bundles" / CHAMPION_FILE).write_text("{}")
    (line,) = eventually(lambda: log_lines("no pointer to a version"))
    assert "the model cannot be loaded" in line["message"]
    assert waiting.get("/ready").status_code == 503


def test_it_takes_up_the_first_champion(
    waiting: httpx.Client,
    home: Path,
    champion_home: Path,
    bundle: Bundle,
    patient: dict[str, Any],
) -> None:
    with browsing() as browser:
        page = browser.new_page()
        page.goto(str(waiting.base_url))
        expect(page.locator("#state")).to_contain_text("run `python -m tune.search`")
        shutil.copytree(champion_home / "bundles", home / "bundles", dirs_exist_ok=True)
        eventually(lambda: waiting.get("/ready").status_code == 200)
        expect(page.locator("#facts")).to_contain_text(bundle.version)
        expect(page.locator("#state")).to_be_hidden()
    answer = waiting.post("/predict", json=patient).json()
    assert answer["model_version"] == bundle.version
    assert answer["run_id"] == bundle.metadata.lineage.run_id
    assert len(log_lines("no pointer to a version")) == 1


def test_a_replica_is_light(handle: DeploymentHandle, waiting: httpx.Client) -> None:
    async def imported() -> set[str]:
        return set(await handle.modules.remote())

    modules = asyncio.run(imported())  # the handle works in the loop that it is asked in
    assert "onnxruntime" in modules
    assert HEAVY & modules == set()
