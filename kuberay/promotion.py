"""Another version in service, in place: the model that serveConfigV2 names."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from heart.errors import ClusterError, PromotionError
from heart.sources import Reference
from kuberay.cluster import Cluster, Key, Object
from kuberay.errors import AwayError, ConflictError, UnhealthyError
from kuberay.forwarding import forwarded, is_ready
from kuberay.serve_config import served, with_model
from kuberay.waiting import Pace, Waiting, ray_service

MANAGER: Final = "heart-deploy-model"
"""Who owns serveConfigV2 once a version was promoted."""
BEFORE: Final = "heart/model-before"
"""The annotation of the RayService that holds the reference of the model before."""
WHY: Final = "heart/model-reason"
PORT: Final = 8000
IN_A_ROW: Final = 5
"""Answers of each pod that must name the new version: a proxy asks more than one replica."""
ANSWER_S: Final = 5.0
TRIES: Final = 5


class Rollout:
    """Changes the served model of one RayService and watches it arrive."""

    def __init__(
        self,
        cluster: Cluster,
        key: Key,
        *,
        seconds: float,
        pace: Pace,
        say: Callable[[str], None],
    ) -> None:
        self._cluster, self._key = cluster, key
        self._seconds, self._pace, self._say = seconds, pace, say

    def current(self) -> Object:
        """The RayService; raises `ClusterError` where there is none."""
        found = self._cluster.get(self._key)
        if found is None:
            raise ClusterError(
                f"there is no {self._key} in namespace {self._key.namespace}: `up` first"
            )
        return found

    def before(self) -> Reference | None:
        """The model that was served before this one, None for the champion of HEART_HOME.

        Raises `PromotionError` where no model was promoted yet.
        """
        return model_before(self.current())

    def change(self, model: Reference | None, *, why: str, dry: bool = False) -> None:
        """Serve another model; what does not arrive is taken back and raises `UnhealthyError`."""
        found = self.current()
        old, before = served(found).model, before_of(found)
        if old == model:
            self._say(f"{named(model)} is what {self._key} names already")
        else:
            told = json.dumps(None if old is None else old.model_dump())
            self._apply(model, over=old, before=told, why=why, dry=dry)
        if dry:
            return
        try:
            self._arrive(model)
        except UnhealthyError as error:
            if old == model:
                raise
            self._apply(old, over=model, before=before, why="taken back")
            raise UnhealthyError(
                f"{named(model)} did not arrive and was taken back, {named(old)} is served: "
                f"{error.message}"
            ) from None

    def _apply(
        self,
        model: Reference | None,
        *,
        over: Reference | None,
        before: str | None,
        why: str,
        dry: bool = False,
    ) -> None:
        """Apply over the model that was read; the operator writes the status all the time."""
        for _ in range(TRIES):
            found = self.current()
            if served(found).model != over:
                break
            wanted = patch(found, model, before=before, why=why)
            try:
                self._cluster.apply(wanted, manager=MANAGER, force=True, dry=dry)
            except ConflictError:
                continue
            return
        raise ConflictError(
            f"{self._key} was changed by someone else meanwhile: see `status`, then try again"
        )

    def _arrive(self, model: Reference | None) -> None:
        waiting = Waiting(self._cluster, seconds=self._seconds, pace=self._pace, say=self._say)
        found = waiting.until(self._key, *ray_service(self._cluster))
        if found is not None and model is not None:
            self._until_answered(found, model.version)

    def _until_answered(self, found: Object, version: str) -> None:
        """Every pod that serves names the version, several times in a row."""
        ends = time.monotonic() + self._seconds
        for pod in _serving(self._cluster, found):
            with forwarded(self._cluster, pod, PORT) as url:
                row, told = 0, "nothing"
                while row < IN_A_ROW:
                    told = _version(url)
                    row = row + 1 if told == version else 0
                    if not row:
                        if time.monotonic() > ends:
                            raise UnhealthyError(f"{Key.of(pod)} still answers with {told}")
                        time.sleep(self._pace.again_s)
        self._say(f"every pod answers with version {version}")


def patch(service: Object, model: Reference | None, *, before: str | None, why: str) -> Object:
    """What is applied to serve another model: serveConfigV2, and what was served before."""
    annotations = {WHY: why} if before is None else {BEFORE: before, WHY: why}
    version = service["metadata"]["resourceVersion"]
    more = {"resourceVersion": version, "annotations": annotations}
    return _object(Key.of(service), with_model(service, model), more)


def put(cluster: Cluster, service: Object, config: str) -> None:
    """Apply another serveConfigV2 with all that a promotion keeps as it is."""
    annotations = service["metadata"].get("annotations") or {}
    kept = {name: annotations[name] for name in (BEFORE, WHY) if name in annotations}
    wanted = _object(Key.of(service), config, {"annotations": kept})
    cluster.apply(wanted, manager=MANAGER, force=True)


def named(model: Reference | None) -> str:
    """A model in words."""
    return "the champion of HEART_HOME" if model is None else f"version {model.version}"


def model_before(service: Object) -> Reference | None:
    """The model that was served before, None for the champion of HEART_HOME.

    Raises `PromotionError` where no model was promoted yet.
    """
    before = before_of(service)
    if before is None:
        raise PromotionError(
            f"{Key.of(service)} has served no other version: nothing to go back to"
        )
    try:
        kept = json.loads(before)
        return None if kept is None else Reference.model_validate(kept)
    except (ValueError, ValidationError):
        raise PromotionError(f"the annotation {BEFORE} holds no reference") from None


def _object(key: Key, config: str, metadata: Object) -> Object:
    return {
        "apiVersion": key.api_version,
        "kind": key.kind,
        "metadata": {"name": key.name, "namespace": key.namespace, **metadata},
        "spec": {"serveConfigV2": config},
    }


def before_of(service: Object) -> str | None:
    """The reference of the model before as JSON, None where no model was promoted yet."""
    return (service["metadata"].get("annotations") or {}).get(BEFORE)


def _serving(cluster: Cluster, service: Object) -> list[Object]:
    name = service["status"]["activeServiceStatus"].get("rayClusterName")
    labels = f"ray.io/cluster={name},ray.io/serve=true"
    found = cluster.find("v1", "Pod", service["metadata"]["namespace"], labels=labels)
    pods = [pod for pod in found if is_ready(pod)]
    if not pods:
        raise AwayError(f"{Key.of(service)} has no pod that serves")
    return pods


def _version(url: str) -> str:
    """The version that a service names, or in words what it did instead."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=ANSWER_S) as answer:
            return str(json.load(answer)["model_version"])
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        return f"no version ({error})"
