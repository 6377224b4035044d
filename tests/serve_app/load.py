"""Steady load on a service, and every answer to it held against the version that it names."""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from heart.attributes import NAMES
from heart.bundle import Bundle

BATCH = 20


@dataclass
class Answers:
    """What clients were answered: the number of the first patient, and the answer."""

    singles: list[tuple[int, httpx.Response]] = field(default_factory=list)
    batches: list[tuple[int, httpx.Response]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def statuses(self) -> Counter[int]:
        return Counter(answer.status_code for _, answer in self.singles + self.batches)

    def check(self, rows: Sequence[Sequence[float]], bundles: Mapping[str, Bundle]) -> Counter[str]:
        """How many answers each version gave; each must be that of the version it names."""
        assert not self.errors
        assert set(self.statuses()) == {200}
        known = {name: bundle.predict(rows).tolist() for name, bundle in bundles.items()}
        versions: Counter[str] = Counter()
        for first, answer in self.singles:
            told = answer.json()
            assert told["probability"] == known[told["model_version"]][first]
            versions[told["model_version"]] += 1
        for first, answer in self.batches:
            told = answer.json()
            found = [prediction["probability"] for prediction in told["predictions"]]
            assert found == known[told["model_version"]][first : first + BATCH]
            versions[told["model_version"]] += 1
        return versions


def as_json(row: Sequence[float]) -> dict[str, Any]:
    """A patient as a client would send it."""
    return {name: value for name, value in zip(NAMES, row, strict=True) if not math.isnan(value)}


@contextmanager
def steady_load(
    url: str, rows: Sequence[Sequence[float]], *, clients: int = 2
) -> Iterator[Answers]:
    """Clients that ask all the time until the block ends, for one patient or a batch in turn."""
    answers, over = Answers(), threading.Event()
    patients = [as_json(row) for row in rows]

    def ask(offset: int) -> None:
        with httpx.Client(base_url=url, timeout=10) as client:
            for number in itertools.count(offset):
                if over.is_set():
                    return
                first = number * 7 % (len(rows) - BATCH)
                try:
                    if number % 5:
                        answer = client.post("/predict", json=patients[first])
                        answers.singles.append((first, answer))
                    else:
                        body = {"patients": patients[first : first + BATCH]}
                        answers.batches.append((first, client.post("/predict/batch", json=body)))
                except httpx.HTTPError as error:
                    answers.errors.append(error)

    threads = [threading.Thread(target=ask, args=(k * 31,)) for k in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()
