"""What kustomize makes of the manifests, and the pods that come of it."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "kuberay"
OVERLAYS = ("minikube", "production")
LONG_RUNNING = ("Deployment", "StatefulSet", "RayService", "RayJob")


@dataclass(frozen=True)
class Pod:
    """A pod that the cluster will have: whose, with which labels, and whether it runs on."""

    owner: str
    labels: dict[str, str]
    spec: Object
    lasts: bool = True
    injected: tuple[Object, ...] = ()
    """Containers that KubeRay adds, and that the manifest has a say in."""

    @property
    def containers(self) -> tuple[Object, ...]:
        return (*self.spec["containers"], *self.injected)


@functools.cache
def rendered(overlay: str) -> tuple[Object, ...]:
    """The objects of an overlay."""
    return kustomize(KUBERAY / "overlays" / overlay)


def kustomize(folder: Path) -> tuple[Object, ...]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which renders the manifests, is not here")
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(objects: tuple[Object, ...], *kinds: str) -> list[Object]:
    return [one for one in objects if one["kind"] in kinds]


def find(objects: tuple[Object, ...], kind: str, name: str) -> Object:
    (found,) = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
    return found


def pods(objects: tuple[Object, ...]) -> list[Pod]:
    """Every pod that the objects describe."""
    return [pod for one in objects for pod in _pods(one)]


def _pods(one: Object) -> Iterator[Pod]:
    kind, owner, spec = one["kind"], f"{one['kind']}/{one['metadata']['name']}", one.get("spec", {})
    if kind in ("Deployment", "StatefulSet"):
        yield _pod(owner, spec["template"])
    elif kind == "CronJob":
        yield _pod(owner, spec["jobTemplate"]["spec"]["template"], lasts=False)
    elif kind == "RayService":
        yield from _ray(owner, spec["rayClusterConfig"])
    elif kind == "RayJob":
        yield _pod(f"{owner} submitter", spec["submitterPodTemplate"], lasts=False)
        yield from _ray(owner, spec["rayClusterSpec"])


def _ray(owner: str, cluster: Object) -> Iterator[Pod]:
    """The pods of a Ray cluster, with the label of KubeRay's that policies go by."""
    options = cluster.get("autoscalerOptions", {})
    autoscaler = {"name": "autoscaler", **options} if cluster.get("enableInTreeAutoscaling") else {}
    yield _pod(
        f"{owner} head",
        cluster["headGroupSpec"]["template"],
        node="head",
        injected=(autoscaler,) if autoscaler else (),
    )
    for group in cluster["workerGroupSpecs"]:
        yield _pod(f"{owner} {group['groupName']}", group["template"], node="worker")


def _pod(owner: str, template: Object, *, node: str = "", **more: Any) -> Pod:
    labels = dict(template["metadata"]["labels"])
    if node:
        labels["ray.io/node-type"] = node
    return Pod(owner, labels, template["spec"], **more)


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector, as Kubernetes reads it, selects these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    return all(_meets(rule, labels) for rule in selector.get("matchExpressions", ()))


def _meets(rule: Object, labels: dict[str, str]) -> bool:
    if rule["operator"] == "Exists":
        return rule["key"] in labels
    assert rule["operator"] == "In", "no other operator is used"
    return labels.get(rule["key"]) in rule["values"]
