"""What made a result is told truly: commit, checksum of the sources, packages."""

from __future__ import annotations

import ast
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from heart import __version__, lineage

WITHOUT_A_SAY_IN_SCORES = {"threadpoolctl", "pydantic", "rich", "jinja2", "matplotlib"}
DECIDES_SCORES = [
    *(f"heart/{name}.py" for name in ("bundle", "cohorts", "comparison", "conversion")),
    *(f"heart/{name}.py" for name in ("evaluation", "pipelines", "registry")),
    *(f"tune/{name}.py" for name in ("candidates", "runner", "searchers", "trial", "winner")),
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small project in place of this one."""
    for name in ("heart/__init__.py", "heart/data/table.csv", "tune/deep/trial.py", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    monkeypatch.setattr(lineage, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    lineage.code_sha256.cache_clear()
    lineage.code_version.cache_clear()


def checksum() -> str:
    forget()
    return lineage.code_sha256()


def version() -> str:
    forget()
    return lineage.code_version()


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=ann", "-c", "user.email=ann@example.org"]
    command = ["git", *who, *arguments]
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("name", ["heart/__init__.py", "tune/deep/trial.py"])
def test_a_byte_of_a_source_changes_the_checksum(root: Path, name: str) -> None:
    before = checksum()
    content = (root / name).read_bytes()
    (root / name).write_bytes(content.replace(b"#", b"!"))
    assert checksum() != before
    (root / name).write_bytes(content)
    assert checksum() == before


def test_a_new_or_a_moved_source_changes_the_checksum(root: Path) -> None:
    before = checksum()
    (root / "tune/deep/trial.py").rename(root / "tune/trial.py")
    moved = checksum()
    (root / "heart/empty.py").touch()
    assert len({before, moved, checksum()}) == 3


def test_what_decides_no_score_leaves_the_checksum(root: Path) -> None:
    before = checksum()
    (root / "README.md").write_text("other")
    (root / "heart/__pycache__").mkdir()
    (root / "heart/__pycache__/bundle.pyc").write_bytes(b"")
    assert checksum() == before


def test_this_project_has_the_checksum_of_its_own_sources() -> None:
    assert len(checksum()) == 64
    assert Path(lineage.__file__).is_relative_to(lineage.ROOT)


def test_without_a_checkout_the_version_stands_alone(root: Path) -> None:
    assert version() == __version__


def test_a_checkout_tells_its_commit_and_whether_it_has_changes(root: Path) -> None:
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    commit = git(root, "rev-parse", "HEAD")
    assert version() == f"{__version__}+{commit[:12]}"
    (root / "README.md").write_text("other")
    assert version() == f"{__version__}+{commit[:12]}-dirty"


def test_a_damaged_checkout_is_none(root: Path) -> None:
    (root / ".git").mkdir()
    assert version() == __version__


def test_without_git_the_version_stands_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(root, "init", "-q")
    monkeypatch.setenv("PATH", "")
    assert version() == __version__


def test_every_package_that_decides_a_score_is_told() -> None:
    sources = [lineage.ROOT / name for name in DECIDES_SCORES]
    imported = {module for path in sources for module in top_level(path)}
    distributions = metadata.packages_distributions()
    used = [{name.lower() for name in distributions.get(module, [])} for module in imported]
    assert {"scikit-learn"} in used
    known = {"heart-on-ray", *WITHOUT_A_SAY_IN_SCORES, *lineage.PACKAGES}
    assert [names for names in used if names and not names & known] == []


def top_level(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def test_the_packages_are_those_that_are_installed() -> None:
    found = lineage.packages()
    assert found["python"] == platform.python_version() == sys.version.split()[0]
    assert list(found) == ["python", *lineage.PACKAGES]
    assert found["numpy"] == sys.modules["numpy"].__version__
