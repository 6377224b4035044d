"""A stand-in for the API server of Kubernetes: real HTTP, real rules, and it writes down all.

It keeps objects, applies them by the owner of each field, answers 404, 409, 403 and 422 as the
server does, streams watches and logs, and carries port-forwards over WebSockets. What an operator
or a kubelet would do is done by reactions: functions that are called with an object once it was
made or changed, and that change its status.
"""

from __future__ import annotations

import copy
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any, cast

import yaml
from apihandler import Handler, Object, RefusedError, Request, refusal

Reaction = Callable[["ApiServer", Object], None]

KINDS: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "Namespace": ("namespaces", False),
        "Pod": ("pods", True),
        "Service": ("services", True),
        "Secret": ("secrets", True),
        "ConfigMap": ("configmaps", True),
        "ServiceAccount": ("serviceaccounts", True),
        "Event": ("events", True),
        "PersistentVolumeClaim": ("persistentvolumeclaims", True),
        "PersistentVolume": ("persistentvolumes", False),
        "ResourceQuota": ("resourcequotas", True),
    },
    "apps/v1": {"Deployment": ("deployments", True), "StatefulSet": ("statefulsets", True)},
    "batch/v1": {"CronJob": ("cronjobs", True), "Job": ("jobs", True)},
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    "rbac.authorization.k8s.io/v1": {
        "Role": ("roles", True),
        "RoleBinding": ("rolebindings", True),
    },
    "networking.k8s.io/v1": {
        "NetworkPolicy": ("networkpolicies", True),
        "Ingress": ("ingresses", True),
    },
    "ray.io/v1": {
        "RayService": ("rayservices", True),
        "RayJob": ("rayjobs", True),
        "RayCluster": ("rayclusters", True),
        "RayCronJob": ("raycronjobs", True),
    },
    "monitoring.coreos.com/v1": {
        "PodMonitor": ("podmonitors", True),
        "PrometheusRule": ("prometheusrules", True),
    },
}
TICK_S = 0.02


@dataclass
class Rule:
    """An answer to be given instead of the right one; None hangs until the server ends."""

    method: str
    path: re.Pattern[str]
    code: int | None
    message: str
    times: int


@dataclass
class Kept:
    """An object, and which manager owns which of its fields."""

    found: Object
    owners: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)


class ApiServer:
    """The server. Everything is done under one lock, which watches wait on."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.kinds = copy.deepcopy(KINDS)
        self.ports: dict[tuple[str, int], int] = {}
        self.logs: dict[str, list[str]] = {}
        self.following: set[str] = set()
        self.changed = threading.Condition(threading.RLock())
        self._kept: dict[tuple[str, str, str, str], Kept] = {}
        self._history: list[tuple[int, str, Object]] = []
        self._version = 0
        self._forgotten = 0
        self._rules: list[Rule] = []
        self._reactions: dict[str, list[Reaction]] = {}
        self._ended = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": self}))
        self._http.daemon_threads = True
        self._http.block_on_close = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> ApiServer:
        threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": TICK_S}, daemon=True
        ).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        with self.changed:
            self.changed.notify_all()
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, name: str = "minikube") -> str:
        """A kubeconfig with a context of that name, and another that leads nowhere."""
        clusters = {name: self.url, "elsewhere": "http://127.0.0.1:9"}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": name,
                "clusters": [
                    {"name": one, "cluster": {"server": url}} for one, url in clusters.items()
                ],
                "contexts": [
                    {"name": one, "context": {"cluster": one, "user": "me"}} for one in clusters
                ],
                "users": [{"name": "me", "user": {"token": "a-token"}}],
            }
        )

    # What a test arranges.

    def answer(
        self, method: str, path: str, code: int | None, message: str = "", times: int = 10**9
    ) -> None:
        """Answer requests whose path matches with a code, or with silence."""
        self._rules.append(Rule(method, re.compile(path), code, message, times))

    def on(self, kind: str, reaction: Reaction) -> None:
        """Do something, in a thread of its own, once an object of a kind was made or changed."""
        self._reactions.setdefault(kind, []).append(reaction)

    def only(self, kind: str, reaction: Reaction) -> None:
        """The same, instead of what was arranged before."""
        self._reactions[kind] = [reaction]

    def put(self, found: Object) -> Object:
        """Make an object, or replace it, as someone else would."""
        with self.changed:
            found = copy.deepcopy(found)
            place = self._place(found)
            before = self._kept.get(place)
            found["metadata"].setdefault("uid", str(uuid.uuid4()))
            self._store(place, Kept(found, before.owners if before else {}))
            return copy.deepcopy(found)

    def status(self, kind: str, name: str, **status: Any) -> None:
        """Change an object's status, as its controller would; nothing where it is gone."""
        with self.changed:
            for place, kept in self._kept.items():
                if place[1] == kind and place[3] == name:
                    found = copy.deepcopy(kept.found)
                    found["status"] = {**(found.get("status") or {}), **status}
                    self._store(place, Kept(found, kept.owners))
                    return

    def get(self, kind: str, name: str) -> Object | None:
        with self.changed:
            for place, kept in self._kept.items():
                if place[1] == kind and place[3] == name:
                    return copy.deepcopy(kept.found)
        return None

    def all(self, kind: str) -> list[Object]:
        with self.changed:
            return [copy.deepcopy(k.found) for place, k in self._kept.items() if place[1] == kind]

    def remove(self, kind: str, name: str) -> None:
        """Take an object away at once, finalizers and all."""
        with self.changed:
            for place in list(self._kept):
                if place[1] == kind and place[3] == name:
                    self._drop(place)

    def forget(self) -> None:
        """Remember no change before now: a watch from before is answered 410."""
        with self.changed:
            self._forgotten = self._version

    def write(self, pod: str, *lines: str) -> None:
        """Let a pod write lines to its log."""
        with self.changed:
            self.logs.setdefault(pod, []).extend(lines)
            self.changed.notify_all()

    def written(self, *methods: str) -> list[str]:
        """The requests that change something, as ``METHOD kind name``; no dry runs."""
        return [
            f"{r.method} {r.path.rsplit('/', 1)[-1]}"
            for r in self.requests
            if r.method in (methods or ("POST", "PATCH", "PUT", "DELETE"))
            and "dryRun" not in r.query
        ]

    def asked(self, path: str, query: str, *, after: int = 0) -> None:
        """Wait until a path is asked for with a parameter."""
        while not self._ended.wait(TICK_S):
            for request in self.requests[after:]:
                if re.search(path, request.path) and query in request.query:
                    return

    # What the handler asks for.

    def rule(self, method: str, path: str) -> Rule | None:
        with self.changed:
            for rule in self._rules:
                if rule.times and rule.method in (method, "*") and rule.path.search(path):
                    rule.times -= 1
                    return rule
        return None

    def silence(self) -> None:
        self._ended.wait()

    def discover(self, path: str) -> Object:
        if path == "/version":
            return {"major": "1", "minor": "32", "gitVersion": "v1.32.0"}
        if path == "/apis":
            groups = [version.split("/") for version in self.kinds if "/" in version]
            return {
                "kind": "APIGroupList",
                "groups": [
                    {
                        "name": group,
                        "versions": [{"groupVersion": f"{group}/{v}", "version": v}],
                        "preferredVersion": {"groupVersion": f"{group}/{v}", "version": v},
                    }
                    for group, v in groups
                ],
            }
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version not in self.kinds:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        return {
            "kind": "APIResourceList",
            "groupVersion": version,
            "resources": [
                {"name": plural, "kind": kind, "namespaced": namespaced, "verbs": ["get"]}
                for kind, (plural, namespaced) in self.kinds[version].items()
            ],
        }

    def read(self, version: str, plural: str, namespace: str, name: str) -> Object:
        with self.changed:
            return copy.deepcopy(self._kept[self._known(version, plural, namespace, name)].found)

    def find(
        self, version: str, plural: str, namespace: str, query: dict[str, str]
    ) -> tuple[list[Object], int]:
        kind = self._kind(version, plural)
        with self.changed:
            items = [
                copy.deepcopy(kept.found)
                for place, kept in self._kept.items()
                if place[:2] == (version, kind)
                and (not namespace or place[2] == namespace)
                and _selected(kept.found, query)
            ]
            return items, self._version

    def create(self, version: str, namespace: str, body: Object, *, dry: bool) -> Object:
        with self.changed:
            self._namespace(namespace)
            place = (version, body["kind"], namespace, body["metadata"]["name"])
            if place in self._kept:
                raise RefusedError(409, "AlreadyExists", f"{_words(place)} already exists")
            return self._made(place, body, {}, dry=dry)

    def apply(
        self, version: str, plural: str, namespace: str, name: str, body: Object, **how: Any
    ) -> tuple[Object, bool]:
        """Server-side apply: each manager owns the fields that it named last."""
        manager, force, dry = how["manager"], how["force"], how["dry"]
        with self.changed:
            self._namespace(namespace)
            place = (version, self._kind(version, plural), namespace, name)
            kept = self._kept.get(place)
            wanted = {path: value for path, value in _leaves(body) if path[0] != "status"}
            version_wanted = wanted.pop(("metadata", "resourceVersion"), None)
            if kept is None:
                return self._made(place, body, {manager: set(wanted)}, dry=dry), True
            if version_wanted not in (None, kept.found["metadata"]["resourceVersion"]):
                raise RefusedError(409, "Conflict", "the object has been modified")
            self._conflicts(kept, wanted, manager, force=force)
            found = copy.deepcopy(kept.found)
            others = {p for m, paths in kept.owners.items() if m != manager for p in paths}
            for path in kept.owners.get(manager, set()) - set(wanted) - others:
                _remove(found, path)
            owners = {m: set(paths) for m, paths in kept.owners.items()}
            for path, value in wanted.items():
                if _value(found, path) != value:
                    for paths in owners.values():
                        paths.discard(path)
                _set(found, path, value)
            owners[manager] = set(wanted)
            if found == kept.found:
                kept.owners = kept.owners if dry else owners
                return copy.deepcopy(found), False
            if found.get("spec") != kept.found.get("spec"):
                found["metadata"]["generation"] = found["metadata"].get("generation", 1) + 1
            if dry:
                return found, False
            self._store(place, Kept(found, owners))
        self._react(found)
        return copy.deepcopy(found), False

    def delete(self, version: str, plural: str, namespace: str, name: str, *, dry: bool) -> Object:
        with self.changed:
            place = self._known(version, plural, namespace, name)
            found = copy.deepcopy(self._kept[place].found)
            if dry:
                return found
            if found["metadata"].get("finalizers"):
                found["metadata"]["deletionTimestamp"] = _now()
                self._store(place, Kept(found, self._kept[place].owners))
                what = "held"
            else:
                self._drop(place)
                self._cascade(found)
                what = "deleted"
        self._react({**found, "kind": f"{found['kind']} {what}"})
        return found

    def watch(
        self, version: str, plural: str, namespace: str, query: dict[str, str]
    ) -> Iterator[Object]:
        kind = self._kind(version, plural)
        ends = time.monotonic() + float(query.get("timeoutSeconds", 60))
        seen = int(query.get("resourceVersion") or 0)
        if seen < self._forgotten:
            status = refusal(410, "Expired", f"too old resource version: {seen}")
            yield {"type": "ERROR", "object": status}
            return
        while not self._ended.is_set():
            with self.changed:
                events = [
                    (v, what, found)
                    for v, what, found in self._history
                    if v > seen
                    and (found["apiVersion"], found["kind"]) == (version, kind)
                    and namespace in ("", found["metadata"].get("namespace"))
                    and _selected(found, query)
                ]
                if not events:
                    left = ends - time.monotonic()
                    if left <= 0:
                        return
                    self.changed.wait(left)
                    continue
            for v, what, found in events:
                seen = max(seen, v)
                yield {"type": what, "object": found}

    def log(self, pod: str, *, follow: bool, tail: int | None) -> Iterator[str]:
        at = 0
        while not self._ended.is_set():
            with self.changed:
                lines = self.logs.get(pod, [])[at:]
                if follow and not lines and pod in self.following:
                    self.changed.wait(TICK_S)
                    continue
            at += len(lines)
            yield from lines[-tail:] if tail else lines
            if not follow or (pod not in self.following and not lines):
                return

    # How it keeps things.

    def _kind(self, version: str, plural: str) -> str:
        for kind, (name, _) in self.kinds.get(version, {}).items():
            if name == plural:
                return kind
        raise RefusedError(404, "NotFound", "the server could not find the requested resource")

    def _known(
        self, version: str, plural: str, namespace: str, name: str
    ) -> tuple[str, str, str, str]:
        place = (version, self._kind(version, plural), namespace, name)
        if place not in self._kept:
            raise RefusedError(404, "NotFound", f'{plural} "{name}" not found')
        return place

    def _namespace(self, namespace: str) -> None:
        if namespace and ("v1", "Namespace", "", namespace) not in self._kept:
            raise RefusedError(404, "NotFound", f'namespaces "{namespace}" not found')

    @staticmethod
    def _place(found: Object) -> tuple[str, str, str, str]:
        metadata = found["metadata"]
        return found["apiVersion"], found["kind"], metadata.get("namespace", ""), metadata["name"]

    def _made(
        self,
        place: tuple[str, str, str, str],
        body: Object,
        owners: dict[str, set[tuple[str, ...]]],
        *,
        dry: bool,
    ) -> Object:
        found = copy.deepcopy(body)
        found.pop("status", None)
        metadata = found["metadata"]
        metadata.update(uid=str(uuid.uuid4()), generation=1, creationTimestamp=_now())
        metadata["resourceVersion"] = str(self._version + 1)
        if not dry:
            self._store(place, Kept(found, owners))
            self._react(found)
        return copy.deepcopy(found)

    @staticmethod
    def _conflicts(
        kept: Kept, wanted: dict[tuple[str, ...], Any], manager: str, *, force: bool
    ) -> None:
        for other, paths in kept.owners.items():
            if other == manager or force:
                continue
            clash = [p for p in paths & set(wanted) if _value(kept.found, p) != wanted[p]]
            if clash:
                path = ".".join(clash[0])
                raise RefusedError(
                    409,
                    "Conflict",
                    f'Apply failed with 1 conflict: conflict with "{other}": .{path}',
                )

    def _store(self, place: tuple[str, str, str, str], kept: Kept) -> None:
        what = "MODIFIED" if place in self._kept else "ADDED"
        self._version += 1
        kept.found["metadata"]["resourceVersion"] = str(self._version)
        self._kept[place] = kept
        self._history.append((self._version, what, copy.deepcopy(kept.found)))
        self.changed.notify_all()

    def _drop(self, place: tuple[str, str, str, str]) -> None:
        found = self._kept.pop(place).found
        self._version += 1
        self._history.append((self._version, "DELETED", found))
        self.changed.notify_all()

    def _cascade(self, gone: Object) -> None:
        """What belongs to it goes with it: dependents, or all that is in a namespace."""
        uid, name = gone["metadata"]["uid"], gone["metadata"]["name"]
        for place, kept in list(self._kept.items()):
            owners = kept.found["metadata"].get("ownerReferences") or []
            inside = gone["kind"] == "Namespace" and place[2] == name
            if inside or any(owner.get("uid") == uid for owner in owners):
                self._drop(place)
                self._cascade(kept.found)

    def _react(self, found: Object) -> None:
        for reaction in self._reactions.get(found["kind"], []):
            threading.Thread(
                target=reaction, args=(self, copy.deepcopy(found)), daemon=True
            ).start()


def _selected(found: Object, query: dict[str, str]) -> bool:
    labels = found["metadata"].get("labels") or {}
    for pair in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = pair.partition("=")
        if labels.get(name) != value:
            return False
    for pair in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, value = pair.partition("=")
        if str(_value(found, tuple(path.split(".")))) != value:
            return False
    return True


def _leaves(of: Object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in of.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), copy.deepcopy(value)


def _value(found: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


def _set(found: Object, path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        inner = found.setdefault(name, {})
        found = cast("Object", inner)
    found[path[-1]] = copy.deepcopy(value)


def _remove(found: Object, path: tuple[str, ...]) -> None:
    inner = _value(found, path[:-1])
    if isinstance(inner, dict):
        inner.pop(path[-1], None)


def _words(place: tuple[str, str, str, str]) -> str:
    return f'{place[1].lower()}s "{place[3]}"'


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
