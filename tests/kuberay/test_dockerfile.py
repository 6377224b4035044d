"""What the Dockerfile says, where it has to agree with the rest."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from overlays import KUBERAY, OVERLAYS, ROOT, of_kind, pods, rendered

from heart.settings import PRIVACY

DOCKERFILE = (KUBERAY / "Dockerfile").read_text()
BEFORE_FINAL, FINAL = DOCKERFILE.split("FROM runtime AS heart\n")


def variables(text: str) -> dict[str, str]:
    joined = text.replace("\\\n", " ")
    lines = re.findall(r"^ENV (.*)$", joined, re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def test_telemetry_is_off_whatever_is_started() -> None:
    runtime = BEFORE_FINAL.split(" AS runtime\n")[1]
    assert PRIVACY.items() <= variables(runtime).items()


def test_the_user_is_the_manifests() -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    for overlay in OVERLAYS:
        ours = [pod for pod in pods(rendered(overlay)) if pod.owner != "StatefulSet/redis"]
        assert {pod.spec["securityContext"]["runAsUser"] for pod in ours} == {int(user)}


def test_the_home_is_the_manifests() -> None:
    home = variables(FINAL)["HEART_HOME"]
    for overlay in OVERLAYS:
        (settings,) = [
            one
            for one in of_kind(rendered(overlay), "ConfigMap")
            if one["metadata"]["name"] == "heart-settings"
        ]
        assert settings["data"]["HEART_HOME"] == home


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"ARG VERSION={project['version']}\n" in DOCKERFILE


def test_the_base_is_an_argument_and_pinned() -> None:
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-\w+", base)
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    names = [name for _, name in stages]
    assert all(source == "${BASE_IMAGE}" or source in names for source, _ in stages)
    assert names[-1] == "heart", "the last stage is what is built unless another is named"


def test_slim_removes_tests_and_headers_and_compiles(tmp_path: Path) -> None:
    packages = tmp_path / "lib/python3.11/site-packages"
    for name in ("own/__init__.py", "own/tests/test_own.py", "own/own.h", "pyarrow/include/a.txt"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("")
    command = [sys.executable, str(KUBERAY / "slim.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    left = sorted(path.name for path in packages.rglob("*") if path.is_file())
    assert left == [f"__init__.{sys.implementation.cache_tag}.pyc", "__init__.py"]
