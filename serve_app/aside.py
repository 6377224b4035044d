"""Work of milliseconds in a thread, so that the replica answers others meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from heart.errors import OverloadedError

T = TypeVar("T")


class Aside:
    """One piece of work at a time, as a replica has one core to count on; a few wait.

    Who gives up leaves what has begun to its end, and the next piece waits for that: a thread
    cannot be interrupted.
    """

    def __init__(self, what: str, *, most: int) -> None:
        self._what, self._most = what, most
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, what.replace(" ", "-"))

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives or raises; raises `OverloadedError` where ``most`` wait already."""
        if self._waiting >= self._most:
            raise OverloadedError(f"too many {self._what} at a time: try again in a second")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1
