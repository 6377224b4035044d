"""``python -m kuberay.retraining``: start a search on the cluster, as its schedule does.

Runs in a pod, as an account that may read the RayJob ``heart-search`` and create another one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from heart.errors import ClusterError, run_main

GROUP: Final = "ray.io"
VERSION: Final = "v1"
RAYJOBS: Final = "rayjobs"
SEARCH: Final = "heart-search"


def main() -> int:
    """Start it, and say its name."""
    config.load_incluster_config()
    print(f"RayJob {start(client.CustomObjectsApi(), os.environ)} created")
    return 0


def start(rayjobs: client.CustomObjectsApi, environment: Mapping[str, str]) -> str:
    """Create a copy of the suspended RayJob; its name. Raises `ClusterError`."""
    where = (GROUP, VERSION, environment["NAMESPACE"], RAYJOBS)
    try:
        pattern: Any = rayjobs.get_namespaced_custom_object(*where, SEARCH)
        made: Any = rayjobs.create_namespaced_custom_object(*where, copy_of(pattern, environment))
    except ApiException as error:
        raise ClusterError(
            f"RayJob {SEARCH} of namespace {environment['NAMESPACE']} cannot be copied: "
            f"{error.status} {error.reason}"
        ) from None
    return str(made["metadata"]["name"])


def copy_of(pattern: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """A RayJob that runs, from the suspended one; it goes when the Job that owns it goes."""
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": environment["OWNER_NAME"],
        "uid": environment["OWNER_UID"],
    }
    return {
        "apiVersion": pattern["apiVersion"],
        "kind": pattern["kind"],
        "metadata": {
            "generateName": f"{SEARCH}-",
            "namespace": pattern["metadata"]["namespace"],
            "labels": pattern["metadata"].get("labels", {}),
            "ownerReferences": [owner],
        },
        "spec": {**pattern["spec"], "suspend": False},
    }


if __name__ == "__main__":
    sys.exit(run_main(main))
