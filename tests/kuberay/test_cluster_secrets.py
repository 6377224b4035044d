"""The secrets of a cluster are made once, for nobody else's eyes, and never committed."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from overlays import KUBERAY, ROOT, kustomize

from serve_app.security import parse_keys

SECRET = re.compile(r"[0-9a-f]{64}")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the script and the folder of the secrets, and nothing secret in it."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/secrets.sh", tmp_path / "scripts")
    folder = tmp_path / "kuberay/secrets"
    folder.mkdir(parents=True)
    for name in ("kustomization.yaml", ".gitignore"):
        shutil.copy(KUBERAY / "secrets" / name, folder)
    return tmp_path


def make(tree: Path) -> str:
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(tree / "scripts/secrets.sh")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_what_the_pods_need_is_made(tree: Path) -> None:
    told = make(tree)
    secrets = {one["metadata"]["name"]: one for one in kustomize(tree / "kuberay/secrets")}
    data = {
        name: {key: base64.b64decode(value).decode() for key, value in one["data"].items()}
        for name, one in secrets.items()
    }
    assert {name: set(values) for name, values in data.items()} == {
        "ray-token": {"auth_token"},
        "redis": {"password"},
        "heart-api-keys": {"HEART_API_KEYS"},
    }
    assert all(one["metadata"]["namespace"] == "heart" for one in secrets.values())
    assert SECRET.fullmatch(data["ray-token"]["auth_token"])
    assert SECRET.fullmatch(data["redis"]["password"])
    key = (tree / "kuberay/secrets/api-key.key").read_text().strip()
    keyring = parse_keys(data["heart-api-keys"]["HEART_API_KEYS"])
    assert keyring.find([(b"authorization", f"Bearer {key}".encode())]).name == "cluster"
    for secret in (key, data["ray-token"]["auth_token"], data["redis"]["password"]):
        assert secret not in told


def test_they_are_made_once_and_for_their_owner(tree: Path) -> None:
    make(tree)
    folder = tree / "kuberay/secrets"
    made = {path: path.read_text() for path in folder.glob("*.[ek][ne][vy]")}
    assert len(made) == 4
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
    make(tree)
    assert {path: path.read_text() for path in made} == made


def test_git_does_not_see_them(tree: Path) -> None:
    make(tree)
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    told = subprocess.run(
        ["git", "-C", str(tree), "status", "--porcelain", "--untracked-files=all"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.rpartition("/")[2] for line in told.stdout.splitlines()]
    assert sorted(names) == [".gitignore", "kustomization.yaml", "secrets.sh"]
