"""The shell scripts: clean, and clear about what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("scripts/*.sh"), ROOT / ".ci" / "run"])
BASICS = (
    *("awk", "bash", "cat", "dirname", "env", "git", "grep", "make", "mktemp", "realpath", "rm"),
    "sed",
)
PINNED = {"kuberay-operator": "1.7.0", "kube-prometheus-stack": "88.5.0"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here")
    done = subprocess.run(
        ["shellcheck", "-x", str(script)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_first_failure_ends_a_script(script: Path) -> None:
    text = script.read_text()
    if text.startswith("#!"):
        assert "set -euo pipefail" in text
        assert os.access(script, os.X_OK)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH with what every system has, and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in BASICS:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def run(
    script: str, *arguments: str, path: Path, root: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(root / "scripts" / script), *arguments],
        env={"PATH": str(path), "HOME": str(path.parent), **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "arguments", "missing"),
    [
        ("minikube.sh", ("up",), ("minikube", "kubectl", "helm")),
        ("minikube.sh", ("down",), ("minikube",)),
        ("minikube.sh", ("smoke",), ("kubectl",)),
        ("verify.sh", (), ("shellcheck", "minikube", "kubectl", "helm")),
        ("verify.sh", ("--without", "tests"), ("minikube", "kubectl", "helm")),
    ],
)
def test_every_tool_that_is_missing_is_named_and_whence(
    bare: Path, script: str, arguments: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    done = run(script, *arguments, path=bare)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split()[1] for line in lines] == list(missing)
    assert all(
        line.endswith(("docs/start", "tasks/tools", "intro/install", "package shellcheck"))
        for line in lines
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--without", "everything"), "--without must be one of tests search image cluster"),
        (("--without",), "--without must be one of tests search image cluster"),
        (("--quick",), "unknown option --quick"),
        (
            ("--without", "tests", "--without", "image", "--without", "cluster"),
            "monitoring is looked at on the cluster",
        ),
    ],
)
def test_verify_leaves_nothing_out_unless_said(
    bare: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = run("verify.sh", *arguments, path=bare)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {told}")


@pytest.mark.parametrize("script", ["minikube.sh", "image.sh"])
def test_without_a_command_the_use_is_told(bare: Path, script: str) -> None:
    done = run(script, path=bare)
    assert done.returncode == 2
    assert script in done.stdout + done.stderr


@pytest.fixture
def recorded(bare: Path) -> Path:
    """The tools of a cluster, each of which only writes down how it was called."""
    shutil.copytree(ROOT / "scripts", bare.parent / "scripts")
    shutil.copy(ROOT / "pyproject.toml", bare.parent)
    (bare.parent / "kuberay" / "secrets").mkdir(parents=True)
    log = bare.parent / "log"
    for name in ("minikube", "kubectl", "helm", "docker", "python"):
        tool = bare / name
        tool.write_text(f'#!{bare}/bash\necho "{name} $*" >>"{log}"\n')
        tool.chmod(0o755)
    return log


def test_up_does_all_of_it_in_order(bare: Path, recorded: Path) -> None:
    done = run(
        *("minikube.sh", "up"),
        path=bare,
        root=bare.parent,
        IMAGE="heart:9",
        PYTHON=f"{bare}/python",
        SEARCH="--quick",
    )
    assert done.returncode == 0, done.stderr
    lines = recorded.read_text().splitlines()
    steps = [
        "minikube start --profile heart",
        "minikube addons enable ingress",
        "helm upgrade --install kuberay-operator",
        "helm upgrade --install prometheus kube-prometheus-stack",
        "minikube image load",
        "python -m kuberay.deploy up --context heart --overlay minikube --image heart:9 -- --quick",
        "kubectl --context heart apply --server-side -k kuberay/monitoring",
        "python scripts/smoke.py http://127.0.0.1:18000",
        "python scripts/smoke.py --wait 180 --prometheus http://127.0.0.1:19090",
    ]
    places = [next(n for n, line in enumerate(lines) if line.startswith(s)) for s in steps]
    assert places == sorted(places)
    for chart, pinned in PINNED.items():
        (line,) = [line for line in lines if f" {chart} --version" in line]
        assert f"--version {pinned} " in line
        assert "--kube-context heart" in line
    assert not any(line.startswith("docker build") for line in lines)
    assert "end it     make minikube-down" in done.stdout


def test_a_smoke_test_that_fails_fails_the_whole(bare: Path, recorded: Path) -> None:
    python = bare / "python"
    python.write_text(f'#!{bare}/bash\n[[ "$*" != scripts/smoke.py* ]]\n')
    done = run(
        *("minikube.sh", "up"), path=bare, root=bare.parent, IMAGE="heart:9", PYTHON=str(python)
    )
    assert done.returncode == 1
    assert "end it" not in done.stdout


def test_down_takes_the_stack_down_and_the_profile_with_it(bare: Path, recorded: Path) -> None:
    done = run("minikube.sh", "down", path=bare, root=bare.parent, PYTHON=f"{bare}/python")
    assert done.returncode == 0
    lines = recorded.read_text().splitlines()
    assert lines[-2].startswith("python -m kuberay.deploy down --context heart")
    assert lines[-1] == "minikube delete --profile heart"


def test_the_operator_of_the_scripts_is_the_one_that_errors_name() -> None:
    text = (ROOT / "kuberay" / "preflight.py").read_text()
    assert f"--version {PINNED['kuberay-operator']} " in text
