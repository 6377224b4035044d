"""Batches: a small one is judged on the event loop, a large one in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.responses import Response

from heart.attribute import Coding
from heart.bundle import Bundle
from serve_app.answers import BatchPrediction, Verdict, render
from serve_app.aside import Aside
from serve_app.bodies import parse_object
from serve_app.judging import Batch, judge, parse_batch, read_batch

INLINE_VALUES: Final = 1_500
"""Values of a batch, told by its commas, up to which it holds the event loop: those of 115
patients, 3 ms with a linear or boosted champion and 8 with k nearest neighbours. While a thread
works, each other request waits for Python's lock, some milliseconds a time."""
MAX_WAITING: Final = 8
"""Large batches that a replica has at a time; one more is refused at once. Each takes 20 to 60 ms,
so the last of them is answered within half a second."""


@dataclass(frozen=True)
class Judged:
    """A batch, the verdicts on its rows, and the answer that says so."""

    batch: Batch
    verdicts: Sequence[Verdict]
    response: Response


class Batching:
    """Judges batches so that who asks for less, or is refused, need not wait for them."""

    def __init__(self) -> None:
        self._aside = Aside("large batches", most=MAX_WAITING)
        self._turn = asyncio.Lock()

    async def judge(
        self, bundle: Bundle, body: bytes, coding: Coding, *, request_id: str
    ) -> Judged:
        """The answer to a batch's JSON.

        Raises `MalformedBodyError`, `InvalidValueError`, and `OverloadedError` where many large
        ones wait.
        """
        work = partial(answer, bundle, body, coding, request_id=request_id)
        if body.count(b",") > INLINE_VALUES:
            return await self._aside.run(work)
        async with self._turn:
            # Between two batches the loop hears of what has arrived.
            await asyncio.sleep(0)
            return work()


def answer(bundle: Bundle, body: bytes, coding: Coding, *, request_id: str) -> Judged:
    """What the service says of the patients of one request."""
    batch = parse_batch(read_batch(parse_object(body)), coding)
    verdicts = judge(bundle, batch.rows)
    content: BatchPrediction = {
        "predictions": batch.answers(verdicts, request_id=request_id),
        "model_version": bundle.version,
        "run_id": bundle.metadata.lineage.run_id,
    }
    return Judged(batch, verdicts, render(content))
