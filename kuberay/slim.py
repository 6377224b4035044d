"""``python slim.py ENVIRONMENT``: take out what packages bring and nothing here runs.

Tests, headers, other languages' libraries. What is left is compiled, which halves every start.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import sys
from pathlib import Path
from typing import Final

UNUSED: Final = (
    "**/tests",
    "onnx/backend/test",
    "joblib/test",
    "onnxruntime/capi/libonnxruntime.so*",  # the C library; the Python module holds its own copy
    "pyarrow/include",
    "pyarrow/src",
    "pyarrow/*flight*",
    "ray/jars",
    "ray/rllib",
    "ray/llm",
    "ray/cpp",
    "kubernetes/aio",
    "virtualenv/seed/wheels/embed/*.whl",  # pip for environments that Ray would make at run time
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.h",
    "**/*.hpp",
    "**/*.cc",
    "**/*.js.map",
    "**/*.css.map",
)
"""Patterns of what is removed from site-packages."""


def main() -> int:
    """Slim one environment, and compile it."""
    (packages,) = Path(sys.argv[1]).glob("lib/python*/site-packages")
    print(f"{remove(packages) / 1e6:.0f} MB removed from {packages}")
    # A checked hash would read each source again, a time differs by a copy.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(packages, quiet=2, workers=0, invalidation_mode=mode)
    return 0


def remove(packages: Path) -> int:
    """Remove what is unused; the bytes that it took."""
    freed = 0
    for pattern in UNUSED:
        for path in sorted(packages.glob(pattern)):
            files = [path] if path.is_file() else list(path.rglob("*"))
            freed += sum(file.stat().st_size for file in files if file.is_file())
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return freed


if __name__ == "__main__":
    sys.exit(main())
