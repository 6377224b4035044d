"""Why something does not become ready: what pods, events and statuses tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from heart.errors import ClusterError
from kuberay.cluster import Cluster, Key, Object
from kuberay.errors import QUOTA, shortened

RECENT_S: Final = 5 * 60.0
LOG_LINES: Final = 5
MINUTE_S: Final = 60.0
IMAGE: Final = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
FINAL_IMAGE: Final = ("ErrImageNeverPull", "InvalidImageName")
"""No second try is made of these."""
CONFIG: Final = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
FAILED: Final = ("DEPLOY_FAILED", "UNHEALTHY")
"""Statuses of an application, or a deployment, of Ray Serve."""
OPERATOR: Final = "app.kubernetes.io/name=kuberay-operator"


@dataclass(frozen=True)
class Reason:
    """What is wrong with what, and after how many seconds of it waiting has no sense."""

    kind: str
    of: str
    text: str
    grace_s: float

    @property
    def same(self) -> tuple[str, str]:
        """What stays the same while the text, which may count seconds, changes."""
        return self.kind, self.of


def of_pods(cluster: Cluster, namespace: str, labels: str) -> Reason | None:
    """The first reason that a pod with these labels is not ready."""
    for pod in cluster.find("v1", "Pod", namespace, labels=labels):
        for reason in _of_pod(cluster, pod):
            return reason
    return None


def of_events(cluster: Cluster, namespace: str, names: Iterable[str]) -> Reason | None:
    """What was refused when pods of these objects were to be made: quota, Pod Security."""
    wanted = set(names)
    for event in cluster.find("v1", "Event", namespace, fields="type=Warning"):
        name = event.get("involvedObject", {}).get("name")
        if name in wanted and _recent(event):
            refusal = _refusal(str(name), str(event.get("message", "")))
            if refusal is not None:
                return refusal
    return None


def _recent(event: Object) -> bool:
    """Whether an event is of now: the cluster keeps them for an hour, solved or not."""
    at = event.get("lastTimestamp") or event.get("eventTime")
    if not at:
        return True
    return datetime.now(UTC) - datetime.fromisoformat(at) < timedelta(seconds=RECENT_S)


def of_workload(cluster: Cluster, found: Object) -> Reason | None:
    """Why a Deployment or a StatefulSet is not ready."""
    key = Key.of(found)
    for condition in conditions(found):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = str(condition.get("message", ""))
            return _refusal(str(key), message) or Reason(
                "refused", str(key), f"{key} cannot make pods: {shortened(message)}", MINUTE_S
            )
    labels = found["spec"].get("selector", {}).get("matchLabels", {})
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    return of_pods(cluster, str(key.namespace), selector) or of_events(
        cluster, str(key.namespace), [key.name]
    )


def of_service(cluster: Cluster, found: Object) -> Reason | None:
    """Why a RayService is not ready."""
    key, status = Key.of(found), found.get("status") or {}
    ended = _ended(found)
    if ended is not None:
        return ended
    sides = [status.get(f"{side}ServiceStatus") or {} for side in ("pending", "active")]
    for side in sides:
        for reason in _of_applications(side.get("applicationStatuses") or {}):
            return reason
    names = [str(side["rayClusterName"]) for side in sides if side.get("rayClusterName")]
    return _of_ray(cluster, key, names)


def of_job(cluster: Cluster, found: Object) -> Reason | None:
    """Why a RayJob does not run."""
    key, status = Key.of(found), found.get("status") or {}
    name = status.get("rayClusterName")
    return of_pods(cluster, str(key.namespace), f"job-name={key.name}") or _of_ray(
        cluster, key, [str(name)] if name else []
    )


def conditions(found: Object) -> list[dict[str, Any]]:
    """The conditions in an object's status."""
    return list((found.get("status") or {}).get("conditions") or [])


def condition(found: Object, kind: str) -> dict[str, Any]:
    """One condition, empty where it is not told."""
    return next((one for one in conditions(found) if one.get("type") == kind), {})


def _of_ray(cluster: Cluster, key: Key, names: list[str]) -> Reason | None:
    """What holds up the Ray clusters of a RayService or RayJob."""
    namespace = str(key.namespace)
    if not names:
        return of_events(cluster, namespace, [key.name]) or _of_operator(cluster, key)
    for name in names:
        reason = of_pods(cluster, namespace, f"ray.io/cluster={name}")
        if reason is not None:
            return reason
    return of_events(cluster, namespace, [key.name, *names])


def _of_operator(cluster: Cluster, key: Key) -> Reason | None:
    """Nothing was made of it: whether the operator runs, where one may look."""
    try:
        operators = cluster.find("apps/v1", "Deployment", None, labels=OPERATOR)
    except ClusterError:
        return None
    ready = sum((one.get("status") or {}).get("readyReplicas") or 0 for one in operators)
    if ready:
        return None
    told = "is not ready" if operators else "is not installed"
    return Reason(
        "operator",
        str(key),
        f"the KubeRay operator {told}, so nothing is made of {key}: `kubectl get pods -A -l "
        f"{OPERATOR}` shows it, `make minikube-up` or helm installs it",
        MINUTE_S,
    )


def _ended(found: Object) -> Reason | None:
    """A RayService that the operator has given up."""
    ready = condition(found, "Ready")
    if ready.get("reason") not in ("ValidationFailed", "InitializingTimeout"):
        return None
    key = Key.of(found)
    text = (
        f"the operator gave up {key} ({ready['reason']}): {shortened(str(ready.get('message')))}; "
        "`down`, then `up` makes it anew"
    )
    return Reason("given up", str(key), text, 0)


def _of_applications(statuses: dict[str, Any]) -> Iterator[Reason]:
    for name, status in statuses.items():
        if status.get("status") not in FAILED:
            continue
        deployments = status.get("serveDeploymentStatuses") or {}
        messages = [str(status.get("message") or "")] + [
            f"{deployment}: {one['message']}"
            for deployment, one in deployments.items()
            if one.get("message")
        ]
        said = shortened(" ".join(filter(None, messages))) or "no message"
        text = f"the application {name} is {status['status']}: {said}"
        yield Reason("application", name, text, 2 * MINUTE_S)


def _of_pod(cluster: Cluster, pod: Object) -> Iterator[Reason]:
    key, status = Key.of(pod), pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        text = (
            f"no node takes {key}: {shortened(str(scheduled.get('message')))}; give the cluster "
            "more, or lower the requests in the overlay"
        )
        yield Reason("unschedulable", key.name, text, 5 * MINUTE_S)
    for container in (status.get("initContainerStatuses") or []) + (
        status.get("containerStatuses") or []
    ):
        yield from _of_container(cluster, pod, container)


def _of_container(cluster: Cluster, pod: Object, container: dict[str, Any]) -> Iterator[Reason]:
    key, name = Key.of(pod), str(container["name"])
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = str(waiting.get("reason", "")), shortened(str(waiting.get("message", "")))
    if reason in IMAGE:
        text = (
            f"{key} has no image {container.get('image')} ({reason}): {message}; push it, or on "
            "Minikube `minikube image load` it"
        )
        yield Reason("image", key.name, text, 0 if reason in FINAL_IMAGE else MINUTE_S)
    elif reason in CONFIG:
        yield Reason("config", key.name, f"{key} cannot start ({reason}): {message}", MINUTE_S)
    elif reason == "CrashLoopBackOff":
        ending = _ending((container.get("lastState") or {}).get("terminated") or {})
        text = f"{key} ends again and again{ending}: {_last(cluster, pod, name, before=True)}"
        yield Reason("crash", key.name, text, 2 * MINUTE_S)
    ended = (container.get("state") or {}).get("terminated") or {}
    if ended.get("exitCode"):
        # With the autoscaler KubeRay lets no container start again: it makes another pod, of
        # another name, so that only the container's is the same.
        text = f"{key} has ended{_ending(ended)}: {_last(cluster, pod, name, before=False)}"
        yield Reason("crash", name, text, 2 * MINUTE_S)


def _ending(ended: dict[str, Any]) -> str:
    if ended.get("reason") == "OOMKilled":
        return " (out of memory: raise its limit in the overlay)"
    return f" (exit code {ended['exitCode']})" if "exitCode" in ended else ""


def _last(cluster: Cluster, pod: Object, container: str, *, before: bool) -> str:
    """The last lines, of before the last restart or of now, on one line."""
    try:
        written = cluster.log(pod, container, lines=LOG_LINES, before=before)
    except ClusterError as error:
        written = error.message
    return shortened(written) or "it wrote nothing"


def _refusal(name: str, message: str) -> Reason | None:
    if QUOTA in message:
        advice = "the namespace's quota does not allow it; ask for more, or lower the requests"
        return Reason("quota", name, f"{name}: {advice}: {shortened(message)}", MINUTE_S)
    if "violates PodSecurity" in message:
        advice = "Pod Security of the namespace refuses its pods"
        return Reason("security", name, f"{name}: {advice}: {shortened(message)}", MINUTE_S)
    return None
