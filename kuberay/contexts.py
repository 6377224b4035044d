"""The contexts of the kubeconfig: which clusters there are, and how each is reached."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import urllib3
from kubernetes.client import Configuration
from kubernetes.config.kube_config import (
    KUBE_CONFIG_DEFAULT_LOCATION,
    KubeConfigMerger,
    load_kube_config,
)

from heart.errors import ClusterError
from kuberay.errors import reading


@dataclass(frozen=True)
class Context:
    """A context of the kubeconfig and the server it leads to."""

    name: str
    server: str


def contexts() -> tuple[list[str], Context | None]:
    """The names of all contexts, and the current one if there is one; raises `ClusterError`."""
    path = kubeconfig()
    names, current = known_contexts(path)
    return names, Context(current, str(configuration_of(path, current).host)) if current else None


def kubeconfig() -> str:
    """Where the kubeconfig is; raises `ClusterError`."""
    path = os.environ.get("KUBECONFIG") or KUBE_CONFIG_DEFAULT_LOCATION
    if not any(Path(part).expanduser().is_file() for part in path.split(os.pathsep)):
        raise ClusterError(
            f"no kubeconfig at {path}: start a cluster (`make minikube-up`), or name the file of "
            "yours in KUBECONFIG",
            field="context",
        )
    return path


def known_contexts(path: str) -> tuple[list[str], str | None]:
    """The names of the contexts of a kubeconfig, and the current one's."""
    with reading(path):
        merged = KubeConfigMerger(path).config.value
        return sorted(str(one["name"]) for one in merged["contexts"]), merged.get("current-context")


def configuration_of(path: str, name: str) -> Configuration:
    """How to reach the server of a context."""
    configuration = Configuration()
    with reading(path):
        load_kube_config(path, context=name, client_configuration=configuration)
    configuration.retries = urllib3.Retry(total=2, read=0, status=0, backoff_factor=0.1)
    return configuration
