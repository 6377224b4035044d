"""Which code and which packages made a result."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from heart import __version__
from heart.files import sha256

PACKAGES: Final = (
    "mlflow",
    "numpy",
    "onnx",
    "onnxruntime",
    "optuna",
    "pandas",
    "ray",
    "scikit-learn",
    "scipy",
    "skl2onnx",
)
ROOT: Final = Path(__file__).resolve().parent.parent
GIT_TIMEOUT_S: Final = 10.0


def packages() -> dict[str, str]:
    """The versions of Python and of the packages that a score depends on."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES
    }


@cache
def code_version() -> str:
    """The project's version and commit, ``-dirty`` where the tree has changes.

    An installed copy has no commit: its version alone is told.
    """
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return __version__
    dirty = "-dirty" if _git("status", "--porcelain") else ""
    return f"{__version__}+{commit}{dirty}"


@cache
def code_sha256() -> str:
    """One checksum of the sources that decide a score: the packages heart and tune."""
    files = sorted(path for name in ("heart", "tune") for path in (ROOT / name).rglob("*.py"))
    listed = [f"{path.relative_to(ROOT)} {sha256(path.read_bytes())}" for path in files]
    return sha256("\n".join(listed).encode())


def _git(*arguments: str) -> str | None:
    """What git says of the project's own checkout, None where it is no checkout."""
    if not (ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
