"""A port of a pod on this machine, as ``kubectl port-forward`` has it."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Final

from kubernetes.stream import portforward

from heart.errors import ClusterError
from kuberay.cluster import Cluster, Key, Object
from kuberay.reasons import condition

HOST: Final = "127.0.0.1"
CHUNK: Final = 65_536


@contextmanager
def forwarded(cluster: Cluster, pod: Object, port: int, *, local: int = 0) -> Iterator[str]:
    """The base URL of a port of a pod on this machine; raises `ClusterError`.

    ``local`` is the port here, 0 for a free one.
    """
    key = Key.of(pod)
    with cluster.asking(f"forward port {port} of {key}"):
        _open(cluster, key, port).close()  # a right that is missing is told here
    try:
        listener = socket.create_server((HOST, local))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ClusterError(
            f"port {local} of {HOST} cannot be had: {reason}", field="port"
        ) from None
    with closing(listener):
        threading.Thread(target=_accept, args=(listener, cluster, key, port), daemon=True).start()
        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes what waits in accept


def behind(cluster: Cluster, service: Key) -> tuple[Object, int]:
    """A ready pod behind a Service, and its port; raises `ClusterError`."""
    found = cluster.get(service)
    if found is None:
        raise ClusterError(f"there is no {service} in namespace {service.namespace}: `up` first")
    selector = found["spec"].get("selector") or {}
    labels = ",".join(f"{name}={value}" for name, value in selector.items())
    pods = [
        pod for pod in cluster.find("v1", "Pod", service.namespace, labels=labels) if is_ready(pod)
    ]
    if not pods:
        raise ClusterError(f"no pod behind {service} is ready: `status` tells why")
    first = found["spec"]["ports"][0]
    return pods[0], _port(pods[0], first.get("targetPort", first["port"]))


def is_ready(pod: Object) -> bool:
    """Whether a pod takes requests."""
    leaving = "deletionTimestamp" in pod["metadata"]
    return not leaving and condition(pod, "Ready").get("status") == "True"


def _port(pod: Object, named: int | str) -> int:
    """The number of a port that a Service may name."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or []:
            if port.get("name") == named:
                return int(port["containerPort"])
    return int(named)


def _open(cluster: Cluster, key: Key, port: int) -> Any:
    """A socket to a pod's port, by the API server."""
    forward = portforward(
        cluster.core.connect_get_namespaced_pod_portforward,
        key.name,
        key.namespace,
        ports=str(port),
    )
    return forward.socket(port)


def _accept(listener: socket.socket, cluster: Cluster, key: Key, port: int) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_join, args=(near, cluster, key, port), daemon=True).start()


def _join(near: socket.socket, cluster: Cluster, key: Key, port: int) -> None:
    """Carry bytes both ways until one side ends; a pod that is away closes the connection."""
    with closing(near), suppress(ClusterError, OSError):
        with cluster.asking(f"forward port {port} of {key}"):
            far = _open(cluster, key, port)
        with closing(far):
            sides = {near: far, far: near}
            while True:
                ready, _, _ = select.select(list(sides), [], [])
                for side in ready:
                    carried = side.recv(CHUNK)
                    if not carried:
                        return
                    sides[side].sendall(carried)
