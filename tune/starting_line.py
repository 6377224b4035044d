"""Where the workers of a search wait for each other.

A module of its own: the process of this actor imports it, and should import nothing else.
"""

from __future__ import annotations

from typing import Any


class StartingLine:
    """Counts the workers that are up."""

    def __init__(self) -> None:
        self._arrived: dict[str, Any] = {}

    def arrive(self, name: str, worker: Any) -> int:
        """Say that a worker is up; how many are."""
        self._arrived[name] = worker
        return len(self._arrived)

    def workers(self) -> list[Any]:
        """All workers that were ever up."""
        return list(self._arrived.values())
