"""Reading what the service's processes wrote, for the tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ray._private import worker

Found = TypeVar("Found")
PATIENCE_S = 10.0


def log_lines(text: str = "") -> list[dict[str, Any]]:
    """The service's log lines that contain ``text``, of all replicas of this Ray instance."""
    folder = Path(worker._global_node.get_logs_dir_path())
    files = sorted(folder.glob("worker-*.err"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{") and text in line]


def eventually(look: Callable[[], Found]) -> Found:
    """The first true answer; fails after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        time.sleep(0.05)
    return found
