"""What an overlay renders to, and the order in which it is applied."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import yaml

from heart.errors import ClusterError, UsageError
from kuberay.cluster import Key, Object
from kuberay.errors import shortened

OVERLAYS: Final = Path(__file__).parent / "overlays"
SECRETS: Final = Path(__file__).parent / "secrets"
RENDER_S: Final = 60.0
SERVER: Final = "mlflow"
"""What the tracking server and its Service are called."""
KEPT: Final = ("Deployment", "RayService")
"""What keeps pods that read settings; each search has new ones anyway."""
MARK: Final = "heart/settings-sha256"
STAGES: Final = ("namespace", "policies and secrets", "tracking", "search", "service", "the rest")
NAMESPACE, FOUNDATION, TRACKING, SEARCH, SERVICE, REST = STAGES

_STAGE_OF: Final = {
    "Namespace": NAMESPACE,
    **dict.fromkeys(
        (
            *("ResourceQuota", "LimitRange", "PriorityClass", "ServiceAccount", "Role"),
            *("RoleBinding", "ClusterRole", "ClusterRoleBinding", "Secret", "ConfigMap"),
            *("NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget"),
        ),
        FOUNDATION,
    ),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "Service", "Job"), TRACKING),
    "RayJob": SEARCH,
    "RayService": SERVICE,
}


@dataclass(frozen=True)
class Manifests:
    """The objects of an overlay."""

    source: str
    objects: tuple[Object, ...]

    @property
    def namespace(self) -> str:
        """The namespace of the service."""
        return str(self.service["metadata"]["namespace"])

    @property
    def service(self) -> Object:
        """The RayService; a copy."""
        return self._only("RayService")

    @property
    def search(self) -> Object:
        """The RayJob that searches are copies of; a copy."""
        return self._only("RayJob")

    def stage(self, name: str) -> list[Object]:
        """The objects of a stage, in the order of the overlay."""
        return [one for one in self.objects if _STAGE_OF.get(one["kind"], REST) == name]

    def find(self, kind: str, name: str) -> Object | None:
        """An object by kind and name."""
        for one in self.objects:
            if one["kind"] == kind and one["metadata"]["name"] == name:
                return one
        return None

    def with_image(self, image: str) -> Manifests:
        """The same with another image of this project's, wherever the overlay has its own."""
        ours = repository(self._image())
        objects = [deepcopy(one) for one in self.objects]
        for container in containers(objects):
            if repository(container.get("image", "")) == ours:
                container["image"] = image
        return Manifests(self.source, tuple(objects))

    def with_mlflow(self, image: str) -> Manifests:
        """The same with another image of the tracking server."""
        objects = [deepcopy(one) for one in self.objects]
        for container in containers([one for one in objects if _is_tracking(one)]):
            container["image"] = image
        return Manifests(self.source, tuple(objects))

    def with_checksums(self) -> Manifests:
        """The same, each pod that is kept marked with a checksum of the settings it reads.

        A pod reads its settings when it starts; a changed mark is what has another one start.
        """
        maps = [one for one in self.objects if one["kind"] == "ConfigMap"]
        settings = {one["metadata"]["name"]: one.get("data") for one in maps}
        objects = [deepcopy(one) for one in self.objects]
        for one in objects:
            if one["kind"] not in KEPT:
                continue
            for template in _templates(one):
                read = {name: settings.get(name) for name in _settings_names(template)}
                digest = sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()
                template.setdefault("metadata", {}).setdefault("annotations", {})[MARK] = digest
        return Manifests(self.source, tuple(objects))

    def with_more(self, objects: Iterable[Object]) -> Manifests:
        """The same and some objects more, put into the namespace."""
        more = [deepcopy(one) for one in objects]
        for one in more:
            one["metadata"]["namespace"] = self.namespace
        return Manifests(self.source, (*self.objects, *more))

    def _image(self) -> str:
        head = self.service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
        return str(head["spec"]["containers"][0]["image"])

    def _only(self, kind: str) -> Object:
        found = [one for one in self.objects if one["kind"] == kind]
        if len(found) != 1:
            raise UsageError(
                f"{self.source} must have one {kind}, it has {len(found)}", field="overlay"
            )
        return deepcopy(found[0])


def _templates(of: object) -> Iterator[Object]:
    """The templates of pods in an object."""
    if isinstance(of, dict):
        for name, value in of.items():
            if name == "template" and isinstance(value, dict):
                yield value
            else:
                yield from _templates(value)
    elif isinstance(of, list):
        for one in of:
            yield from _templates(one)


def _settings_names(template: Object) -> Iterator[str]:
    for container in containers(template):
        for source in container.get("envFrom") or []:
            if "configMapRef" in source:
                yield str(source["configMapRef"]["name"])


def _is_tracking(one: Object) -> bool:
    return bool(one["kind"] == "Deployment" and one["metadata"]["name"] == SERVER)


def render(overlay: str) -> Manifests:
    """Render an overlay: a name under kuberay/overlays, a folder, or a file of objects.

    Raises `UsageError` where there is none, `ClusterError` where it does not render.
    """
    path = _path(overlay)
    manifests = Manifests(str(path), tuple(_objects(path)))
    if "namespace" not in manifests.service["metadata"]:
        raise UsageError(f"{path} puts the RayService in no namespace", field="overlay")
    return manifests


def secrets() -> list[Object]:
    """The secrets of this checkout, none where `scripts/secrets.sh` has made none yet."""
    made = any(SECRETS.glob("*.env"))
    return _objects(SECRETS) if made else []


def secret_names() -> list[str]:
    """The secrets that `scripts/secrets.sh` makes."""
    generated = yaml.safe_load((SECRETS / "kustomization.yaml").read_text())["secretGenerator"]
    return [str(one["name"]) for one in generated]


def _objects(path: Path) -> list[Object]:
    text = path.read_text() if path.is_file() else _kustomize(path)
    try:
        found = [one for one in yaml.safe_load_all(text) if one]
    except yaml.YAMLError as error:
        raise ClusterError(f"{path} is no YAML: {shortened(str(error))}", field="overlay") from None
    for one in found:
        if not isinstance(one, dict) or not {"apiVersion", "kind", "metadata"} <= one.keys():
            raise ClusterError(f"{path} holds something that is no object", field="overlay")
    return found


def containers(of: object) -> Iterator[Object]:
    """Every container in an object or a list of them, wherever a pod is described."""
    if isinstance(of, dict):
        for name, value in of.items():
            if name in ("containers", "initContainers") and isinstance(value, list):
                yield from (one for one in value if isinstance(one, dict))
            else:
                yield from containers(value)
    elif isinstance(of, list):
        for one in of:
            yield from containers(one)


def repository(image: str) -> str:
    """An image's name without tag and digest."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def keys(objects: Iterable[Object]) -> list[Key]:
    """What the objects are called."""
    return [Key.of(one) for one in objects]


def _path(overlay: str) -> Path:
    for path in (OVERLAYS / overlay, Path(overlay)):
        if path.exists():
            return path
    known = sorted(path.name for path in OVERLAYS.glob("*") if path.is_dir())
    raise UsageError(
        f"--overlay must be {', '.join(known)}, a folder with a kustomization or a file, "
        f"got {overlay}",
        field="overlay",
    )


def _kustomize(folder: Path) -> str:
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(folder)]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build", str(folder)]
    else:
        raise ClusterError(
            "kubectl is needed to render an overlay and is not here: see "
            "https://kubernetes.io/docs/tasks/tools, or give --overlay a rendered file"
        )
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RENDER_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{folder} was not rendered in {RENDER_S:g} s", field="overlay"
        ) from None
    if done.returncode:
        raise ClusterError(
            f"{folder} does not render: {shortened(done.stderr)}", field="overlay"
        ) from None
    return done.stdout
