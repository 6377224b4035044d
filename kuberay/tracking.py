"""The MLflow of a cluster, and what is known there of a version."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from heart.bundle import METADATA_FILE, load_bundle
from heart.errors import HeartError, PromotionError
from heart.files import sha256
from heart.gates import evaluation_of, failures
from heart.registry import Registry
from heart.settings import Settings
from heart.sources import Reference
from heart.store import connect, experiment_id
from heart.versions import CHECKSUM_TAG
from kuberay.cluster import Cluster, Key
from kuberay.forwarding import behind, forwarded
from kuberay.manifests import SERVER, Manifests

VARIABLE: Final = "HEART_TRACKING_URI"
ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
"""Where a tracking server that keeps the artifacts itself gives them out."""


@dataclass(frozen=True)
class Candidate:
    """A version that may be served, and the gates that it did not pass, in words."""

    reference: Reference
    failed: str


class Tracking:
    """The registry of a cluster, from outside, and the address that its pods know it by."""

    def __init__(self, settings: Settings, *, inside: str) -> None:
        self._client = connect(settings)
        self._settings, self._inside = settings, inside
        self.registry = Registry(self._client, settings)

    def candidate(self, named: str) -> Candidate:
        """A version by number or alias, verified; raises `RegistryError` or `BundleError`."""
        version = self.registry.resolve(named)
        bundle = self.registry.load(version)
        evaluation = evaluation_of(bundle)
        checksum = next(
            one.tags[CHECKSUM_TAG] for one in self.registry.versions() if one.version == version
        )
        uri = reachable(self.registry.source(version), inside=self._inside)
        return Candidate(_reference(version, uri, checksum), failures(evaluation.gates))

    def champion(self) -> Candidate | None:
        """The champion, or None where there is none yet."""
        version = self.registry.aliases().champion
        return None if version is None else self.candidate(version)

    def take(self, folder: Path) -> str:
        """Register a bundle's folder of this machine; the version it has, new or from before."""
        load_bundle(folder, version="imported")
        checksum = sha256((folder / METADATA_FILE).read_bytes())
        for known in self.registry.versions():
            if known.tags.get(CHECKSUM_TAG) == checksum:
                return known.version
        experiment = experiment_id(self._client, self._settings)
        run = self._client.create_run(experiment, run_name="import")
        version = self.registry.register(run.info.run_id, folder)
        self._client.set_terminated(run.info.run_id)
        return version


@contextmanager
def tracking(
    cluster: Cluster, manifests: Manifests, *, uri: str | None = None
) -> Iterator[Tracking]:
    """The cluster's MLflow: by ``uri``, or by a port-forward to its server."""
    service = Key("v1", "Service", SERVER, manifests.namespace)
    with tempfile.TemporaryDirectory() as home:
        settings = Settings.from_environment().model_copy(update={"home": Path(home)})
        inside = address(manifests)
        if uri is not None:
            yield Tracking(settings.model_copy(update={"tracking_uri": uri}), inside=inside)
            return
        pod, port = behind(cluster, service)
        with forwarded(cluster, pod, port) as near:
            yield Tracking(settings.model_copy(update={"tracking_uri": near}), inside=inside)


def address(manifests: Manifests) -> str:
    """The tracking URI that the pods are given."""
    for one in manifests.objects:
        if one["kind"] == "ConfigMap" and VARIABLE in (one.get("data") or {}):
            return str(one["data"][VARIABLE]).rstrip("/")
    return f"http://{SERVER}:5000"


def reachable(source: str, *, inside: str) -> str:
    """Where a pod reads what MLflow keeps at ``source``: from the tracking server, or there."""
    parts = urlsplit(source)
    if parts.scheme == "mlflow-artifacts":
        return f"{inside}{ARTIFACTS}{parts.path}"
    return source


def require(candidate: Candidate, *, force: bool) -> None:
    """Raise `PromotionError` for a version that did not pass its gates, unless by force."""
    if candidate.failed and not force:
        raise PromotionError(
            f"version {candidate.reference.version} did not pass {candidate.failed}; --force "
            "serves it all the same",
            field="version",
        )


def _reference(version: str, uri: str, checksum: str) -> Reference:
    try:
        return Reference(version=version, uri=uri, sha256=checksum)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise HeartError(
            f"version {version} is at {uri}, which no pod can read: {reason}"
        ) from None
