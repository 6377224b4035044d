"""A challenger in shadow: it judges a share of the patients again, and answers nobody.

Which requests depends on their ids alone, so that each replica chooses alike and a repeated
request is chosen again. It judges in a thread of its own, behind a short queue: where it is
slow, requests are dropped from the comparison, and no answer waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from heart.bundle import Bundle
from heart.settings import Settings
from heart.sources import Reference, fetch
from serve_app.answers import Verdict
from serve_app.metrics import ShadowMetrics
from serve_app.user_config import ShadowOrder

QUEUE: Final = 64
"""Requests that wait for the challenger at most; as many as a replica answers at a time."""
NICENESS: Final = 10
HASH_BYTES: Final = 8


@dataclass(frozen=True)
class Challenger:
    """A bundle, where it is from, and the share of the requests that it judges."""

    bundle: Bundle
    reference: Reference
    share: float

    def chosen(self, request_id: str) -> bool:
        """Whether this request is one of the share."""
        digest = hashlib.blake2b(request_id.encode(), digest_size=HASH_BYTES).digest()
        return int.from_bytes(digest) / 2.0 ** (8 * HASH_BYTES) < self.share


class Shadow:
    """Compares a challenger with what was answered, if there is one."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self._settings, self._log = settings, log
        self._metrics = ShadowMetrics()
        self._challenger: Challenger | None = None
        self._room = threading.BoundedSemaphore(QUEUE)
        self._told: str | None = None
        # Threads start with the first request in shadow.
        self._thread = ThreadPoolExecutor(1, "shadow", initializer=yield_cores)

    @property
    def reference(self) -> Reference | None:
        """The challenger's, None where there is none."""
        return None if self._challenger is None else self._challenger.reference

    async def load(self, order: ShadowOrder | None) -> None:
        """Compare with another challenger, or none; raises `BundleError`, `StorageError`."""
        if order is None:
            self._challenger = None
            return
        bundle = await asyncio.to_thread(fetch, order.model, self._settings)
        self._challenger = Challenger(bundle, order.model, order.share)
        fields = {"model_version": bundle.version, "share": order.share}
        self._log.info("challenger in shadow", extra={"fields": fields})

    def watch(
        self,
        patients: Sequence[Sequence[float]],
        verdicts: Sequence[Verdict],
        *,
        request_id: str,
    ) -> None:
        """Have patients judged again, of shape (n, 13), who were answered with ``verdicts``."""
        challenger = self._challenger
        if challenger is None or not patients or not challenger.chosen(request_id):
            return
        if not self._room.acquire(blocking=False):
            self._metrics.drop(challenger.bundle.version, len(patients))
            return
        try:
            judged = self._thread.submit(challenger.bundle.predict, patients)
        except RuntimeError as error:  # the thread could not start, or has ended
            self._room.release()
            self._fail(challenger.bundle.version, len(patients), type(error).__name__)
            return
        judged.add_done_callback(partial(self._compare, challenger.bundle, verdicts))

    def close(self) -> None:
        """Judge no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _compare(
        self,
        challenger: Bundle,
        verdicts: Sequence[Verdict],
        judged: Future[npt.NDArray[np.float64]],
    ) -> None:
        self._room.release()
        if judged.cancelled():
            return
        error = judged.exception()
        if error is not None:
            self._fail(challenger.version, len(verdicts), type(error).__name__)
            return
        p = judged.result()
        if not np.isfinite(p).all():
            self._fail(challenger.version, len(verdicts), "no probability")
            return
        predictions = p >= challenger.metadata.threshold
        self._metrics.compare(
            challenger.version,
            np.abs(p - [verdict["probability"] for verdict in verdicts]).tolist(),
            disagreements=int((predictions != [v["prediction"] for v in verdicts]).sum()),
        )

    def _fail(self, version: str, number: int, kind: str) -> None:
        """Count it, and log the first of a kind; an error's message may hold a patient's values."""
        self._metrics.fail(version, number)
        told = f"version {version} in shadow failed: {kind}"
        if told != self._told:
            self._told = told
            self._log.warning(told)


def yield_cores() -> None:
    """Let the threads that answer go first; Linux keeps a niceness a thread.

    Where Ray gave the replica a higher one, only root could lower it.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread))
        os.setpriority(os.PRIO_PROCESS, thread, niceness)
