"""A search on the cluster: a RayJob of its own, and its log."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from heart.errors import ClusterError
from kuberay.cluster import Cluster, Key, Object
from kuberay.manifests import Manifests
from kuberay.waiting import Pace, Waiting, ray_job

SUBMITTER: Final = "ray-job-submitter"
"""The container that submits the job and prints what it writes."""
LAST_WORDS_S: Final = 10.0


def job(manifests: Manifests, options: Sequence[str]) -> Object:
    """A copy of the overlay's RayJob that runs: its own name, more options of the search."""
    made = manifests.search
    made["metadata"]["name"] += f"-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    made["spec"]["suspend"] = False
    if options:
        made["spec"]["entrypoint"] += f" {shlex.join(options)}"
    return made


def jobs(cluster: Cluster, manifests: Manifests) -> list[Object]:
    """The copies of the overlay's RayJob, oldest first: ours, and those of its schedule."""
    template = manifests.search
    found = cluster.find(template["apiVersion"], template["kind"], manifests.namespace)
    name = template["metadata"]["name"]
    ours = [one for one in found if one["metadata"]["name"].startswith(f"{name}-")]
    return sorted(ours, key=lambda one: str(one["metadata"].get("creationTimestamp")))


def unfinished(cluster: Cluster, manifests: Manifests) -> Key | None:
    """A search that is under way, so that none is begun beside it."""
    for one in jobs(cluster, manifests):
        if (one.get("status") or {}).get("jobDeploymentStatus") not in (
            "Complete",
            "Failed",
            "ValidationFailed",
        ):
            return Key.of(one)
    return None


def follow(
    cluster: Cluster,
    key: Key,
    *,
    seconds: float,
    pace: Pace,
    say: Callable[[str], None],
    write: Callable[[str], None],
) -> None:
    """Wait for a RayJob and write its log meanwhile; raises `UnhealthyError` if it failed."""
    log = Log(cluster, key, pace=pace, write=write)
    log.start()
    try:
        Waiting(cluster, seconds=seconds, pace=pace, say=say).until(key, *ray_job(cluster))
    finally:
        log.finish()


class Log(threading.Thread):
    """Writes what the pods that submit a job write, the lines of each once."""

    def __init__(
        self, cluster: Cluster, key: Key, *, pace: Pace, write: Callable[[str], None]
    ) -> None:
        super().__init__(name=f"log of {key}", daemon=True)
        self._cluster, self._key, self._pace, self._write = cluster, key, pace, write
        self._ended = threading.Event()
        self._written: dict[str, int] = {}

    def run(self) -> None:
        """Follow pod after pod until the job has ended."""
        while True:
            ending = self._ended.is_set()
            for pod in self._pods():
                self._copy(pod)
            if ending:
                return
            self._ended.wait(self._pace.again_s)

    def finish(self) -> None:
        """Take the last lines, for some seconds at most."""
        self._ended.set()
        self.join(LAST_WORDS_S)

    def _pods(self) -> Iterator[Object]:
        """Pods that have begun to write; none while the cluster does not answer."""
        labels = f"job-name={self._key.name}"
        try:
            found = self._cluster.find("v1", "Pod", self._key.namespace, labels=labels)
        except ClusterError:
            return
        for pod in found:
            if (pod.get("status") or {}).get("phase") in ("Running", "Succeeded", "Failed"):
                yield pod

    def _copy(self, pod: Object) -> None:
        """Write the lines that come, without those of before: a stream may break and be resumed."""
        uid = str(pod["metadata"].get("uid"))
        known = self._written.get(uid, 0)
        try:
            for number, line in enumerate(self._cluster.follow(pod, _container(pod)), 1):
                if number > known:
                    self._write(line)
                    self._written[uid] = number
        except ClusterError:
            return


def _container(pod: Object) -> str:
    names = [str(one["name"]) for one in pod["spec"]["containers"]]
    return SUBMITTER if SUBMITTER in names else names[0]
