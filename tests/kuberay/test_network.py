"""Which pod may talk to which, as the NetworkPolicies have it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from overlays import OVERLAYS, Object, matches, of_kind, pods, rendered

OUTSIDE = "203.0.113.7"
METADATA = "169.254.169.254"


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod in a namespace, or an address outside."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    address: str = ""


def elsewhere(namespace: str, **labels: str) -> End:
    names = {name.replace("_", "-"): value for name, value in labels.items()}
    return End(namespace, tuple(names.items()))


def app(namespace: str, name: str) -> End:
    return End(namespace, (("app.kubernetes.io/name", name),))


INGRESS = app("ingress-nginx", "ingress-nginx")
PROMETHEUS = app("monitoring", "prometheus")
OPERATOR = app("kuberay-system", "kuberay-operator")
DNS = elsewhere("kube-system", k8s_app="kube-dns")
API_SERVER = End(address="10.96.0.1")
DATABASE = End(address="10.0.3.4")
INTERNET = End(address=OUTSIDE)
HEAD, WORKER, REDIS, MLFLOW = (
    "RayService/heart head",
    "RayService/heart replicas",
    "StatefulSet/redis",
    "Deployment/mlflow",
)
SEARCH_HEAD, TRIALS = "RayJob/heart-search head", "RayJob/heart-search trials"
SUBMITTER, RETRAINING = "RayJob/heart-search submitter", "CronJob/heart-retraining"
OURS = (HEAD, WORKER, REDIS, MLFLOW, SEARCH_HEAD, TRIALS, SUBMITTER, RETRAINING)

ALLOWED: list[tuple[str | End, str | End, int]] = [
    (INGRESS, WORKER, 8000),
    (PROMETHEUS, HEAD, 8080),
    (PROMETHEUS, WORKER, 8080),
    (PROMETHEUS, TRIALS, 8080),
    (OPERATOR, HEAD, 8265),
    (OPERATOR, SEARCH_HEAD, 8265),
    (HEAD, WORKER, 10002),
    (WORKER, HEAD, 6379),
    (WORKER, WORKER, 8000),
    (TRIALS, SEARCH_HEAD, 6379),
    (SUBMITTER, SEARCH_HEAD, 8265),
    (WORKER, MLFLOW, 5000),
    (SEARCH_HEAD, MLFLOW, 5000),
    (HEAD, REDIS, 6379),
    (HEAD, API_SERVER, 443),
    (RETRAINING, API_SERVER, 443),
    *((ours, DNS, 53) for ours in OURS),
]
REFUSED: list[tuple[str | End, str | End, int]] = [
    (INGRESS, WORKER, 8265),
    (INGRESS, HEAD, 8000),
    (INGRESS, HEAD, 8265),
    (INGRESS, MLFLOW, 5000),
    (PROMETHEUS, WORKER, 8000),
    (PROMETHEUS, REDIS, 6379),
    (app("monitoring", "grafana"), WORKER, 8080),
    (app("default", "kuberay-operator"), HEAD, 8265),
    (elsewhere("default"), WORKER, 8000),
    (TRIALS, HEAD, 6379),
    (SUBMITTER, HEAD, 8265),
    (TRIALS, REDIS, 6379),
    (SUBMITTER, MLFLOW, 5000),
    (RETRAINING, REDIS, 6379),
    (REDIS, WORKER, 8000),
    (MLFLOW, HEAD, 8265),
    (TRIALS, INTERNET, 443),
    (REDIS, INTERNET, 443),
    (HEAD, End(address=METADATA), 443),
    (HEAD, INTERNET, 80),
]


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> tuple[Object, ...]:
    return rendered(request.param)


@pytest.mark.parametrize(("source", "target", "port"), ALLOWED, ids=str)
def test_allowed(
    objects: tuple[Object, ...], source: str | End, target: str | End, port: int
) -> None:
    assert may(objects, source, target, port)


@pytest.mark.parametrize(("source", "target", "port"), REFUSED, ids=str)
def test_refused(
    objects: tuple[Object, ...], source: str | End, target: str | End, port: int
) -> None:
    assert not may(objects, source, target, port)


def test_stores_of_production() -> None:
    flows = [(MLFLOW, DATABASE, 5432), (MLFLOW, INTERNET, 443), (WORKER, INTERNET, 443)]
    for source, target, port in flows:
        assert may(rendered("production"), source, target, port)
        assert not may(rendered("minikube"), source, target, port)
    assert not may(rendered("production"), MLFLOW, INTERNET, 5432)
    assert not may(rendered("production"), MLFLOW, End(address=METADATA), 443)


def test_the_host_is_shown_to_be_ours() -> None:
    """By a pod of cert-manager's, of which no manifest here tells."""
    (policy,) = [
        one
        for one in policies(rendered("production"))
        if one["metadata"]["name"] == "certificate-challenge"
    ]
    assert matches(policy["spec"]["podSelector"], {"acme.cert-manager.io/http01-solver": "true"})
    (flow,) = policy["spec"]["ingress"]
    assert flow["ports"] == [{"protocol": "TCP", "port": 8089}]


def test_every_pod_is_covered(objects: tuple[Object, ...]) -> None:
    """By the refusal of everything, and by something that it may do after all."""
    (refusal,) = [one for one in policies(objects) if one["metadata"]["name"] == "default-deny"]
    assert refusal["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    found = pods(objects)
    assert sorted(pod.owner for pod in found) == sorted(OURS)
    for pod in found:
        chosen = [
            one for one in policies(objects) if matches(one["spec"]["podSelector"], pod.labels)
        ]
        assert len(chosen) > 2, pod.owner


def policies(objects: tuple[Object, ...]) -> list[Object]:
    return of_kind(objects, "NetworkPolicy")


def may(objects: tuple[Object, ...], source: str | End, target: str | End, port: int) -> bool:
    """Whether a connection is let out by its source's policies and in by its target's."""
    ours = {pod.owner: End("heart", tuple(pod.labels.items())) for pod in pods(objects)}
    start = ours[source] if isinstance(source, str) else source
    end = ours[target] if isinstance(target, str) else target
    out = not isinstance(source, str) or any(_rules(objects, "egress", start, end, port))
    into = not isinstance(target, str) or any(_rules(objects, "ingress", end, start, port))
    return out and into


def _rules(
    objects: tuple[Object, ...], way: str, ours: End, other: End, port: int
) -> Iterator[bool]:
    for policy in policies(objects):
        if not matches(policy["spec"]["podSelector"], dict(ours.labels)):
            continue
        for rule in policy["spec"].get(way, []):
            peers = rule.get("to" if way == "egress" else "from")
            ports = [one["port"] for one in rule.get("ports", [])]
            assert peers, "a rule without a peer is for everyone"
            yield (not ports or port in ports) and any(_is(peer, other) for peer in peers)


def _is(peer: Object, end: End) -> bool:
    if "ipBlock" in peer:
        return bool(end.address) and _within(peer["ipBlock"], end.address)
    if end.address:
        return False
    space = peer.get("namespaceSelector", {"matchLabels": {NAMESPACE: "heart"}})
    return matches(space, {NAMESPACE: end.namespace}) and matches(
        peer.get("podSelector", {}), dict(end.labels)
    )


NAMESPACE = "kubernetes.io/metadata.name"


def _within(block: Object, address: str) -> bool:
    from ipaddress import ip_address, ip_network

    ip = ip_address(address)
    excepted = any(ip in ip_network(one) for one in block.get("except", []))
    return ip in ip_network(block["cidr"]) and not excepted
