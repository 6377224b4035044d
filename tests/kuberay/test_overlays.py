"""Each overlay renders, and a cluster would take every object of it."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from overlays import KUBERAY, OVERLAYS, Object, find, kustomize, of_kind, rendered
from ray.serve.schema import ServeDeploySchema
from schemas import check_custom

from serve_app.deployment import TARGET_ONGOING_REQUESTS

CUSTOM = ("RayService", "RayJob")
COMPONENT = """
resources: [{overlay}]
components: [{component}]
"""


@pytest.fixture(params=[*OVERLAYS, "production in steps"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Object, ...]:
    """The objects of each overlay, and of production with the incremental upgrade."""
    if request.param in OVERLAYS:
        return rendered(request.param)
    text = COMPONENT.format(
        overlay=_relative(KUBERAY / "overlays/production", tmp_path),
        component=_relative(KUBERAY / "components/incremental-upgrade", tmp_path),
    )
    (tmp_path / "kustomization.yaml").write_text(text)
    return kustomize(tmp_path)


def _relative(path: Path, start: Path) -> str:
    up = "../" * (len(start.resolve().parts) - 1)
    return f"{up}{path.resolve().relative_to('/')}"


def test_kubernetes_own_kinds_are_valid(objects: tuple[Object, ...]) -> None:
    ours = [one for one in objects if one["kind"] not in CUSTOM]
    assert len(ours) > 20
    for one in ours:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


def test_custom_resources_are_valid(objects: tuple[Object, ...]) -> None:
    custom = of_kind(objects, *CUSTOM)
    assert {one["kind"] for one in custom} == set(CUSTOM)
    for one in custom:
        check_custom(one)


def test_serve_takes_the_configuration(objects: tuple[Object, ...]) -> None:
    config = ServeDeploySchema.model_validate(serve_config(objects))
    (application,) = config.applications
    (deployment,) = application.deployments
    assert application.import_path == "serve_app:app"
    assert application.route_prefix == "/"
    assert (application.name, deployment.name) == ("heart", "heart")
    assert deployment.user_config == {"model": None, "shadow": None}


def serve_config(objects: tuple[Object, ...]) -> Object:
    config = yaml.safe_load(find(objects, "RayService", "heart")["spec"]["serveConfigV2"])
    assert isinstance(config, dict)
    return config


def test_two_replicas_never_share_a_pod(objects: tuple[Object, ...]) -> None:
    (application,) = serve_config(objects)["applications"]
    (deployment,) = application["deployments"]
    assert deployment["max_replicas_per_node"] == 1
    bounds = deployment["autoscaling_config"]
    assert bounds["target_ongoing_requests"] == TARGET_ONGOING_REQUESTS
    (group,) = find(objects, "RayService", "heart")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert bounds["min_replicas"] == group["minReplicas"] == group["replicas"] == 2
    assert group["minReplicas"] < group["maxReplicas"] <= bounds["max_replicas"]
    assert int(group["rayStartParams"]["num-cpus"]) >= deployment["ray_actor_options"]["num_cpus"]


def test_the_upgrade() -> None:
    strategy = find(rendered("production"), "RayService", "heart")["spec"]["upgradeStrategy"]
    assert strategy == {"type": "NewCluster"}


def test_the_upgrade_in_steps(tmp_path: Path) -> None:
    component = KUBERAY / "components/incremental-upgrade"
    text = COMPONENT.format(
        overlay=_relative(KUBERAY / "overlays/minikube", tmp_path),
        component=_relative(component, tmp_path),
    )
    (tmp_path / "kustomization.yaml").write_text(text)
    upgrade = find(kustomize(tmp_path), "RayService", "heart")["spec"]["upgradeStrategy"]
    assert upgrade["type"] == "NewClusterWithIncrementalUpgrade"
    assert upgrade["clusterUpgradeOptions"]["gatewayClassName"] == "istio"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_search_ends_and_is_cleared_away(overlay: str) -> None:
    spec = find(rendered(overlay), "RayJob", "heart-search")["spec"]
    assert spec["suspend"], "what runs is a copy"
    assert spec["shutdownAfterJobFinishes"]
    assert spec["backoffLimit"] >= 1
    assert spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"] <= 4 * 3600
    assert 0 < spec["ttlSecondsAfterFinished"] <= 300, "an idle cluster is paid for"
    assert spec["entrypoint"].startswith("python -m tune.search --address auto")


def test_production_keeps_nothing_in_a_pod_of_mlflow() -> None:
    objects = rendered("production")
    pod = find(objects, "Deployment", "mlflow")["spec"]["template"]["spec"]
    assert [volume for volume in pod["volumes"] if "emptyDir" not in volume] == []
    assert "/heart-mlflow:" in pod["containers"][0]["image"], "the service's has no driver for it"
    settings = find(objects, "ConfigMap", "mlflow-settings")["data"]
    assert settings["MLFLOW_ARTIFACTS_DESTINATION"].startswith("s3://")
    assert "MLFLOW_BACKEND_STORE_URI" not in settings, "it holds a password"
    assert {"secretRef": {"name": "mlflow-database"}} in pod["containers"][0]["envFrom"]


def test_production_is_behind_tls() -> None:
    ingress = find(rendered("production"), "Ingress", "heart")
    (tls,) = ingress["spec"]["tls"]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == tls["hosts"]
    assert (
        ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/force-ssl-redirect"]
        == "true"
    )
