"""``down``: in order, to the end, and what is left is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from apiserver import ApiServer, Object
from deploying import NAMED, Command, changed
from world import CLUSTER, World, thing

pytestmark = pytest.mark.full


@pytest.fixture
def up(world: World, deploy: Command, tmp_path: Path) -> World:
    """A stack that is up, with a volume of the StatefulSet's and a retained one behind it."""
    assert deploy("up", "--overlay", changed(tmp_path, NAMED)).code == 0
    claim = thing(
        "v1", "PersistentVolumeClaim", "data-redis-0", status={"capacity": {"storage": "1Gi"}}
    )
    world.api.put(claim)
    world.api.put(
        thing(
            "v1",
            "PersistentVolume",
            "pv-1",
            namespace=None,
            spec={
                "claimRef": {"namespace": "heart", "name": "data-redis-0"},
                "persistentVolumeReclaimPolicy": "Retain",
            },
        )
    )
    return world


def deleted(api: ApiServer) -> list[str]:
    return [name.removeprefix("DELETE ") for name in api.written("DELETE")]


def test_ray_ends_before_redis_and_policies_last(
    api: ApiServer, up: World, deploy: Command
) -> None:
    done = deploy("down")
    assert done.code == 0
    paths = [r.path.split("/")[-2] for r in api.requests if r.method == "DELETE"]
    order = [paths.index(k) for k in ("rayservices", "statefulsets", "networkpolicies")]
    assert order == sorted(order)
    for kind in ("RayService", "RayCluster", "RayJob", "StatefulSet", "NetworkPolicy", "Secret"):
        assert api.all(kind) == []
    assert [d["metadata"]["name"] for d in api.all("Deployment")] == ["kuberay-operator"]


def test_the_data_stay_and_are_told(api: ApiServer, up: World, deploy: Command) -> None:
    done = deploy("down")
    assert done.out.splitlines() == [
        "left: PersistentVolumeClaim mlflow (unknown size)",
        "left: PersistentVolumeClaim data-redis-0 (1Gi)",
        "left: Namespace heart; --delete-data takes it and its volumes away, with their data",
    ]
    assert api.get("Namespace", "heart") is not None


def test_the_data_go_when_that_is_said(api: ApiServer, up: World, deploy: Command) -> None:
    done = deploy("down", "--delete-data")
    assert done.code == 0
    assert api.get("Namespace", "heart") is None
    assert api.all("PersistentVolumeClaim") == []
    assert done.out == "left: PersistentVolume pv-1, which its class retains: delete it by hand\n"


def test_down_of_nothing(api: ApiServer, world: World, deploy: Command) -> None:
    done = deploy("down")
    assert done.code == 0
    assert "there is no namespace heart: nothing to take down" in done.err
    assert deleted(api) == []


def test_down_twice_and_up_again(
    api: ApiServer, up: World, deploy: Command, tmp_path: Path
) -> None:
    assert deploy("down").code == 0
    again = deploy("down")
    assert again.code == 0
    assert "deleted" not in again.err
    assert deploy("up", "--overlay", changed(tmp_path, NAMED)).code == 0
    assert up.model is not None


def test_what_is_held_back_is_waited_for(api: ApiServer, up: World, deploy: Command) -> None:
    def release(api: ApiServer, found: Object) -> None:
        api.asked("/rayclusters$", "watch")
        api.remove("RayCluster", CLUSTER)

    hold(api)
    api.only("RayService deleted", lambda *_: None)
    api.on("RayCluster held", release)
    done = deploy("down")
    assert done.code == 0
    assert "RayCluster heart-abcde: still there, held by ray.io/gcs-ft-redis-cleanup" in done.err


def test_what_is_held_back_for_too_long_is_told(api: ApiServer, up: World, deploy: Command) -> None:
    hold(api)
    api.only("RayService deleted", lambda *_: None)
    done = deploy("down", "--timeout", "0.5")
    assert done.code == 1
    assert "error: RayCluster heart-abcde was not ready in 0.5 s: still there, held by" in done.err
    assert "stopped while waiting for the end of RayCluster heart-abcde" in done.err
    assert api.get("StatefulSet", "redis") is not None


def test_dry_run_deletes_nothing(api: ApiServer, up: World, deploy: Command) -> None:
    done = deploy("down", "--dry-run", "--delete-data")
    assert done.code == 0
    assert "RayService heart would be deleted" in done.out
    assert "Namespace heart would be deleted" in done.out
    assert deleted(api) == []
    assert "left" not in done.out


def test_the_namespaces_own_account_comes_back_and_is_not_waited_for(
    api: ApiServer, up: World, deploy: Command
) -> None:
    def again(api: ApiServer, found: Object) -> None:
        api.put(thing("v1", "ServiceAccount", "default"))

    api.on("ServiceAccount deleted", again)
    assert deploy("down").code == 0


def hold(api: ApiServer) -> None:
    """Give the Ray cluster the finalizer that it has with Redis."""
    cluster = api.get("RayCluster", CLUSTER)
    assert cluster is not None
    cluster["metadata"]["finalizers"] = ["ray.io/gcs-ft-redis-cleanup-finalizer"]
    api.put(cluster)
