"""The image's packages are those that were tested: the lock of set-up, without what only tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from overlays import KUBERAY, OVERLAYS, ROOT, of_kind, rendered

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)(?: ; (.*?))?(?: \\)?$", re.MULTILINE)
RUNTIME = ROOT / "requirements-runtime.lock"
DEVELOPMENT = ROOT / "requirements.lock"
MLFLOW = KUBERAY / "mlflow" / "requirements.lock"
LOCKS = (RUNTIME, DEVELOPMENT, MLFLOW)


def pins(lock: Path) -> set[tuple[str, ...]]:
    """Each package with its version and for which platforms."""
    found = {match.groups(default="") for match in PIN.finditer(lock.read_text())}
    assert len(found) > 90
    return found


def version(lock: Path, package: str) -> str:
    (found,) = [number for name, number, _ in pins(lock) if name == package]
    return found


def test_each_pin_of_the_image_is_a_tested_one() -> None:
    assert pins(RUNTIME) - pins(DEVELOPMENT) == set()


def test_what_only_tests_is_not_in_the_image() -> None:
    names = {name for name, _, _ in pins(RUNTIME)}
    assert not names & {"pytest", "mypy", "ruff", "playwright", "setuptools", "wheel", "pip"}


def test_the_tracking_server_is_of_the_clients_version() -> None:
    assert version(MLFLOW, "mlflow") == version(RUNTIME, "mlflow")
    assert {"boto3", "psycopg-binary"} <= {name for name, _, _ in pins(MLFLOW)}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if PIN.fullmatch(line):
            assert line.endswith(" \\"), line
            assert lines[at + 1].startswith("    --hash=sha256:"), line
    assert "://" not in text
    assert "--index" not in text


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_version_of_ray(overlay: str) -> None:
    objects = rendered(overlay)
    clusters = [one["spec"]["rayClusterConfig"] for one in of_kind(objects, "RayService")]
    clusters += [one["spec"]["rayClusterSpec"] for one in of_kind(objects, "RayJob")]
    (label,) = re.findall(r"io\.ray\.version=(\S+)", (KUBERAY / "Dockerfile").read_text())
    named = {*(cluster["rayVersion"] for cluster in clusters), label}
    assert named == {version(RUNTIME, "ray")}
