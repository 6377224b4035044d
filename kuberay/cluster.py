"""A cluster by its context's name: read, apply, delete, observe and follow the logs."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubernetes import watch
from kubernetes.client import ApiClient, Configuration, CoreV1Api
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError, ResourceNotFoundError
from kubernetes.dynamic.resource import Resource

from heart.errors import ClusterError
from kuberay.contexts import Context, configuration_of, known_contexts, kubeconfig
from kuberay.errors import AwayError, asking

Object = dict[str, Any]
"""An object of Kubernetes as JSON has it."""
MANAGER: Final = "heart-deploy"
"""Who owns the fields that are applied (server-side apply's field manager)."""
REQUEST_S: Final = 20.0


@dataclass(frozen=True)
class Key:
    """What an object is called."""

    api_version: str
    kind: str
    name: str
    namespace: str | None = None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Key:
        """The key of an object."""
        metadata = found["metadata"]
        return cls(found["apiVersion"], found["kind"], metadata["name"], metadata.get("namespace"))

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class _Client(ApiClient):
    """The official client, with a bound on each request: it has none of its own."""

    def __init__(self, configuration: Configuration, *, seconds: float) -> None:
        super().__init__(configuration=configuration)
        self._seconds = seconds

    def call_api(
        self,
        method: Any,
        url: Any,
        header_params: Any = None,
        body: Any = None,
        post_params: Any = None,
        _request_timeout: Any = None,
    ) -> Any:
        bound = self._seconds if _request_timeout is None else _request_timeout
        return super().call_api(method, url, header_params, body, post_params, bound)


class Cluster:
    """A connection. Every method raises `ClusterError`, which says what was being done."""

    def __init__(self, client: DynamicClient, context: Context, *, seconds: float) -> None:
        self.context = context
        self._dynamic, self._seconds = client, seconds

    @property
    def core(self) -> CoreV1Api:
        """A client of its own, for port-forwards, which change the client they use."""
        return CoreV1Api(_Client(self._dynamic.configuration, seconds=self._seconds))

    @contextmanager
    def asking(self, doing: str) -> Iterator[None]:
        """Name what is being done in what the client raises."""
        with asking(self.context.name, doing):
            yield

    def serves(self, api_version: str, kind: str) -> bool:
        """Whether the cluster knows a kind of object."""
        with self.asking(f"look for the kind {kind}"):
            try:
                self._resource(api_version, kind)
            except ResourceNotFoundError:
                return False
        return True

    def namespaced(self, key: Key) -> bool:
        """Whether a kind of object lives in a namespace."""
        with self.asking(f"look for the kind {key.kind}"):
            return bool(self._resource(key.api_version, key.kind).namespaced)

    def get(self, key: Key) -> Object | None:
        """An object, or None where there is none."""
        with self.asking(f"read {key}"):
            try:
                return self._ask("get", key, name=key.name)
            except (NotFoundError, ResourceNotFoundError):
                return None

    def find(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> list[Object]:
        """The objects of a kind that the selectors take; none where the kind is unknown."""
        key = Key(api_version, kind, "", namespace)
        selected = {"label_selector": labels, "field_selector": fields}
        with self.asking(f"list {kind}s"):
            try:
                items = self._ask("get", key, **selected).get("items") or []
            except (NotFoundError, ResourceNotFoundError):
                return []
        # Items of a list come without their kind.
        return [{"apiVersion": api_version, "kind": kind, **item} for item in items]

    def apply(
        self, wanted: Object, *, manager: str = MANAGER, force: bool = False, dry: bool = False
    ) -> Object:
        """Make an object what is wanted, leaving alone the fields that others own."""
        key = Key.of(wanted)
        with self.asking(f"apply {key}"):
            return self._ask(
                "server_side_apply",
                key,
                body=wanted,
                field_manager=manager,
                force_conflicts=force or None,
                dry_run="All" if dry else None,
            )

    def create(self, wanted: Object, *, dry: bool = False) -> Object:
        """Make an object that was not there."""
        key = Key.of(wanted)
        with self.asking(f"create {key}"):
            dry_run = "All" if dry else None
            return self._ask("create", key, body=wanted, field_manager=MANAGER, dry_run=dry_run)

    def delete(self, key: Key) -> bool:
        """Ask for an object's end, its dependents first; False where there was none."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        with self.asking(f"delete {key}"):
            try:
                self._ask("delete", key, name=key.name, body=body)
            except (NotFoundError, ResourceNotFoundError):
                return False
        return True

    def observe(self, key: Key, *, seconds: float) -> Iterator[Object | None]:
        """The object as it is, then each change of it for some seconds."""
        found = self.get(key)
        yield found
        version = found["metadata"].get("resourceVersion") if found else None
        ends = time.monotonic() + seconds
        try:
            for event in self._events(key, version, seconds=seconds):
                yield None if event["type"] == "DELETED" else event["raw_object"]
                if time.monotonic() >= ends:
                    return
        except ApiException as error:
            if error.status != EXPIRED:
                with self.asking(f"watch {key}"):
                    raise

    def log(self, pod: Object, container: str, *, lines: int, before: bool = False) -> str:
        """The last lines that a container wrote; ``before`` its last restart."""
        key = Key.of(pod)
        path = f"/api/v1/namespaces/{key.namespace}/pods/{key.name}/log"
        query = [("container", container), ("tailLines", lines)]
        query += [("previous", "true")] if before else []
        with self.asking(f"read the log of {key}"):
            answer = self._dynamic.request("get", path, query_params=query, serialize=False)
            return str(answer.data.decode("utf-8", errors="replace"))

    def follow(self, pod: Object, container: str) -> Iterator[str]:
        """The lines that a container writes, from its first, as they come."""
        key = Key.of(pod)
        with self.asking(f"follow the log of {key}"):
            lines = watch.Watch().stream(
                self.core.read_namespaced_pod_log,
                name=key.name,
                namespace=key.namespace,
                container=container,
                _request_timeout=(self._seconds, FOLLOW_S),
            )
            for line in lines:
                yield str(line)

    def _events(self, key: Key, version: str | None, *, seconds: float) -> Iterator[Object]:
        whole = max(1, round(seconds))
        with self.asking(f"watch {key}"):
            stream = watch.Watch().stream(
                self._resource(key.api_version, key.kind).get,
                namespace=key.namespace,
                field_selector=f"metadata.name={key.name}",
                resource_version=version,
                serialize=False,
                timeout_seconds=whole,
                _request_timeout=(self._seconds, whole + self._seconds),
            )
            yield from stream

    def _resource(self, api_version: str, kind: str) -> Resource:
        found: Resource = self._dynamic.resources.get(api_version=api_version, kind=kind)
        return found

    def _ask(self, verb: str, key: Key, **arguments: Any) -> Object:
        resource = self._resource(key.api_version, key.kind)
        answer = getattr(self._dynamic, verb)(
            resource, namespace=key.namespace, serialize=False, **arguments
        )
        told: Object = json.loads(answer.data)
        return told


EXPIRED: Final = 410
"""What a watch from a version ends with that the server no longer remembers."""
FOLLOW_S: Final = 3600.0
"""How long a log may be silent."""


def connect(name: str, *, seconds: float = REQUEST_S) -> Cluster:
    """A connection to the cluster of a context; raises `ClusterError`."""
    path = kubeconfig()
    known, _ = known_contexts(path)
    if name not in known:
        told = ", ".join(known) or "none"
        raise ClusterError(f"{path} has no context {name}; it has {told}", field="context")
    configuration = configuration_of(path, name)
    client = _Client(configuration, seconds=seconds)
    # The client keeps what it discovers in a file: one of its own, as others may have put
    # theirs where it would look.
    with asking(name, "connect"), tempfile.TemporaryDirectory() as folder:
        try:
            dynamic = DynamicClient(client, cache_file=str(Path(folder) / "kinds.json"))
        except ValueError as error:
            raise AwayError(f"{configuration.host} is no API server: {error}") from None
    return Cluster(dynamic, Context(name, configuration.host), seconds=seconds)
