"""What does not become healthy: the reason is told, with what to do, and what is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apiserver import ApiServer, Object
from deploying import FAST, NAMED, Command, changed
from world import CLUSTER, World, event, pod, ray, serving, starting, thing

pytestmark = pytest.mark.full

Stuck = Callable[[ApiServer], None]
LOG = ("loading", "ValueError: no such thing")


@pytest.fixture
def up(deploy: Command, world: World, tmp_path: Path) -> Callable[..., Any]:
    """`up` of an overlay that names its model."""
    overlay = changed(tmp_path, NAMED)
    return lambda *more, **how: deploy("up", "--overlay", overlay, *more, **how)


def head(**how: Any) -> Stuck:
    """A service whose head pod hangs."""

    def stick(api: ApiServer) -> None:
        api.put(pod(f"{CLUSTER}-head", ray("head"), **how))
        api.status("RayService", "heart", **starting("NOT_STARTED"))

    return stick


def warned(of: str, message: str) -> Stuck:
    """A service of which the operator could make no pod."""

    def stick(api: ApiServer) -> None:
        api.put(event(of, message))
        api.status("RayService", "heart", **starting("NOT_STARTED"))

    return stick


def told(**status: Any) -> Stuck:
    """A service with a status."""
    return lambda api: api.status("RayService", "heart", **status)


QUOTA = 'pods "heart-abcde-head" is forbidden: exceeded quota: small, requested: cpu=1'
SECURITY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot'
GIVEN_UP = {
    "type": "Ready",
    "status": "False",
    "reason": "ValidationFailed",
    "message": "RayService name is too long",
}


@pytest.mark.parametrize(
    ("stick", "reason", "advice"),
    [
        (
            head(waiting={"reason": "ImagePullBackOff", "message": "Back-off pulling"}),
            "Pod heart-abcde-head has no image heart:0.1.0 (ImagePullBackOff): Back-off pulling",
            "minikube image load",
        ),
        (
            head(waiting={"reason": "ErrImageNeverPull", "message": "policy is Never"}),
            "has no image heart:0.1.0 (ErrImageNeverPull): policy is Never",
            "minikube image load",
        ),
        (
            head(waiting={"reason": "CreateContainerConfigError", "message": "secret not found"}),
            "cannot start (CreateContainerConfigError): secret not found",
            "",
        ),
        (
            head(unschedulable="0/1 nodes are available: 1 Insufficient cpu."),
            "no node takes Pod heart-abcde-head: 0/1 nodes are available: 1 Insufficient cpu.",
            "lower the requests",
        ),
        (
            head(waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": 3}),
            "ends again and again (exit code 3): loading ValueError: no such thing",
            "",
        ),
        (
            head(
                waiting={"reason": "CrashLoopBackOff"},
                last={"exitCode": 137, "reason": "OOMKilled"},
            ),
            "ends again and again (out of memory",
            "raise its limit",
        ),
        (
            head(phase="Failed", ended={"exitCode": 1}),
            "Pod heart-abcde-head has ended (exit code 1): loading ValueError: no such thing",
            "",
        ),
        (
            head(phase="Failed", ended={"exitCode": 137, "reason": "OOMKilled"}),
            "has ended (out of memory",
            "raise its limit",
        ),
        (warned(CLUSTER, QUOTA), "exceeded quota: small", "lower the requests"),
        (warned("heart", SECURITY), "violates PodSecurity", "Pod Security of the namespace"),
        (
            told(**starting("DEPLOY_FAILED", "Failed to import serve_app", deployment="")),
            "the application heart is DEPLOY_FAILED: Failed to import serve_app",
            "",
        ),
        (
            told(**starting("UNHEALTHY", "", deployment="BundleError: sha256 differs")),
            "the application heart is UNHEALTHY: heart: BundleError: sha256 differs",
            "",
        ),
        (
            told(observedGeneration=9, conditions=[GIVEN_UP]),
            "gave up RayService heart (ValidationFailed): RayService name is too long",
            "`down`, then `up`",
        ),
    ],
)
def test_a_service_that_is_stuck(
    api: ApiServer, up: Callable[..., Any], stick: Stuck, reason: str, advice: str
) -> None:
    api.logs[f"{CLUSTER}-head"] = list(LOG)
    api.only("RayService", lambda api, _: stick(api))
    done = up()
    assert done.code == 1
    error = next(line for line in done.err.splitlines() if line.startswith("error: "))
    assert reason in error
    assert advice in error
    assert done.err.splitlines()[-1] == (
        "namespace, policies and secrets, tracking, search, service applied, not yet the rest; "
        "`up` goes on from there, `down` takes it away"
    )


def test_an_operator_that_is_gone(api: ApiServer, world: World, up: Callable[..., Any]) -> None:
    def die(api: ApiServer, _: Object) -> None:
        world.operator(ready=0)
        api.status("RayService", "heart", numServeEndpoints=0)

    api.only("RayService", die)
    done = up()
    assert done.code == 1
    assert "the KubeRay operator is not ready, so nothing is made of RayService heart" in done.err


def test_tracking_that_has_no_image(api: ApiServer, up: Callable[..., Any]) -> None:
    def stick(api: ApiServer, found: Object) -> None:
        waiting = {"reason": "ErrImageNeverPull", "message": "not here"}
        api.put(pod("mlflow-0", {"app": "mlflow"}, waiting=waiting))
        api.status("Deployment", "mlflow", observedGeneration=1)

    api.only("Deployment", stick)
    done = up()
    assert done.code == 1
    assert "error: Pod mlflow-0 has no image" in done.err
    assert "tracking applied, not yet search, service, the rest" in done.err
    assert api.get("RayService", "heart") is None


def test_tracking_that_the_quota_forbids(api: ApiServer, up: Callable[..., Any]) -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": QUOTA}
    api.only("Deployment", lambda api, _: api.status("Deployment", "mlflow", conditions=[refused]))
    done = up()
    assert done.code == 1
    assert "error: Deployment mlflow: the namespace's quota does not allow it" in done.err


def test_a_reason_that_passes_is_waited_out(api: ApiServer, up: Callable[..., Any]) -> None:
    """An image that is late: told, and forgotten once the pod runs."""

    def late(api: ApiServer, found: Object) -> None:
        head(waiting={"reason": "ImagePullBackOff", "message": "late"})(api)
        waiter = api.get("Pod", f"{CLUSTER}-head")
        assert waiter is not None
        for _ in range(100):
            if any(r.path.endswith("/pods") and "cluster" in str(r.query) for r in api.requests):
                break
            with api.changed:
                api.changed.wait(0.02)
        api.put(pod(f"{CLUSTER}-head", ray("head"), ready=True))
        api.status("RayService", "heart", **serving(found))

    api.only("RayService", late)
    done = up(pace=dataclasses.replace(FAST, patience=1.0))
    assert done.code == 0
    assert "has no image" in done.err


def test_what_was_refused_an_hour_ago_is_no_reason(api: ApiServer, up: Callable[..., Any]) -> None:
    def recover(api: ApiServer, found: Object) -> None:
        api.put({**event(CLUSTER, QUOTA), "lastTimestamp": "2020-01-01T00:00:00Z"})
        api.status("RayService", "heart", **starting("DEPLOYING"))
        api.asked("/events$", "fieldSelector")
        api.status("RayService", "heart", **serving(found))

    api.only("RayService", recover)
    done = up()
    assert done.code == 0
    assert "quota" not in done.err


def test_time_runs_out_with_the_state_it_is_in(api: ApiServer, up: Callable[..., Any]) -> None:
    api.only(
        "RayService", lambda api, _: api.status("RayService", "heart", **starting("DEPLOYING"))
    )
    done = up("--timeout", "0.5")
    assert done.code == 1
    assert "error: RayService heart was not ready in 0.5 s: " in done.err


def test_an_upgrade_under_way_is_not_the_end(api: ApiServer, up: Callable[..., Any]) -> None:
    def upgrade(api: ApiServer, found: Object) -> None:
        old = serving(found)
        old["conditions"][1] = {"type": "UpgradeInProgress", "status": "True"}
        api.status("RayService", "heart", **old)

    api.only("RayService", upgrade)
    done = up("--timeout", "0.5")
    assert done.code == 1
    assert "a new Ray cluster beside the old one" in done.err


def test_reasons_that_may_not_be_looked_for(api: ApiServer, up: Callable[..., Any]) -> None:
    def stick(api: ApiServer, _: Object) -> None:
        api.answer("GET", "/pods$", 403, 'pods is forbidden: User "me" cannot list')
        api.status("RayService", "heart", **starting("DEPLOYING"))

    api.only("RayService", stick)
    done = up("--timeout", "0.5")
    assert done.code == 1
    assert "what holds it up cannot be looked at: list Pods: pods is forbidden" in done.err


def test_an_api_server_that_is_away_for_a_moment(api: ApiServer, up: Callable[..., Any]) -> None:
    def flicker(api: ApiServer, found: Object) -> None:
        api.answer("GET", "rayservices", 503, "etcd is electing", times=3)
        api.status("RayService", "heart", **serving(found))

    api.only("RayService", flicker)
    done = up()
    assert done.code == 0
    assert "etcd is electing" in done.err


def test_a_watch_whose_past_is_forgotten_begins_anew(
    api: ApiServer, up: Callable[..., Any]
) -> None:
    def late(api: ApiServer, found: Object) -> None:
        api.status("RayService", "heart", **starting("DEPLOYING"))
        with api.changed:
            api.changed.wait(0.05)
            api.forget()
        api.status("RayService", "heart", **serving(found))

    api.only("RayService", late)
    assert up().code == 0


def test_status_tells_the_reason(
    api: ApiServer, world: World, up: Callable[..., Any], deploy: Command
) -> None:
    assert up().code == 0
    api.put(
        thing(
            "v1",
            "Pod",
            f"{CLUSTER}-head",
            labels=ray("head"),
            spec={"containers": [{"name": "main"}]},
            status={
                "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]
            },
        )
    )
    api.status("RayService", "heart", **starting("DEPLOYING"))
    done = deploy("status")
    assert done.code == 1
    assert "     no node takes Pod heart-abcde-head: 0/3 nodes" in done.out
