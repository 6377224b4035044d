"""The workflows: what they run exists, what they use is pinned, what they may do is little."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"v\d+|[0-9a-f]{40}")
THIRD_PARTY_PINNED = re.compile(r"[0-9a-f]{40}")
OWNERS_OF_THE_PLATFORM = {"actions", "github", "docker"}
MAY_WRITE = {("ci", "code"): {"security-events"}, ("release", "image"): {"packages"}}
"""What a job may write, and nothing else writes anything."""

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_there_are_three() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "e2e", "release"]


@pytest.mark.skipif(
    not shutil.which("actionlint"),
    reason="actionlint is not installed: `go install github.com/rhysd/actionlint/cmd/actionlint`",
)
@each_workflow
def test_actionlint_finds_nothing(path: Path) -> None:
    done = subprocess.run(["actionlint", str(path)], check=False, capture_output=True, cwd=ROOT)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


@each_workflow
def test_targets_and_files_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = "\n".join(step.get("run", "") for step in steps(path))
    assert set(re.findall(r"\bmake ([a-z-]+)", commands)) <= targets
    named = set(re.findall(r"(?<![\w/])(?:scripts|\.ci)/[\w./-]+", commands))
    named |= {step["with"]["file"] for step in steps(path) if "file" in step.get("with", {})}
    assert [name for name in named if not (ROOT / name).exists()] == []


@each_workflow
def test_actions_are_pinned(path: Path) -> None:
    for used in (step["uses"] for step in steps(path) if "uses" in step):
        action, _, version = used.partition("@")
        known = action.split("/")[0] in OWNERS_OF_THE_PLATFORM
        assert (PINNED if known else THIRD_PARTY_PINNED).fullmatch(version), used


@each_workflow
def test_permissions_are_the_least(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        rights = job.get("permissions", {})
        writes = {right for right, level in rights.items() if level != "read"}
        assert writes == MAY_WRITE.get((path.stem, name), set())


@each_workflow
def test_jobs_end_in_time_and_keep_no_credentials(path: Path) -> None:
    for job in read(path)["jobs"].values():
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@each_workflow
def test_what_others_may_write_is_no_code(path: Path) -> None:
    """An expression in a script is text of the script: it belongs into the environment."""
    expressions = re.findall(r"\$\{\{(.+?)\}\}", "".join(s.get("run", "") for s in steps(path)))
    assert [e for e in expressions if not e.strip().startswith("github.event_name ==")] == []
