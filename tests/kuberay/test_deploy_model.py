"""``promote`` and ``rollback``: the served version, in place, and what the registry says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from apiserver import ApiServer
from deploying import Command, version
from world import CLUSTER, World, starting, user_config

from heart.bundle import EVALUATION_FILE, METADATA_FILE
from heart.files import sha256
from heart.registry import Registry
from heart.sources import Reference
from kuberay.promotion import MANAGER
from kuberay.serve_config import with_model
from kuberay.tracking import reachable

pytestmark = pytest.mark.full


@pytest.fixture
def serving(world: World, deploy: Command, uri: str) -> World:
    """A stack that serves version 1."""
    assert deploy("up", "--tracking-uri", uri).code == 0
    return world


@pytest.fixture
def other(registry: Registry, tmp_path: Path) -> str:
    """Version 2."""
    return version(registry, tmp_path / "other", threshold=0.25)


def served(world: World) -> str | None:
    return (world.model or {}).get("version")


def test_promote_changes_the_model_in_place_and_the_champion(
    api: ApiServer, serving: World, deploy: Command, registry: Registry, uri: str, other: str
) -> None:
    before = api.get("RayService", "heart")
    done = deploy("promote", other, "--tracking-uri", uri, "--why", "better")
    assert (done.code, done.out) == (0, "version 2 is served\n")
    assert "every pod answers with version 2" in done.err
    after = api.get("RayService", "heart")
    assert before is not None
    assert after is not None
    assert before["spec"]["rayClusterConfig"] == after["spec"]["rayClusterConfig"]
    assert registry.aliases().champion == "2"
    assert registry.aliases().previous == "1"
    (sent,) = [r for r in api.requests if r.query.get("fieldManager") == MANAGER]
    assert set(sent.body["spec"]) == {"serveConfigV2"}


def test_what_is_served_is_what_was_registered(
    api: ApiServer, serving: World, deploy: Command, registry: Registry, uri: str, other: str
) -> None:
    assert deploy("promote", "champion", "--tracking-uri", uri).code == 0
    assert served(serving) == "1"
    assert deploy("promote", other, "--tracking-uri", uri).code == 0
    assert serving.model is not None
    metadata = (Path(urlsplit(serving.model["uri"]).path) / METADATA_FILE).read_bytes()
    assert serving.model["sha256"] == sha256(metadata)
    assert json.loads(metadata)["threshold"] == 0.25


def test_rollback_goes_back_and_forth(
    serving: World, deploy: Command, registry: Registry, uri: str, other: str
) -> None:
    assert deploy("promote", other, "--tracking-uri", uri).code == 0
    for expected in ("1", "2"):
        done = deploy("rollback", "--tracking-uri", uri)
        assert (done.code, done.out) == (0, f"version {expected} is served again\n")
        assert served(serving) == expected
        assert registry.aliases().champion == expected


def test_nothing_to_go_back_to(serving: World, deploy: Command, uri: str) -> None:
    done = deploy("rollback", "--tracking-uri", uri)
    assert done.code == 2
    assert "has served no other version: nothing to go back to" in done.err


def test_the_same_version_again_changes_nothing(
    api: ApiServer, serving: World, deploy: Command, uri: str
) -> None:
    before = api.get("RayService", "heart")
    done = deploy("promote", "1", "--tracking-uri", uri)
    assert done.code == 0
    assert "version 1 is what RayService heart names already" in done.err
    assert api.get("RayService", "heart") == before


def test_a_version_that_did_not_pass_its_gates_needs_force(
    serving: World, deploy: Command, registry: Registry, uri: str, tmp_path: Path
) -> None:
    ill = failed(registry, tmp_path / "ill")
    done = deploy("promote", ill, "--tracking-uri", uri)
    assert done.code == 2
    assert f"error: version {ill} did not pass audit: " in done.err
    assert "--force serves it all the same" in done.err
    assert served(serving) == "1"
    done = deploy("promote", ill, "--tracking-uri", uri, "--force")
    assert (done.code, done.out) == (0, f"version {ill} is served, by force\n")
    assert served(serving) == ill


def test_a_version_that_is_not_there(serving: World, deploy: Command, uri: str) -> None:
    done = deploy("promote", "99", "--tracking-uri", uri)
    assert done.code == 2
    assert "error: heart has no version 99" in done.err


def test_dry_run_changes_neither_service_nor_registry(
    api: ApiServer, serving: World, deploy: Command, registry: Registry, uri: str, other: str
) -> None:
    before = api.get("RayService", "heart")
    done = deploy("promote", other, "--tracking-uri", uri, "--dry-run")
    assert (done.code, done.out) == (0, "version 2 would be served\n")
    assert api.get("RayService", "heart") == before
    assert registry.aliases().champion == "1"
    assert any("dryRun" in r.query for r in api.requests if r.method == "PATCH")


def test_a_version_that_does_not_arrive_is_taken_back(
    api: ApiServer, serving: World, deploy: Command, registry: Registry, uri: str, other: str
) -> None:
    serving.deaf.add(other)
    done = deploy("promote", other, "--tracking-uri", uri, "--timeout", "0.5")
    assert done.code == 1
    assert "error: version 2 did not arrive and was taken back, version 1 is served: " in done.err
    assert "Pod heart-abcde-worker still answers with 1" in done.err
    assert served(serving) == "1"
    assert registry.aliases().champion == "1"
    found = api.get("RayService", "heart")
    assert found is not None
    assert "heart/model-before" not in found["metadata"]["annotations"]


def test_a_version_that_the_application_refuses_is_taken_back(
    api: ApiServer, serving: World, deploy: Command, uri: str, other: str
) -> None:
    def refuse(api: ApiServer, found: dict[str, object]) -> None:
        side = starting("DEPLOY_FAILED", "cannot load")["pendingServiceStatus"]
        api.status("RayService", "heart", observedGeneration=9, activeServiceStatus=side)

    api.only("RayService", refuse)
    done = deploy("promote", other, "--tracking-uri", uri)
    assert done.code == 1
    assert "the application heart is DEPLOY_FAILED: cannot load" in done.err
    assert served(serving) == "1"


def test_a_promotion_over_someone_elses_is_refused(
    api: ApiServer, serving: World, deploy: Command, registry: Registry, uri: str, other: str
) -> None:
    """Someone promotes between our look and our change."""
    found = api.get("RayService", "heart")
    assert found is not None
    theirs = Reference(version="9", uri="/srv/9", sha256="b" * 64)
    found["spec"]["serveConfigV2"] = with_model(found, theirs)

    def overtake(*_: object) -> None:
        api.put(found)

    api.answer("PATCH", "/rayservices/heart", 409, "the object has been modified", times=1)
    rule = api.rule

    def raced(method: str, path: str) -> object:
        told = rule(method, path)
        if told is not None:
            overtake()
        return told

    api.rule = raced  # type: ignore[assignment]
    done = deploy("promote", other, "--tracking-uri", uri)
    assert done.code == 2
    assert "was changed by someone else meanwhile" in done.err
    assert served(serving) == "9"


def test_the_operators_status_is_no_conflict(
    api: ApiServer, serving: World, deploy: Command, uri: str, other: str
) -> None:
    api.answer("PATCH", "/rayservices/heart", 409, "the object has been modified", times=2)
    assert deploy("promote", other, "--tracking-uri", uri).code == 0
    assert served(serving) == "2"


def test_a_registry_that_falls_silent_after_the_change_is_told(
    api: ApiServer,
    serving: World,
    deploy: Command,
    registry: Registry,
    uri: str,
    other: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from heart.errors import TrackingError

    def away(*_: object, **__: object) -> None:
        raise TrackingError("the MLflow store does not answer")

    monkeypatch.setattr(Registry, "promote", away)
    done = deploy("promote", other, "--tracking-uri", uri)
    assert done.code == 2
    assert "error: the MLflow store does not answer" in done.err
    assert "version 2 is served, and not champion in MLflow: `promote 2` again" in done.err


def test_status_tells_what_is_served_and_what_was(
    serving: World, deploy: Command, uri: str, other: str
) -> None:
    assert deploy("promote", other, "--tracking-uri", uri, "--why", "better").code == 0
    lines = deploy("status").out.splitlines()
    assert lines[-3:] == ["model: version 2", "       why: better", "       before: version 1"]


def test_a_shadow_stays_unless_it_is_what_is_promoted(
    api: ApiServer, serving: World, other: str
) -> None:
    found = api.get("RayService", "heart")
    assert found is not None
    one, two = (Reference(version=v, uri=f"/srv/{v}", sha256=v * 64) for v in ("1", "2"))
    shadow = {"model": two.model_dump(), "share": 0.1}
    text = found["spec"]["serveConfigV2"]
    found["spec"]["serveConfigV2"] = re.sub(r"shadow: null", f"shadow: {json.dumps(shadow)}", text)
    for model, expected in ((one, shadow), (two, None)):
        found["spec"]["serveConfigV2"] = with_model(found, model)
        assert user_config(found)["model"] == model.model_dump()
        assert user_config(found)["shadow"] == expected


@pytest.mark.parametrize(
    ("source", "inside"),
    [
        (
            "mlflow-artifacts:/1/abc/artifacts/bundle",
            "http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts/1/abc/artifacts/bundle",
        ),
        ("s3://bucket/1/abc/artifacts/bundle", "s3://bucket/1/abc/artifacts/bundle"),
        ("/srv/bundles/1", "/srv/bundles/1"),
    ],
)
def test_where_a_pod_reads_what_mlflow_keeps(source: str, inside: str) -> None:
    assert reachable(source, inside="http://mlflow:5000") == inside


def failed(registry: Registry, folder: Path) -> str:
    """A version whose audit gate was not passed."""
    champion = registry.champion()
    assert champion is not None
    evaluation = json.loads(champion.evaluation)
    evaluation["gates"][0]["passed"] = False
    content = json.dumps(evaluation).encode()
    checksum = sha256(content)
    return version(registry, folder, files={EVALUATION_FILE: content}, evaluation_sha256=checksum)


def test_only_pods_that_take_requests_are_asked(
    api: ApiServer, serving: World, deploy: Command, uri: str, other: str
) -> None:
    worker = api.get("Pod", f"{CLUSTER}-worker")
    assert worker is not None
    worker["metadata"]["name"] = f"{CLUSTER}-late"
    worker["status"]["conditions"][0]["status"] = "False"
    del worker["metadata"]["uid"]
    api.put(worker)
    assert deploy("promote", other, "--tracking-uri", uri).code == 0
