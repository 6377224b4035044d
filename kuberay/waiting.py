"""Waiting with progress, and with a reason where there is none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from heart.errors import ClusterError
from kuberay.cluster import Cluster, Key, Object
from kuberay.errors import AwayError, UnhealthyError
from kuberay.reasons import Reason, condition, of_job, of_service, of_workload

RUNNING: Final = "RUNNING"
FAILED_JOB: Final = ("Failed", "ValidationFailed")


@dataclass(frozen=True)
class Pace:
    """How often is looked and tried again, how long a request may take, in seconds.

    ``patience`` is a factor on the grace of what is stuck.
    """

    look_s: float = 5.0
    patience: float = 1.0
    again_s: float = 1.0
    request_s: float = 20.0


@dataclass(frozen=True)
class State:
    """How far something is, in words, and whether it has arrived."""

    text: str
    done: bool = False


Judge = Callable[[Object | None], State]
Why = Callable[[Object], Reason | None]


class Waiting:
    """Waits for one thing after the other, telling each change of its state."""

    def __init__(self, cluster: Cluster, *, seconds: float, pace: Pace, say: Callable[[str], None]):
        self._cluster, self._seconds, self._pace = cluster, seconds, pace
        self._say = say
        self._told = ""
        self._since: dict[tuple[str, str], float] = {}

    def until(self, key: Key, judge: Judge, why: Why) -> Object | None:
        """The object once ``judge`` says it has arrived.

        Raises `UnhealthyError` with the reason that ``why`` finds, where that lasts or time
        runs out.
        """
        ends = time.monotonic() + self._seconds
        self._since.clear()
        state, reason = State("nothing is known of it"), None
        while time.monotonic() < ends:
            try:
                for found in self._cluster.observe(key, seconds=self._window(ends)):
                    state = judge(found)
                    if state.done:
                        self._tell(f"{key}: {state.text}")
                        return found
                    reason = _look(why, found, key) if found else None
                    self._tell(f"{key}: {reason.text if reason else state.text}")
                    self._give_up(reason)
            except AwayError as error:
                self._tell(error.message)
                time.sleep(min(self._pace.again_s, max(0, ends - time.monotonic())))
        told = reason.text if reason else state.text
        raise UnhealthyError(f"{key} was not ready in {self._seconds:g} s: {told}")

    def _window(self, ends: float) -> float:
        return max(0.0, min(self._pace.look_s, ends - time.monotonic()))

    def _give_up(self, reason: Reason | None) -> None:
        """Raise where a reason has lasted for longer than it is likely to pass."""
        now = time.monotonic()
        if reason is None:
            self._since.clear()
            return
        since = self._since.setdefault(reason.same, now)
        if now - since >= reason.grace_s * self._pace.patience:
            raise UnhealthyError(reason.text)

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._say(text)


def _look(why: Why, found: Object, key: Key) -> Reason | None:
    """The reason; that it may not be looked for is one that has all the time there is."""
    try:
        return why(found)
    except AwayError:
        raise
    except ClusterError as error:
        text = f"what holds it up cannot be looked at: {error.message}"
        return Reason("unknown", str(key), text, math.inf)


def workload(cluster: Cluster) -> tuple[Judge, Why]:
    """How a Deployment or a StatefulSet is judged."""
    return _workload, lambda found: of_workload(cluster, found)


def ray_service(cluster: Cluster) -> tuple[Judge, Why]:
    """How a RayService is judged: its condition Ready, its applications, no upgrade under way."""
    return _ray_service, lambda found: of_service(cluster, found)


def ray_job(cluster: Cluster) -> tuple[Judge, Why]:
    """How a RayJob is judged: until it is complete; one that failed raises `UnhealthyError`."""
    return _ray_job, lambda found: of_job(cluster, found)


def gone(uid: str) -> Judge:
    """How something is judged that was deleted; one that is made anew is another."""

    def judge(found: Object | None) -> State:
        if found is None or found["metadata"]["uid"] != uid:
            return State("gone", done=True)
        held = found["metadata"].get("finalizers") or []
        return State(f"still there, held by {', '.join(held)}" if held else "still there")

    return judge


def _workload(found: Object | None) -> State:
    if found is None:
        return State("not there yet")
    status = found.get("status") or {}
    wanted = found["spec"].get("replicas", 1)
    ready, updated = status.get("readyReplicas") or 0, status.get("updatedReplicas") or 0
    seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    done = seen and min(ready, updated) >= wanted
    return State(f"{ready} of {wanted} pods ready", done=done)


def _ray_service(found: Object | None) -> State:
    if found is None:
        return State("not there yet")
    status = found.get("status") or {}
    seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    if not seen or not status:
        return State("the operator has not looked at it yet")
    applications = (status.get("activeServiceStatus") or {}).get("applicationStatuses") or {}
    running = bool(applications) and all(
        one.get("status") == RUNNING for one in applications.values()
    )
    ready = condition(found, "Ready").get("status") == "True"
    upgrading = condition(found, "UpgradeInProgress").get("status") == "True"
    done = ready and running and not upgrading
    return State(_told(found, ready=ready, upgrading=upgrading), done=done)


def _told(service: Object, *, ready: bool, upgrading: bool) -> str:
    status = service["status"]
    side = status.get("pendingServiceStatus" if upgrading else "activeServiceStatus") or {}
    applications = side.get("applicationStatuses") or {}
    words = [f"{name} {one.get('status', 'unknown')}" for name, one in applications.items()]
    if not words:
        state = (side.get("rayClusterStatus") or {}).get("state") or "starting"
        words = [f"Ray cluster {state}"]
    if upgrading:
        words.append("a new Ray cluster beside the old one")
    if ready:
        words.append(f"{status.get('numServeEndpoints', 0)} pods answer")
    return ", ".join(words)


def _ray_job(found: Object | None) -> State:
    if found is None:
        raise UnhealthyError("the search was deleted by someone else")
    status = found.get("status") or {}
    deployment, job = status.get("jobDeploymentStatus") or "", status.get("jobStatus") or ""
    if deployment in FAILED_JOB or (deployment == "Complete" and job in ("FAILED", "STOPPED")):
        said = status.get("message") or "no message"
        raise UnhealthyError(
            f"{Key.of(found)} failed ({status.get('reason') or job or deployment}): {said}"
        )
    words = ", ".join(filter(None, (deployment, job.lower()))) or "waiting for the operator"
    return State(words, done=deployment == "Complete")
