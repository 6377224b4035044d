"""Steady load from clients that repeat what failed once, and what they saw."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from heart import cohorts

HOST: Final = "127.0.0.1"
CLIENTS: Final = 4
PERIOD_S: Final = 0.04
PATIENTS: Final = 20
CALM_S: Final = 3.0
AGAIN: Final = (500, 502, 503, 504)


@dataclass
class Tally:
    """What the clients saw: ``gap_s`` is the longest time in which no answer came."""

    asked: int = 0
    repeated: int = 0
    lost: int = 0
    wrong: int = 0
    gap_s: float = 0.0
    worst_ms: float = 0.0
    versions: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)


class Clients:
    """Steady load: some threads, each with a connection of its own."""

    def __init__(self, port: int, expected: Mapping[str, Sequence[float]]) -> None:
        self._port, self._expected = port, expected
        self._bodies = [json.dumps(p).encode() for p in patients()]
        self._tally, self._last, self._failed = Tally(), time.monotonic(), 0.0
        self._lock, self._over = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> Clients:
        self._last = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def tally(self) -> Tally:
        """What was seen since this was last asked."""
        with self._lock:
            self._tally.gap_s = max(self._tally.gap_s, time.monotonic() - self._last)
            found, self._tally = self._tally, Tally()
            return found

    def steady(self) -> bool:
        """Whether answers come, and none has been lost for a while."""
        now = time.monotonic()
        return now - self._last < 0.25 and now - self._failed > CALM_S

    def _work(self, number: int) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=10)
        while not self._over.wait(PERIOD_S):
            number = (number + 1) % PATIENTS
            started = time.monotonic()
            answer = self._ask(connection, number)
            repeated = answer is None or answer[0] in AGAIN
            if repeated:
                answer = self._ask(connection, number)
            self._note(number, answer, started, repeated=repeated)

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> tuple[int, bytes] | None:
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/predict", self._bodies[number], headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return None

    def _note(
        self, number: int, answer: tuple[int, bytes] | None, started: float, *, repeated: bool
    ) -> None:
        now = time.monotonic()
        with self._lock:
            tally = self._tally
            tally.asked += 1
            tally.repeated += repeated
            if answer is None or answer[0] != 200:
                tally.lost += 1
                self._failed = now
                tally.why["no answer" if answer is None else str(answer[0])] += 1
                return
            tally.gap_s = max(tally.gap_s, now - self._last)
            tally.worst_ms = max(tally.worst_ms, (now - started) * 1000)
            self._last = now
            found = json.loads(answer[1])
            version = found["model_version"]
            tally.versions[version] += 1
            known = self._expected.get(version)
            tally.wrong += known is None or known[number] != found["probability"]


def patients() -> list[dict[str, Any]]:
    """Some patients as a client would send them, in words and numbers."""
    rows = cohorts.load("all").X.head(PATIENTS)
    return [
        {str(name): None if value != value else value for name, value in row.items()}  # noqa: PLR0124
        for row in rows.to_dict("records")
    ]
