"""Whether a cluster takes a custom resource: by its strict schema, else by a cluster at hand."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess

import pytest
import yaml
from jsonschema import Draft202012Validator
from overlays import ROOT, Object

SCHEMAS = ROOT.parent / "shared" / "schemas"
DEFINITIONS = {
    "RayService": "rayservices.ray.io",
    "RayJob": "rayjobs.ray.io",
    "PodMonitor": "podmonitors.monitoring.coreos.com",
    "PrometheusRule": "prometheusrules.monitoring.coreos.com",
}


def check_custom(one: Object) -> None:
    """Fail where it is not valid, skip where nothing here can tell."""
    if not SCHEMAS.is_dir():
        _dry_run(one)
        return
    schema = json.loads((SCHEMAS / f"{one['kind'].lower()}-v1.json").read_text())
    wrong = Draft202012Validator(schema).iter_errors(one)
    assert [f"{list(error.path)}: {error.message}" for error in wrong] == []


def _dry_run(one: Object) -> None:
    """Ask the cluster at hand, which changes nothing."""
    if not _reachable(DEFINITIONS[one["kind"]]):
        pytest.skip(f"neither ../shared/schemas nor a cluster that knows {one['kind']} is here")
    there = {**one, "metadata": {**one["metadata"], "namespace": "default"}}
    done = subprocess.run(
        ["kubectl", "create", "--dry-run=server", "--validate=strict", "-f", "-"],
        input=yaml.safe_dump(there),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@functools.cache
def _reachable(definition: str) -> bool:
    if shutil.which("kubectl") is None:
        return False
    ask = ["kubectl", "get", "crd", definition, "--request-timeout=5s"]
    return subprocess.run(ask, capture_output=True, timeout=30, check=False).returncode == 0
