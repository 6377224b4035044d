"""A rollout under load: nothing lost, no answer from a mixture, and back where it fails."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray import serve
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from heart.bundle import METADATA_FILE, MODEL_FILE, Bundle
from heart.errors import BundleError, PromotionError, RolloutError, UsageError
from heart.settings import Settings
from heart.sources import Reference, champion_reference, fetch
from serve_app import rollout
from serve_app.changing import Bounds, Ending, Rollout
from serve_app.config import ADDRESS_FILE, DEPLOYMENT, serve_config
from serve_app.environment import free_port
from serve_app.reconfiguration import State
from serve_app.rollout import known_patients
from serve_app.service import Service, joined
from serve_app.user_config import ShadowOrder, UserConfig
from tests.serve_app.load import as_json, steady_load
from tests.serve_app.logs import eventually, log_lines
from tests.serve_app.versions import OLDEST, cautious, failing

pytestmark = pytest.mark.full
APPLICATION = "rollout"
START_S = 90.0
BOUNDS = Bounds(arrive_s=60, watch_s=0, error_rate=0.01)
ROWS = known_patients()


@pytest.fixture(scope="module")
def settings(champion_home: Path) -> Settings:
    return Settings(home=champion_home)


@pytest.fixture(scope="module")
def first(settings: Settings) -> Reference:
    champion = champion_reference(settings.bundles)
    assert champion is not None
    return champion


@pytest.fixture(scope="module")
def second(first: Reference, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return cautious(Path(first.uri), tmp_path_factory.mktemp("second"), "2")


@pytest.fixture(scope="module")
def bundles(first: Reference, second: Reference, settings: Settings) -> dict[str, Bundle]:
    return {reference.version: fetch(reference, settings) for reference in (first, second)}


@pytest.fixture(scope="module")
def dashboard(ray_instance: int) -> str:
    return f"http://{ray.init(ignore_reinit_error=True).dashboard_url}"


@pytest.fixture(scope="module")
def url(serve_url: str, dashboard: str, settings: Settings, first: Reference) -> Iterator[str]:
    """A service of two replicas that Serve knows from a config."""
    config = serve_config(settings, UserConfig(model=first))
    (application,) = config["applications"]
    home = {"HEART_HOME": str(settings.home), "HEART_NUM_REPLICAS": "2"}
    application |= {
        "name": APPLICATION,
        "route_prefix": f"/{APPLICATION}",
        "runtime_env": {"env_vars": home},
    }
    application["deployments"][0]["ray_actor_options"] = {"num_cpus": 0}
    ServeSubmissionClient(dashboard).deploy_applications(config)
    address = f"{serve_url}/{APPLICATION}"
    deadline = time.monotonic() + START_S
    while httpx.get(f"{address}/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield address
    serve.delete(APPLICATION)


@pytest.fixture(scope="module")
def live(url: str, dashboard: str) -> Service:
    found = Service(dashboard, application=APPLICATION)
    eventually(lambda: len(found.states()) == 2)
    return found


@pytest.fixture
def lines() -> list[str]:
    """What a rollout says."""
    return []


@pytest.fixture
def change(
    live: Service, settings: Settings, first: Reference, lines: list[str]
) -> Iterator[Callable[..., Ending]]:
    """Roll a version out; afterwards the first is served again."""

    def to(model: Reference, bounds: Bounds = BOUNDS, **order: Any) -> Ending:
        made = Rollout(live, settings, bounds, patients=ROWS, say=lines.append)
        return made.change(UserConfig(model=model, **order))

    yield to
    settle(live, UserConfig(model=first))


def replica_ids(dashboard: str) -> set[str]:
    details = ServeSubmissionClient(dashboard).get_serve_details()
    found = details["applications"][APPLICATION]["deployments"][DEPLOYMENT]["replicas"]
    return {replica["replica_id"] for replica in found}


def test_there_and_back_under_load(
    url: str,
    change: Callable[..., Ending],
    first: Reference,
    second: Reference,
    bundles: dict[str, Bundle],
    dashboard: str,
    lines: list[str],
) -> None:
    before = replica_ids(dashboard)
    with steady_load(url, ROWS) as answers:
        assert change(second) is Ending.DONE
        assert change(first) is Ending.DONE
    versions = answers.check(ROWS, bundles)
    assert min(versions[first.version], versions[second.version]) > 10
    assert replica_ids(dashboard) == before  # the first change, too, restarts none
    assert "served by 2 replicas, judging 100 patients as it does" in lines


def damage_graph(folder: Path) -> None:
    (folder / MODEL_FILE).write_bytes(b"no graph")


def damage_metadata(folder: Path) -> None:
    content = json.loads((folder / METADATA_FILE).read_text())
    (folder / METADATA_FILE).write_text(json.dumps(content | {"parity": 1.0}))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (damage_graph, "model.onnx is damaged: SHA-256"),
        (damage_metadata, "metadata.json is damaged: SHA-256"),
        (shutil.rmtree, "metadata.json cannot be read: No such file or directory"),
    ],
)
def test_what_replicas_cannot_load_is_taken_back(
    damage: Callable[[Path], None],
    why: str,
    url: str,
    live: Service,
    settings: Settings,
    first: Reference,
    bundles: dict[str, Bundle],
    tmp_path: Path,
) -> None:
    """The folder is sound when the rollout looks at it, and is not when the replicas do."""
    reference = cautious(Path(first.uri), tmp_path / "4", "4")
    lines: list[str] = []

    def say(line: str) -> None:
        if line.startswith("before: "):
            damage(tmp_path / "4")
        lines.append(line)

    with steady_load(url, ROWS) as answers:
        made = Rollout(live, settings, BOUNDS, patients=ROWS, say=say)
        assert made.change(UserConfig(model=reference)) is Ending.GONE_BACK
    assert set(answers.check(ROWS, bundles)) == {first.version}
    (told,) = [line for line in lines if line.startswith("going back: ")]
    assert "a replica reports: model: " in told
    assert why in told
    assert lines[-1] == f"gone back: version {first.version}"
    states = live.states()
    assert [state.failures for state in states] == [(), ()]


def test_what_cannot_be_had_here_changes_nothing(
    live: Service, settings: Settings, first: Reference, change: Callable[..., Ending]
) -> None:
    away = Reference(version="5", uri=f"http://127.0.0.1:{free_port()}/5", sha256="a" * 64)
    with pytest.raises(BundleError, match=r"127\.0\.0\.1"):
        change(away)
    assert live.user_config() == UserConfig(model=first)


def test_a_replica_keeps_its_model_and_tells(
    url: str, live: Service, first: Reference, change: Callable[..., Ending]
) -> None:
    """Serve ends a replica whose reconfigure raises; an order that makes no sense is one more."""
    away = Reference(version="5", uri=f"http://127.0.0.1:{free_port()}/5", sha256="a" * 64)
    live.change(UserConfig(model=away))
    states = eventually(lambda: all_failed(live))
    assert {state.model for state in states} == {first}
    assert log_lines("the model cannot be loaded, it stays what it was")
    assert httpx.get(f"{url}/ready").json()["model_version"] == first.version
    eventually(lambda: counted(url, "heart_reconfigure_failures_total") >= 2)


def test_errors_take_it_back(
    url: str,
    change: Callable[..., Ending],
    first: Reference,
    tmp_path: Path,
    lines: list[str],
) -> None:
    """The version judges all known patients as it should, and fails for older ones."""
    old = [[OLDEST + 3.0, *row[1:]] for row in ROWS]
    reference = failing(Path(first.uri), tmp_path / "6", "6")
    with steady_load(url, old) as answers:
        ended = change(reference, Bounds(arrive_s=60, watch_s=20, error_rate=0.01))
    assert ended is Ending.GONE_BACK
    assert "more than a share of 0.01" in next(li for li in lines if li.startswith("going back"))
    assert answers.statuses()[500] > 0
    _, last = answers.singles[-1]
    assert last.json()["model_version"] == first.version


def test_a_shadow_is_compared_and_answers_nobody(
    url: str,
    live: Service,
    first: Reference,
    second: Reference,
    bundles: dict[str, Bundle],
    change: Callable[..., Ending],
) -> None:
    shadow = ShadowOrder(model=second, share=1.0)
    assert change(first, shadow=shadow) is Ending.DONE
    assert {state.shadow for state in live.states()} == {second}
    answers = httpx.post(f"{url}/predict/batch", json={"patients": [as_json(r) for r in ROWS]})
    single = httpx.post(f"{url}/predict", json=as_json(ROWS[0]))
    assert {answers.json()["model_version"], single.json()["model_version"]} == {first.version}
    p, q = (bundles[r.version].predict([*ROWS, ROWS[0]]) for r in (first, second))
    threshold = bundles[first.version].metadata.threshold
    others = int(((p >= threshold) != (q >= threshold)).sum())
    assert others
    told = partial(counted, url, model_version=second.version)
    eventually(lambda: told("heart_shadow_predictions_total") == len(ROWS) + 1)
    assert told("heart_shadow_disagreements_total") == others
    assert told("heart_shadow_difference_count") == len(ROWS) + 1
    near = told("heart_shadow_difference_bucket", le="0.1")
    assert near == (abs(p - q) <= 0.1).sum()


def test_a_failing_shadow_is_invisible(
    url: str,
    first: Reference,
    bundles: dict[str, Bundle],
    change: Callable[..., Ending],
    tmp_path: Path,
) -> None:
    reference = failing(Path(first.uri), tmp_path / "7", "7")
    assert change(first, shadow=ShadowOrder(model=reference, share=1.0)) is Ending.DONE
    old = [[OLDEST + 3.0, *row[1:]] for row in ROWS]
    with steady_load(url, old) as answers:
        time.sleep(1)
    assert set(answers.check(old, bundles)) == {first.version}
    told = partial(counted, url, model_version="7")
    eventually(lambda: told("heart_shadow_failures_total") > len(answers.singles))
    assert told("heart_shadow_predictions_total") == 0
    (line,) = log_lines("version 7 in shadow failed")[:1]
    assert line["level"] == "WARNING"


def test_a_shadow_that_cannot_be_loaded_leaves_the_model(
    live: Service,
    second: Reference,
    first: Reference,
) -> None:
    away = Reference(version="8", uri=f"http://127.0.0.1:{free_port()}/8", sha256="a" * 64)
    live.change(UserConfig(model=second, shadow=ShadowOrder(model=away, share=0.5)))
    states = eventually(lambda: all_failed(live))
    assert {state.model for state in states} == {second}
    assert {state.shadow for state in states} == {None}
    settle(live, UserConfig(model=first))


def test_what_no_config_started_is_refused(client: httpx.Client, dashboard: str) -> None:
    with pytest.raises(UsageError, match=r"was not started from a config.*python -m serve_app"):
        Service(dashboard, application="heart").user_config()
    with pytest.raises(UsageError, match="no application elsewhere runs"):
        Service(dashboard, application="elsewhere").user_config()


def test_a_service_that_has_ended(ray_instance: int, tmp_path: Path) -> None:
    """The address that it left is that of nobody."""
    (tmp_path / ADDRESS_FILE).write_text(f"127.0.0.1:{free_port()}")
    address = rollout.started(Settings(home=tmp_path))
    refused = pytest.raises(UsageError, match=r"no Ray answers at .*python -m serve_app")
    with refused, joined(address):
        pass
    assert ray.is_initialized()


def test_on_a_cluster_the_operator_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEART_MANAGED_BY", "kuberay")
    with pytest.raises(UsageError, match=r"python -m kuberay\.deploy promote"):
        rollout.main(["1"])


def test_a_version_that_failed_a_gate_is_refused(bundle: Bundle) -> None:
    rollout.check_gates(bundle)
    evaluation = json.loads(bundle.evaluation)
    evaluation["gates"][0]["passed"] = False
    refused = copy.copy(bundle)
    refused.evaluation = json.dumps(evaluation).encode()
    with pytest.raises(PromotionError, match=r"did not pass audit.*--force"):
        rollout.check_gates(refused)


def settle(live: Service, order: UserConfig) -> None:
    """Give an order and wait until both replicas have dealt with it."""
    live.change(order)
    eventually(lambda: [state.order for state in states_of(live)] == [order, order])


def states_of(live: Service) -> list[State]:
    """What the replicas tell; none where Serve names none, as while it changes them."""
    try:
        return live.states()
    except RolloutError:
        return []


def all_failed(live: Service) -> list[State]:
    """The states of both replicas once each reports a failure, none before."""
    states = [state for state in states_of(live) if state.failures]
    return states if len(states) == 2 else []


def counted(url: str, name: str, **labels: str) -> float:
    """The sum of a metric of this application over all replicas."""
    wanted = [f'{key}="{value}"' for key, value in {"application": APPLICATION, **labels}.items()]
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    found = [li for li in lines if li.startswith(f"{name}{{") and all(w in li for w in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in found)
