"""What a cluster must have before anything is applied to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from heart.errors import ClusterError
from kuberay.cluster import Cluster, Key, Object
from kuberay.manifests import Manifests, containers, secret_names, secrets
from kuberay.reasons import OPERATOR

PROVIDERS: Final = {
    "ray.io": "the KubeRay operator 1.7.0: `make minikube-up` installs it, elsewhere "
    "`helm install kuberay-operator kuberay-operator --version 1.7.0 --repo "
    "https://ray-project.github.io/kuberay-helm`",
    "monitoring.coreos.com": "the Prometheus operator: `make minikube-up` installs "
    "kube-prometheus-stack; an overlay without monitoring does not need it",
    "gateway.networking.k8s.io": "the Gateway API and a gateway controller",
}
GATES: Final = {"RayCronJob": False, "RayServiceIncrementalUpgrade": True}
"""Feature gates that manifests may need, and how an operator that says nothing has them."""


def check(cluster: Cluster, manifests: Manifests) -> tuple[Manifests, list[str]]:
    """The manifests with the secrets they need, and what could not be looked at, in words.

    Raises `ClusterError` for what is missing: nothing was applied then.
    """
    _kinds(cluster, manifests)
    notes = _gates(cluster, manifests)
    return manifests.with_more(_secrets(cluster, manifests)), notes


def _kinds(cluster: Cluster, manifests: Manifests) -> None:
    """Every kind of object is known to the cluster."""
    kinds = dict.fromkeys((one["apiVersion"], one["kind"]) for one in manifests.objects)
    missing: dict[str, list[str]] = {}
    for version, kind in kinds:
        if not cluster.serves(version, kind):
            missing.setdefault(version.partition("/")[0], []).append(kind)
    if missing:
        told = "; ".join(
            f"{', '.join(names)} of {group} is missing, it comes with "
            f"{PROVIDERS.get(group, 'a newer cluster')}"
            for group, names in missing.items()
        )
        raise ClusterError(f"nothing was applied: {told}", field="context")


def _secrets(cluster: Cluster, manifests: Manifests) -> list[Object]:
    """The secrets of this checkout that a pod must have, and the cluster does not have yet."""
    ours = {one["metadata"]["name"] for one in manifests.objects if one["kind"] == "Secret"}
    here = {one["metadata"]["name"]: one for one in secrets()}
    more: dict[str, Object] = {}
    for name, user in _needed(manifests):
        key = Key("v1", "Secret", name, manifests.namespace)
        if name in ours or cluster.get(key) is not None:
            continue
        if name not in here:
            namespace = manifests.namespace
            advice = (
                "`scripts/secrets.sh` makes it, and `up` brings it there"
                if name in secret_names()
                else f"`kubectl create namespace {namespace}`, then `kubectl -n {namespace} create "
                f"secret generic {name} --from-literal=NAME=VALUE`"
            )
            raise ClusterError(
                f"nothing was applied: {user} needs the secret {name}, which is not in the "
                f"namespace {namespace}: {advice}",
                field="overlay",
            )
        more[name] = here[name]
    return list(more.values())


def _needed(manifests: Manifests) -> Iterator[tuple[str, Key]]:
    for one in manifests.objects:
        for name in sorted(set(_secret_names(one))):
            yield name, Key.of(one)


def _secret_names(of: object) -> Iterator[str]:
    """The secrets without which a pod that is described somewhere in here does not start."""
    for container in containers(of):
        for source in container.get("envFrom") or []:
            yield from _named(source.get("secretRef"))
        for variable in container.get("env") or []:
            yield from _named((variable.get("valueFrom") or {}).get("secretKeyRef"))
    yield from _elsewhere(of)


def _elsewhere(of: object) -> Iterator[str]:
    if isinstance(of, dict):
        for volume in of.get("volumes") or []:
            secret = volume.get("secret") if isinstance(volume, dict) else None
            if secret and not secret.get("optional"):
                yield str(secret["secretName"])
        token = (of.get("authOptions") or {}).get("secretName")
        if token:
            yield str(token)
        for value in of.values():
            yield from _elsewhere(value)
    elif isinstance(of, list):
        for one in of:
            yield from _elsewhere(one)


def _named(reference: dict[str, Any] | None) -> Iterator[str]:
    if reference and not reference.get("optional"):
        yield str(reference["name"])


def _gates(cluster: Cluster, manifests: Manifests) -> list[str]:
    """The feature gates of the operator that the manifests need are on."""
    try:
        operators = cluster.find("apps/v1", "Deployment", None, labels=OPERATOR)
    except ClusterError as error:
        return [f"the operator was not looked at: {error.message}"]
    if not operators:
        return ["no Deployment of the KubeRay operator was found; that it runs is not known"]
    gates = _gates_of(operators[0])
    for need, user in _needed_gates(manifests):
        if not gates.get(need, GATES[need]):
            raise ClusterError(
                f"nothing was applied: {user} needs the operator's feature gate {need}, which is "
                f"off: install the chart with `featureGates` that have {need} enabled, or take "
                f"{user} out of the overlay",
                field="context",
            )
    return []


def _gates_of(operator: Object) -> dict[str, bool]:
    words = [
        str(word)
        for container in containers(operator)
        for word in (container.get("args") or []) + (container.get("command") or [])
    ]
    pairs = re.findall(r"(\w+)=(true|false)", " ".join(w for w in words if "feature-gates" in w))
    return {name: value == "true" for name, value in pairs}


def _needed_gates(manifests: Manifests) -> Iterator[tuple[str, Key]]:
    for one in manifests.objects:
        if one["kind"] == "RayCronJob":
            yield "RayCronJob", Key.of(one)
        strategy = (one.get("spec") or {}).get("upgradeStrategy") or {}
        if strategy.get("type") == "NewClusterWithIncrementalUpgrade":
            yield "RayServiceIncrementalUpgrade", Key.of(one)
