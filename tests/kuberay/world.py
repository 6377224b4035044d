"""What a healthy cluster does with the stack: controllers, an operator, a search, a service."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from apiserver import ApiServer, Object

CLUSTER = "heart-abcde"
LINES = ("searching", "version 1, champion: passed 21 gates")


class World:
    """Reactions of an `ApiServer`, each of which a test may replace by one that is stuck."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.search: Callable[[], None] = lambda: None
        self.deaf: set[str] = set()
        """Versions that the service never comes to serve."""
        self.answers = "none"
        for kind in ("Deployment", "StatefulSet"):
            api.on(kind, _workload)
        api.on("RayService", self._service)
        api.on("RayService deleted", _service_gone)
        api.on("RayJob", self._job)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._health())
        self._http.daemon_threads = True

    def __enter__(self) -> World:
        threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        for port in (8000, 8265):
            self.api.ports[f"{CLUSTER}-worker", port] = self._http.server_address[1]
            self.api.ports[f"{CLUSTER}-head", port] = self._http.server_address[1]
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def operator(self, *, ready: int = 1, gates: str = "RayCronJob=false") -> None:
        """The operator's own Deployment, in a namespace of its own."""
        self.api.put(
            thing(
                "apps/v1",
                "Deployment",
                "kuberay-operator",
                namespace="kuberay-system",
                labels={"app.kubernetes.io/name": "kuberay-operator"},
                spec={
                    "template": {
                        "spec": {
                            "containers": [{"name": "o", "args": [f"--feature-gates={gates}"]}]
                        }
                    }
                },
                status={"readyReplicas": ready},
            )
        )

    @property
    def model(self) -> dict[str, str] | None:
        """The reference that the RayService names."""
        found = self.api.get("RayService", "heart")
        return None if found is None else user_config(found).get("model")

    def _service(self, api: ApiServer, found: Object) -> None:
        version = (user_config(found).get("model") or {}).get("version", "none")
        if version not in self.deaf:
            self.answers = version
        if not api.all("RayCluster"):
            api.put(thing("ray.io/v1", "RayCluster", CLUSTER))
            for role in ("head", "worker"):
                api.put(pod(f"{CLUSTER}-{role}", ray(role), ready=True))
            api.status("RayService", "heart", **starting("DEPLOYING"))
        api.status("RayService", "heart", **serving(found))

    def _job(self, api: ApiServer, found: Object) -> None:
        name = found["metadata"]["name"]
        if found["spec"].get("suspend"):
            api.status("RayJob", name, jobDeploymentStatus="Suspended")
            return
        api.status("RayJob", name, jobDeploymentStatus="Initializing", rayClusterName=f"{name}-x")
        api.following.add(f"{name}-pod")
        api.put(pod(f"{name}-pod", {"job-name": name}, phase="Running"))
        api.status("RayJob", name, jobDeploymentStatus="Running", jobStatus="RUNNING")
        for line in LINES:
            api.write(f"{name}-pod", line)
        self.search()
        api.following.discard(f"{name}-pod")
        api.status("RayJob", name, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    def _health(world) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = json.dumps({"status": "ok", "model_version": world.answers}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        return Handler


def thing(version: str, kind: str, name: str, **parts: Any) -> Object:
    """An object; what is no part of its own goes into its metadata."""
    metadata = {"name": name, "namespace": "heart"}
    own = {k: parts.pop(k) for k in ("spec", "status", "involvedObject") if k in parts}
    own |= {k: parts.pop(k) for k in ("type", "message") if k in parts}
    metadata |= parts
    if metadata["namespace"] is None:
        del metadata["namespace"]
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **own}


def pod(
    name: str,
    labels: dict[str, str],
    *,
    ready: bool = False,
    phase: str = "Pending",
    waiting: dict[str, str] | None = None,
    last: dict[str, Any] | None = None,
    ended: dict[str, Any] | None = None,
    unschedulable: str = "",
) -> Object:
    """A pod of one container."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    if unschedulable:
        conditions.append(
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": unschedulable,
            }
        )
    now = {"terminated": ended} if ended else {"waiting": waiting or {}}
    state = {"name": "main", "image": "heart:0.1.0", "state": now}
    state["lastState"] = {"terminated": last} if last else {}
    status = {"phase": phase, "conditions": conditions, "containerStatuses": [state]}
    container = {"name": "main", "ports": [{"name": "http", "containerPort": 5000}]}
    return thing("v1", "Pod", name, labels=labels, spec={"containers": [container]}, status=status)


def ray(role: str) -> dict[str, str]:
    """The labels of a Ray pod of the service."""
    return {
        "ray.io/cluster": CLUSTER,
        "ray.io/node-type": role,
        "ray.io/serve": "true" if role == "worker" else "false",
    }


def event(of: str, message: str) -> Object:
    """A warning about an object."""
    return thing(
        "v1",
        "Event",
        f"{of}.{abs(hash(message))}",
        type="Warning",
        message=message,
        involvedObject={"name": of},
    )


def user_config(service: Object) -> dict[str, Any]:
    """What serveConfigV2 gives to the deployment."""
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    found: dict[str, Any] = config["applications"][0]["deployments"][0]["user_config"]
    return found


def starting(application: str, message: str = "", *, deployment: str = "") -> dict[str, Any]:
    """The status of a RayService that does not serve yet."""
    statuses = {
        "heart": {
            "status": application,
            "message": message,
            "serveDeploymentStatuses": {"heart": {"status": "UPDATING", "message": deployment}},
        }
    }
    return {
        "observedGeneration": 10**6,
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "Initializing", "message": "starting"}
        ],
        "pendingServiceStatus": {"rayClusterName": CLUSTER, "applicationStatuses": statuses},
    }


def serving(service: Object) -> dict[str, Any]:
    """The status of a RayService that serves."""
    return {
        "observedGeneration": service["metadata"]["generation"],
        "numServeEndpoints": 1,
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints"},
            {"type": "UpgradeInProgress", "status": "False", "reason": "NoPendingCluster"},
        ],
        "activeServiceStatus": {
            "rayClusterName": CLUSTER,
            "applicationStatuses": {"heart": {"status": "RUNNING"}},
        },
        "pendingServiceStatus": {},
    }


def _workload(api: ApiServer, found: Object) -> None:
    metadata, replicas = found["metadata"], found["spec"].get("replicas", 1)
    labels = found["spec"]["selector"]["matchLabels"]
    api.put(pod(f"{metadata['name']}-0", labels, ready=True, phase="Running"))
    api.status(
        found["kind"],
        metadata["name"],
        observedGeneration=metadata["generation"],
        readyReplicas=replicas,
        updatedReplicas=replicas,
    )


def _service_gone(api: ApiServer, found: Object) -> None:
    api.remove("RayCluster", CLUSTER)
    for role in ("head", "worker"):
        api.remove("Pod", f"{CLUSTER}-{role}")
