"""Where the workers of a search wait for each other.

A module of its own: the process of this actor imports it, and should import nothing else.
For the same reason the workers' handles stay pickled: opening one imports all they import,
which takes seconds of a core while the workers start.
"""

from __future__ import annotations


class StartingLine:
    """Counts the workers that are up."""

    def __init__(self) -> None:
        self._arrived: dict[str, bytes] = {}

    def arrive(self, name: str, worker: bytes) -> int:
        """Say that a worker is up; how many are."""
        self._arrived[name] = worker
        return len(self._arrived)

    def workers(self) -> list[bytes]:
        """The handles of all workers that were ever up, pickled."""
        return list(self._arrived.values())
