"""Single patients who arrive at the same time are judged by one call of the graph."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from heart.bundle import Bundle
from serve_app.answers import Verdict
from serve_app.judging import judge


class Asked(NamedTuple):
    """A patient, the model that is to judge, and whom to tell."""

    bundle: Bundle
    patient: Sequence[float]
    verdict: asyncio.Future[Verdict]


class Gathering:
    """Judges all whom the event loop hears of in one round when the next begins.

    A call of the graph costs about the same for one row as for ten. Nobody waits for others to
    come: whoever is alone is judged alone, and a patient's verdict is the same in any company.
    """

    def __init__(self) -> None:
        self._asked: list[Asked] = []

    async def judge(self, bundle: Bundle, patient: Sequence[float]) -> Verdict:
        """The verdict on one row of thirteen floats, NaN where missing."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._judge_all)
        verdict: asyncio.Future[Verdict] = loop.create_future()
        self._asked.append(Asked(bundle, patient, verdict))
        return await verdict

    def _judge_all(self) -> None:
        asked, self._asked = self._asked, []
        for bundle, same in groupby(asked, attrgetter("bundle")):
            together = list(same)
            if bundle.rows_are_independent:
                _tell(bundle, together)
            else:
                for alone in together:
                    _tell(bundle, [alone])


def _tell(bundle: Bundle, asked: Sequence[Asked]) -> None:
    """Judge by one call of the graph; where that fails, each who asked gets the exception."""
    waiting = [one for one in asked if not one.verdict.done()]  # whoever gave up is done
    try:
        verdicts = judge(bundle, [one.patient for one in waiting])
    except Exception as error:  # noqa: BLE001 - those who asked raise it
        for one in waiting:
            one.verdict.set_exception(error)
    else:
        for one, verdict in zip(waiting, verdicts, strict=True):
            one.verdict.set_result(verdict)
