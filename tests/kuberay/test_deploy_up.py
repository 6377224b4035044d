"""``up``: the order, what is there already, what is told, and what is only looked at."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from apiserver import ApiServer
from deploying import OVERLAY, Command, changed, dethroned, secrets_folder, version, without
from overlays import OVERLAYS, rendered
from world import LINES, World, thing, user_config

from heart.registry import Registry
from kuberay import manifests
from kuberay.cluster import MANAGER
from kuberay.manifests import KEPT, MARK, Manifests, render


def test_the_order_is_namespace_secrets_tracking_search_service(
    api: ApiServer, world: World, deploy: Command, registry: Registry, uri: str
) -> None:
    done = deploy("up", "--tracking-uri", uri)
    assert (done.code, done.out) == (0, "up: the service answers\n")
    order = [(r.path.rsplit("/", 2)[1], r.body) for r in api.requests if r.method == "PATCH"]
    kinds = [kind for kind, _ in order]
    firsts = [kinds.index(k) for k in ("namespaces", "secrets", "deployments", "rayservices")]
    assert firsts == sorted(firsts)
    assert kinds.index("deployments") > kinds.index("networkpolicies")
    assert kinds[-2:] == ["cronjobs", "podmonitors"]
    assert len(kinds) == len(render(str(OVERLAY)).objects)


def test_the_service_is_given_the_champion_of_the_cluster(
    api: ApiServer, world: World, deploy: Command, registry: Registry, uri: str
) -> None:
    champion = registry.champion()
    assert champion is not None
    assert deploy("up", "--tracking-uri", uri).code == 0
    assert world.model is not None
    assert world.model["version"] == "1"
    folder = Path(urlsplit(world.model["uri"]).path)
    assert json.loads((folder / "metadata.json").read_text()) == champion.metadata.model_dump(
        mode="json"
    )


def test_a_second_time_changes_nothing(
    api: ApiServer, world: World, deploy: Command, uri: str
) -> None:
    assert deploy("up", "--tracking-uri", uri).code == 0
    before = {one["metadata"]["name"]: one for one in api.all("RayService")}
    done = deploy("up", "--tracking-uri", uri)
    assert done.code == 0
    assert "made" not in done.err
    assert "changed" not in done.err
    assert "version 1 stays" in done.err
    after = {one["metadata"]["name"]: one for one in api.all("RayService")}
    assert before["heart"]["spec"] == after["heart"]["spec"]


def test_progress_is_told(world: World, deploy: Command, uri: str) -> None:
    told = deploy("up", "--tracking-uri", uri).err.splitlines()
    assert told[0] == "Namespace heart made"
    assert "Deployment mlflow: 1 of 1 pods ready" in told
    assert "RayService heart: heart RUNNING, 1 pods answer" in told


def test_without_a_champion_a_search_makes_one(
    api: ApiServer,
    world: World,
    deploy: Command,
    registry: Registry,
    uri: str,
) -> None:
    client = dethroned(registry)
    world.search = lambda: client.set_registered_model_alias("heart", "champion", "1")
    done = deploy("up", "--tracking-uri", uri, "--", "--quick")
    assert done.code == 0
    assert done.out.splitlines() == [*LINES, "up: the service answers"]
    (search,) = [one for one in api.all("RayJob") if one["metadata"]["name"] != "heart-search"]
    assert search["spec"]["entrypoint"].endswith("--json --quick")
    assert not search["spec"]["suspend"]
    assert world.model is not None


def test_a_search_without_a_champion_is_told(
    api: ApiServer, world: World, deploy: Command, registry: Registry, uri: str
) -> None:
    dethroned(registry)
    done = deploy("up", "--tracking-uri", uri)
    assert done.code == 1
    assert "the search has made no champion" in done.err
    assert "tracking, search applied, not yet service, the rest; `up` goes on" in done.err
    assert api.get("RayService", "heart") is None


def test_a_search_that_is_under_way_is_waited_for(
    api: ApiServer, world: World, deploy: Command, registry: Registry, uri: str
) -> None:
    client = dethroned(registry)
    world.search = lambda: client.set_registered_model_alias("heart", "champion", "1")
    assert deploy("up", "--tracking-uri", uri).code == 0
    client.delete_registered_model_alias("heart", "champion")
    name = search_names(api)[0]
    api.status("RayJob", name, jobDeploymentStatus="Running")
    api.remove("RayService", "heart")

    def end() -> None:
        api.asked("/rayjobs$", "watch", after=begun)
        client.set_registered_model_alias("heart", "champion", "1")
        api.status("RayJob", name, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    begun = len(api.requests)
    threading.Thread(target=end, daemon=True).start()
    done = deploy("up", "--tracking-uri", uri)
    assert done.code == 0
    assert f"RayJob {name} is under way" in done.err
    assert search_names(api) == [name]


def test_a_bundle_is_imported_once(
    api: ApiServer, world: World, deploy: Command, registry: Registry, uri: str, tmp_path: Path
) -> None:
    assert registry.champion() is not None
    folder = tmp_path / "bundle"
    version(registry, folder, threshold=0.25)
    (folder / "metadata.json").write_text(
        (folder / "metadata.json").read_text().replace("0.25", "0.75")
    )
    for _ in range(2):
        assert deploy("up", "--tracking-uri", uri, "--bundle", str(folder)).code == 0
        assert registry.aliases().champion == "3"
        assert world.model is not None
        assert world.model["version"] == "3"
    assert len(registry.versions()) == 3


def test_a_promoted_model_and_a_changed_manifest_both_stay(
    api: ApiServer, world: World, deploy: Command, registry: Registry, uri: str, tmp_path: Path
) -> None:
    assert deploy("up", "--tracking-uri", uri).code == 0
    version(registry, tmp_path / "other", threshold=0.25)
    assert deploy("promote", "2", "--tracking-uri", uri, "--why", "better").code == 0
    other = changed(tmp_path, ("max_replicas_per_node: 1", "max_replicas_per_node: 3"))
    assert deploy("up", "--tracking-uri", uri, "--overlay", other).code == 0
    found = api.get("RayService", "heart")
    assert found is not None
    assert user_config(found)["model"]["version"] == "2"
    assert "max_replicas_per_node: 3" in found["spec"]["serveConfigV2"]
    assert found["metadata"]["annotations"]["heart/model-reason"] == "better"
    assert deploy("rollback", "--tracking-uri", uri).code == 0
    assert world.model is not None
    assert world.model["version"] == "1"


def test_what_someone_else_changed_is_left_unless_taken_over(
    api: ApiServer, world: World, deploy: Command, uri: str
) -> None:
    assert deploy("up", "--tracking-uri", uri).code == 0
    found = api.get("Deployment", "mlflow")
    assert found is not None
    edit = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "mlflow", "namespace": "heart"},
        "spec": {"replicas": 3},
    }
    api.apply(
        *("apps/v1", "deployments", "heart", "mlflow", edit),
        manager="kubectl-edit",
        force=True,
        dry=False,
    )
    done = deploy("up", "--tracking-uri", uri)
    assert done.code == 2
    assert 'conflict with "kubectl-edit": .spec.replicas' in done.err
    assert deploy("up", "--tracking-uri", uri, "--take-over").code == 0
    found = api.get("Deployment", "mlflow")
    assert found is not None
    assert found["spec"]["replicas"] == 1


def test_another_image_goes_wherever_ours_is(
    api: ApiServer, world: World, deploy: Command, uri: str
) -> None:
    assert deploy("up", "--tracking-uri", uri, "--image", "ghcr.io/x/heart:7").code == 0
    for kind, name in (
        ("Deployment", "mlflow"),
        ("RayService", "heart"),
        ("RayJob", "heart-search"),
    ):
        assert '"ghcr.io/x/heart:7"' in json.dumps(api.get(kind, name))
        assert "0.1.0" not in json.dumps(api.get(kind, name))
    assert '"redis:7"' in json.dumps(api.get("StatefulSet", "redis"))


def test_the_tracking_server_may_have_an_image_of_its_own(
    api: ApiServer, world: World, deploy: Command, uri: str
) -> None:
    assert deploy("up", "--tracking-uri", uri, "--mlflow-image", "ghcr.io/x/m:7").code == 0
    assert '"ghcr.io/x/m:7"' in json.dumps(api.get("Deployment", "mlflow"))
    assert '"ghcr.io/x/m:7"' not in json.dumps(api.get("RayService", "heart"))


def test_pods_are_marked_by_the_settings_they_read() -> None:
    def marks(manifests: Manifests) -> dict[str, set[str]]:
        found = manifests.with_checksums().objects
        return {
            one["kind"]: set(re.findall(f'"{MARK}": "([0-9a-f]{{64}})"', json.dumps(one)))
            for one in found
            if MARK in json.dumps(one)
        }

    manifests = render("minikube")
    before = marks(manifests)
    assert {kind: len(found) for kind, found in before.items()} == dict.fromkeys(KEPT, 1)
    settings = manifests.find("ConfigMap", "heart-settings")
    assert settings is not None
    settings["data"]["HEART_RATE_LIMIT"] = "7"
    after = marks(manifests)
    assert after["Deployment"] == before["Deployment"]
    assert after["RayService"] != before["RayService"]


def test_secrets_of_the_checkout_are_brought_along(
    api: ApiServer,
    world: World,
    deploy: Command,
    uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = without(tmp_path, "Secret")
    monkeypatch.setattr(manifests, "SECRETS", secrets_folder(tmp_path))
    assert deploy("up", "--tracking-uri", uri, "--overlay", bare).code == 0
    found = api.get("Secret", "ray-token")
    assert found is not None
    assert found["metadata"]["namespace"] == "heart"


def test_dry_run_tells_the_difference_and_changes_nothing(
    api: ApiServer, world: World, deploy: Command, uri: str, tmp_path: Path
) -> None:
    assert deploy("up", "--tracking-uri", uri).code == 0
    other = changed(
        tmp_path, ("storage: 10Gi", "storage: 20Gi"), ("a-secret-value", "another-value")
    )
    kept = json.dumps([api.all(kind) for kind in ("RayService", "PersistentVolumeClaim")])
    before = len(api.written())
    done = deploy("up", "--dry-run", "--overlay", other)
    assert done.code == 0
    lines = done.out.splitlines()
    assert "Deployment mlflow would be left as it is" in lines
    assert "RayService heart would be left as it is" in lines
    at = lines.index("PersistentVolumeClaim mlflow would be changed")
    assert lines[at + 1 : at + 5][-2:] == ["    -      storage: 10Gi", "    +      storage: 20Gi"]
    assert "value" not in done.out
    assert len(api.written()) == before
    assert kept == json.dumps([api.all(k) for k in ("RayService", "PersistentVolumeClaim")])


def test_dry_run_of_a_first_time(api: ApiServer, world: World, deploy: Command) -> None:
    done = deploy("up", "--dry-run")
    assert done.code == 0
    assert "RayService heart would be made" in done.out
    assert "there is no namespace heart yet" in done.err
    assert api.written() == []


def test_status_of_what_is_well_and_what_is_not(
    api: ApiServer, world: World, deploy: Command, uri: str
) -> None:
    nothing = deploy("status")
    assert nothing.code == 1
    assert "NOT  RayService heart: not there yet" in nothing.out
    assert deploy("up", "--tracking-uri", uri).code == 0
    well = deploy("status")
    assert well.code == 0
    assert well.out.splitlines() == [
        "ok   StatefulSet redis: 1 of 1 pods ready",
        "ok   Deployment mlflow: 1 of 1 pods ready",
        "ok   RayService heart: heart RUNNING, 1 pods answer",
        "model: version 1",
    ]
    api.status("StatefulSet", "redis", readyReplicas=0)
    ill = deploy("status")
    assert ill.code == 1
    assert "NOT  StatefulSet redis: 0 of 1 pods ready" in ill.out


@pytest.mark.parametrize(
    "overlay", [OVERLAYS[0], *(pytest.param(one, marks=pytest.mark.full) for one in OVERLAYS[1:])]
)
def test_the_projects_own_overlays_go_up_and_down(
    api: ApiServer,
    world: World,
    deploy: Command,
    uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overlay: str,
) -> None:
    objects = rendered(overlay)
    monkeypatch.setattr(manifests, "SECRETS", secrets_folder(tmp_path))
    api.put(thing("v1", "Secret", "mlflow-database"))
    assert deploy("up", "--tracking-uri", uri, "--overlay", overlay).code == 0
    for one in objects:
        assert api.get(one["kind"], one["metadata"]["name"]) is not None
    assert world.model is not None
    assert deploy("status", "--overlay", overlay).code == 0
    assert deploy("down", "--overlay", overlay, "--delete-data").code == 0
    assert [one["metadata"]["name"] for one in api.all("Deployment")] == ["kuberay-operator"]
    assert api.all("Pod") == []


def test_our_fields_have_our_name(api: ApiServer, world: World, deploy: Command, uri: str) -> None:
    assert deploy("up", "--tracking-uri", uri).code == 0
    managers = {r.query["fieldManager"] for r in api.requests if r.method == "PATCH"}
    assert managers == {MANAGER}


def search_names(api: ApiServer) -> list[str]:
    names = [one["metadata"]["name"] for one in api.all("RayJob")]
    return [name for name in names if name != "heart-search"]
