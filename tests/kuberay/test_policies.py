"""What every pod and every object must be like, in every overlay."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from overlays import KUBERAY, OVERLAYS, ROOT, Object, Pod, find, matches, of_kind, pods, rendered

from heart.settings import PREFIX, Settings
from serve_app import environment

PART = "app.kubernetes.io/part-of"
NAME = "app.kubernetes.io/name"
ROLE = "app.kubernetes.io/component"
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
RAY_NAME_LENGTH = 47
UNITS = {"m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30, "": 1.0}
TOKENS = {"RayService/heart head", "CronJob/heart-retraining"}
"""Who talks to the API server: the autoscaler, and who starts a retraining."""


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> tuple[Object, ...]:
    return rendered(request.param)


@pytest.fixture
def all_pods(objects: tuple[Object, ...]) -> list[Pod]:
    found = pods(objects)
    assert {pod.owner.partition(" ")[0] for pod in found} == {
        "CronJob/heart-retraining",
        "Deployment/mlflow",
        "RayJob/heart-search",
        "RayService/heart",
        "StatefulSet/redis",
    }
    return found


def containers(all_pods: list[Pod]) -> Iterator[tuple[str, Object]]:
    for pod in all_pods:
        for container in pod.containers:
            yield f"{pod.owner}: {container['name']}", container


def test_the_namespace_is_restricted(objects: tuple[Object, ...]) -> None:
    labels = find(objects, "Namespace", "heart")["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_everything_is_in_it(objects: tuple[Object, ...]) -> None:
    elsewhere = [one for one in objects if one["metadata"].get("namespace") != "heart"]
    assert [one["kind"] for one in elsewhere] == ["Namespace"]


def test_pods_meet_the_restricted_standard(all_pods: list[Pod]) -> None:
    for pod in all_pods:
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod.owner
        assert context["runAsUser"] > 0, pod.owner
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.owner
        # A Service called mlflow would else set MLFLOW_PORT, which MLflow reads.
        assert pod.spec["enableServiceLinks"] is False, pod.owner
        for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            assert name not in pod.spec, pod.owner
        kinds = {kind for volume in pod.spec.get("volumes", []) for kind in volume} - {"name"}
        assert kinds <= {"emptyDir", "persistentVolumeClaim"}, pod.owner
    for name, container in containers(all_pods):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert not [port for port in container.get("ports", []) if "hostPort" in port], name


def test_what_a_read_only_root_needs_is_mounted(all_pods: list[Pod]) -> None:
    for pod in all_pods:
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        # KubeRay makes it from a claim of the StatefulSet's.
        volumes |= {"data"} if pod.owner == "StatefulSet/redis" else set()
        for container in pod.containers:
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert set(mounts.values()) <= volumes, pod.owner
            assert mounts.keys() & {"/tmp", "/data"}, pod.owner
        for volume in pod.spec.get("volumes", []):
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": None}), pod.owner


def test_requests_and_limits(all_pods: list[Pod]) -> None:
    for name, container in containers(all_pods):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        for what in ("cpu", "memory"):
            assert 0 < quantity(requests[what]) <= quantity(limits[what]), f"{name} {what}"


def quantity(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def test_images_are_pinned(all_pods: list[Pod]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, container in containers(all_pods):
        if container["name"] == "autoscaler":
            assert "image" not in container, "KubeRay takes the head's"
            continue
        repository, _, tag = container["image"].rpartition(":")
        assert repository, f"{name} has no tag"
        assert tag != "latest"
        if repository.rpartition("/")[2] in ("heart", "heart-mlflow"):
            assert tag == version, name
        assert container["imagePullPolicy"] == "IfNotPresent", name


def test_one_image_for_head_workers_search_and_service(all_pods: list[Pod]) -> None:
    ours = [pod for pod in all_pods if pod.labels[NAME] == "heart"]
    assert len(ours) == 6
    images = {container["image"] for pod in ours for container in pod.spec["containers"]}
    assert len(images) == 1


def test_what_runs_on_is_probed(all_pods: list[Pod]) -> None:
    for pod in all_pods:
        if not pod.lasts:
            continue
        for container in pod.spec["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert probe in container, f"{pod.owner}: {probe}"


def test_a_worker_gets_patients_once_its_replica_has_a_model(objects: tuple[Object, ...]) -> None:
    (worker,) = [pod for pod in pods(objects) if pod.owner == "RayService/heart replicas"]
    (container,) = worker.containers
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": 8000}
    assert find(objects, "RayService", "heart")["spec"]["excludeHeadPodFromServeSvc"] is True


def test_labels(objects: tuple[Object, ...], all_pods: list[Pod]) -> None:
    for one in objects:
        assert one["metadata"].get("labels", {}).get(PART) == "heart", one["metadata"]["name"]
    for pod in all_pods:
        assert {NAME, ROLE} <= pod.labels.keys(), pod.owner
    for one in of_kind(objects, "RayService", "RayJob", "Deployment", "StatefulSet", "CronJob"):
        assert {NAME, ROLE} <= one["metadata"]["labels"].keys(), one["metadata"]["name"]


def test_names(objects: tuple[Object, ...]) -> None:
    for one in objects:
        assert DNS_LABEL.fullmatch(one["metadata"]["name"])
    for one in of_kind(objects, "RayService", "RayJob"):
        # Copies of a search have the time in their names, or a random end.
        name = one["metadata"]["name"] + ("-20261125-120000" if one["kind"] == "RayJob" else "")
        assert len(name) <= RAY_NAME_LENGTH


def test_accounts_have_no_rights_but_two(objects: tuple[Object, ...], all_pods: list[Pod]) -> None:
    accounts = {one["metadata"]["name"]: one for one in of_kind(objects, "ServiceAccount")}
    assert all(one["automountServiceAccountToken"] is False for one in accounts.values())
    for pod in all_pods:
        assert pod.spec["serviceAccountName"] in accounts.keys() - {"default"}, pod.owner
        assert pod.spec["automountServiceAccountToken"] is (pod.owner in TOKENS), pod.owner
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    (role,) = of_kind(objects, "Role")
    assert role["rules"] == [
        {
            "apiGroups": ["ray.io"],
            "resources": ["rayjobs"],
            "resourceNames": ["heart-search"],
            "verbs": ["get"],
        },
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]},
    ]
    (binding,) = of_kind(objects, "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert (subject["kind"], subject["name"]) == ("ServiceAccount", "heart-retraining")


def test_no_secret_is_in_the_manifests(objects: tuple[Object, ...]) -> None:
    assert not of_kind(objects, "Secret")
    known = _generated(KUBERAY / "secrets")
    known |= {"mlflow-database", "mlflow-object-store", "heart-object-store"}
    assert set(_named(objects, "secretRef", "secretKeyRef")) <= known
    for one in of_kind(objects, "RayService", "RayJob"):
        cluster = one["spec"].get("rayClusterConfig") or one["spec"]["rayClusterSpec"]
        assert cluster["authOptions"] == {"mode": "token", "secretName": "ray-token"}


def _generated(folder: Path) -> set[str]:
    return set(re.findall(r"- name: ([\w-]+)", (folder / "kustomization.yaml").read_text()))


def _named(of: Any, *kinds: str) -> Iterator[str]:
    if isinstance(of, dict):
        for key, value in of.items():
            if key in kinds:
                yield value["name"]
            else:
                yield from _named(value, *kinds)
    elif isinstance(of, list | tuple):
        for value in of:
            yield from _named(value, *kinds)


def test_settings_that_pods_name_are_there(objects: tuple[Object, ...]) -> None:
    there = {one["metadata"]["name"] for one in of_kind(objects, "ConfigMap")}
    assert set(_named(objects, "configMapRef")) == there


def test_settings_are_the_projects_own(objects: tuple[Object, ...]) -> None:
    data = find(objects, "ConfigMap", "heart-settings")["data"]
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert data.keys() <= known
    settings = Settings.from_environment(data)
    assert settings.host == "0.0.0.0"
    assert settings.home == Path("/var/lib/heart")


def test_every_ray_pod_has_rays_variables(objects: tuple[Object, ...], all_pods: list[Pod]) -> None:
    data = find(objects, "ConfigMap", "ray-settings")["data"]
    assert data == {**environment.VARIABLES, **environment.HAPROXY}
    for pod in all_pods:
        if "ray.io/node-type" in pod.labels:
            (container,) = pod.spec["containers"]
            assert {"configMapRef": {"name": "ray-settings"}} in container["envFrom"], pod.owner


def test_ports_meet(objects: tuple[Object, ...], all_pods: list[Pod]) -> None:
    for service in of_kind(objects, "Service"):
        selected = [pod for pod in all_pods if _selects(service, pod)]
        assert selected, service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            names = {one["name"] for pod in selected for one in pod.spec["containers"][0]["ports"]}
            assert port["targetPort"] in names
    ingress = find(objects, "Ingress", "heart")
    backends = [
        path["backend"]["service"]
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    assert backends == [{"name": "heart-serve-svc", "port": {"number": 8000}}]
    (worker,) = [pod for pod in all_pods if pod.owner == "RayService/heart replicas"]
    ports = {one["name"]: one["containerPort"] for one in worker.containers[0]["ports"]}
    assert ports == {"metrics": 8080, "serve": 8000}


def _selects(service: Object, pod: Pod) -> bool:
    return matches({"matchLabels": service["spec"]["selector"]}, pod.labels)


def test_a_drain_leaves_replicas(objects: tuple[Object, ...], all_pods: list[Pod]) -> None:
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    chosen = [pod.owner for pod in all_pods if matches(budget["spec"]["selector"], pod.labels)]
    assert chosen == ["RayService/heart replicas"]
    assert "maxUnavailable" not in budget["spec"], "a RayCluster has no scale subresource"
    assert budget["spec"]["minAvailable"] == 1


def test_replicas_are_spread_over_nodes(all_pods: list[Pod]) -> None:
    (worker,) = [pod for pod in all_pods if pod.owner == "RayService/heart replicas"]
    constraints = worker.spec["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in constraints] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    for constraint in constraints:
        assert matches(constraint["labelSelector"], worker.labels)


def test_the_head_is_survived(objects: tuple[Object, ...]) -> None:
    cluster = find(objects, "RayService", "heart")["spec"]["rayClusterConfig"]
    redis = find(objects, "Service", "redis")
    (port,) = redis["spec"]["ports"]
    options = cluster["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == f"redis:{port['port']}"
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] == "redis"
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
