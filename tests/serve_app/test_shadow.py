"""Which requests a challenger in shadow judges, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from heart.bundle import Bundle, Rows
from heart.settings import Settings
from heart.sources import Reference, champion_reference
from serve_app.judging import judge
from serve_app.rollout import known_patients
from serve_app.shadow import NICENESS, QUEUE, Challenger, Shadow, yield_cores
from serve_app.user_config import ShadowOrder

ROWS = known_patients()[:3]


@pytest.fixture
def reference(champion_home: Path) -> Reference:
    found = champion_reference(champion_home / "bundles")
    assert found is not None
    return found


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 1.0])
def test_the_share_is_kept_and_chosen_by_the_id(
    share: float, bundle: Bundle, reference: Reference
) -> None:
    ids = [f"request-{number}" for number in range(10_000)]
    chosen = [Challenger(bundle, reference, share).chosen(name) for name in ids]
    # Five standard errors of a binomial share.
    assert abs(np.mean(chosen) - share) <= 5 * np.sqrt(share * (1 - share) / len(ids))
    assert chosen == [Challenger(bundle, reference, share).chosen(name) for name in ids]
    more = [Challenger(bundle, reference, 1.0).chosen(name) for name in ids]
    assert all(more)


def test_a_stuck_challenger_is_not_waited_for(
    ray_instance: int, champion_home: Path, bundle: Bundle, reference: Reference
) -> None:
    released = threading.Event()
    judged: list[int] = []

    class Stuck(Bundle):
        """The same model, once it is released."""

        def predict(self, rows: Rows) -> npt.NDArray[np.float64]:
            released.wait(10)
            judged.append(len(rows))
            return super().predict(rows)

    shadow = Shadow(Settings(home=champion_home), logging.getLogger("silent"))
    asyncio.run(shadow.load(ShadowOrder(model=reference, share=1.0)))
    stuck = copy.copy(bundle)
    stuck.__class__ = Stuck
    shadow._challenger = Challenger(stuck, reference, 1.0)
    verdicts = judge(bundle, ROWS)
    for number in range(3 * QUEUE):
        shadow.watch(ROWS, verdicts, request_id=str(number))
    assert judged == []
    released.set()
    shadow._thread.shutdown(wait=True)
    assert judged == [len(ROWS)] * QUEUE


@pytest.mark.parametrize("ray_gave", [0, NICENESS, 15])
def test_the_thread_yields_and_never_asks_for_more(ray_gave: int) -> None:
    """Ray's default is 15, from which only root comes down again."""

    def change() -> tuple[int, int]:
        thread = threading.get_native_id()
        before = max(ray_gave, os.getpriority(os.PRIO_PROCESS, thread))
        os.setpriority(os.PRIO_PROCESS, thread, before)
        yield_cores()
        return before, os.getpriority(os.PRIO_PROCESS, thread)

    with ThreadPoolExecutor(1) as pool:
        before, after = pool.submit(change).result()
    assert after == max(before, NICENESS)


def test_a_shadow_that_cannot_start_is_counted_and_fails_nobody(
    ray_instance: int,
    champion_home: Path,
    bundle: Bundle,
    reference: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shadow = Shadow(Settings(home=champion_home), logging.getLogger("silent"))
    asyncio.run(shadow.load(ShadowOrder(model=reference, share=1.0)))
    failed: list[int] = []
    monkeypatch.setattr(shadow._metrics, "fail", lambda _, number: failed.append(number))
    shadow.close()
    verdicts = judge(bundle, ROWS)
    for number in range(2 * QUEUE):
        shadow.watch(ROWS, verdicts, request_id=str(number))
    assert failed == [len(ROWS)] * (2 * QUEUE)
