"""The payload log: each patient and answer, kept where that is asked for, so as to be replayed.

A request leaves a tuple in a buffer; a thread writes them in batches. Where the disk is full
and the buffer too, rows are dropped and counted, and the answers go on.
``python -m serve_app.payloads replay`` computes what was kept again.
"""

from __future__ import annotations

import hmac
import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

from heart.bundle import Bundle
from heart.errors import StorageError, UsageError, run_main
from heart.settings import Settings
from serve_app.answers import Verdict

if TYPE_CHECKING:
    from serve_app.payload_files import Entry

CAPACITY_ROWS: Final = 50_000
"""What waits for the disk at most."""
FLUSH_ROWS: Final = 5_000
FLUSH_S: Final = 5.0
"""What a replica that is killed loses at most, if the disk keeps up."""
CLOSE_S: Final = 10.0
KEY_BYTES: Final = 16
PATIENT_HEADER: Final = b"x-patient-id"


class PayloadLog:
    """What one replica keeps."""

    def __init__(
        self,
        settings: Settings,
        log: logging.Logger,
        count_dropped: Callable[[int], None],
        *,
        replica: str,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Start the thread; raises `UsageError` where there is no key to read.

        ``clock`` gives nanoseconds since 1970.
        """
        from serve_app.payload_files import Entry, Files  # pyarrow, if the log is on

        self._entry, self._clock = Entry, clock
        self._key = read_key(settings)
        self._files = Files(settings.payloads, replica=replica, limit_mb=settings.payload_log_mb)
        self._log, self._count_dropped = log, count_dropped
        self._kept: deque[tuple[Entry, bytes | None]] = deque()
        self._waiting: list[Entry] = []
        # Each is written by one thread alone: what was taken in and dropped by the requests',
        # what left by the log's own.
        self._in = self._dropped = self._out = self._told = 0
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="payload-log", daemon=True)
        self._thread.start()

    def keep(
        self,
        bundle: Bundle,
        rows: Sequence[Sequence[float]],
        verdicts: Sequence[Verdict],
        *,
        request_id: str,
        patient: bytes | None,
        places: Sequence[int] = (0,),
    ) -> None:
        """Keep the answers to one request, rows of shape (n, 13) with NaN where missing.

        ``places`` are the rows' positions in the request, ``patient`` what `patient_id` found in
        it. Takes two microseconds and never fails; all calls must come from one thread.
        """
        number = len(places)
        waiting = self._in - self._out
        if waiting + number > CAPACITY_ROWS:
            self._dropped += number
            return
        self._in += number
        us = self._clock() // 1000
        entry = self._entry(us, request_id, None, bundle, rows, verdicts, places)
        self._kept.append((entry, patient))
        if waiting + number >= FLUSH_ROWS and not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what waits and end the thread; waits up to `CLOSE_S` for the disk."""
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(FLUSH_S)
            self._flush()
            self._wake.clear()
        self._flush()
        self._drop_rest("the replica ends")

    def _flush(self) -> None:
        """Write what was kept; what the disk refuses waits for the next time."""
        try:
            self._write()
            while self._in - self._out >= FLUSH_ROWS:
                self._write()
        except StorageError as error:
            fields = {"rows": self._in - self._out, "reason": error.message}
            self._log.error("payloads wait to be written", extra={"fields": fields})
            self._closing.wait(FLUSH_S)
        except Exception as error:  # noqa: BLE001 - an answer never suffers from its record
            self._drop_rest(_where(error))
        dropped = self._dropped
        if dropped > self._told:
            self._report(dropped - self._told, "the buffer is full")
            self._told = dropped

    def _write(self) -> None:
        self._take()
        while self._waiting:
            batch = [*takewhile(self._waiting[0].same_day, self._waiting)]
            self._files.write(batch)
            del self._waiting[: len(batch)]
            self._out += sum(len(entry.places) for entry in batch)

    def _take(self) -> None:
        """Patients' identifiers get no further than here: HMAC-SHA256 of them (RFC 2104) does."""
        while self._kept:
            entry, patient = self._kept.popleft()
            if self._key is not None and patient is not None:
                hashed = hmac.digest(self._key, patient, "sha256").hex()
                entry = entry._replace(patient=hashed)
            self._waiting.append(entry)

    def _drop_rest(self, reason: str) -> None:
        rows = sum(len(entry.places) for entry in self._waiting)
        self._waiting.clear()
        self._out += rows
        if rows:
            self._report(rows, reason)

    def _report(self, rows: int, reason: str) -> None:
        self._count_dropped(rows)
        fields = {"rows": rows, "reason": reason}
        self._log.error("payloads dropped", extra={"fields": fields})


def read_key(settings: Settings) -> bytes | None:
    """The key that patients' identifiers are hashed with, None where none is set.

    Raises `UsageError`. A short key could be guessed, and the identifiers with it.
    """
    path = settings.payload_key_file
    if path is None:
        return None
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(
            f"HEART_PAYLOAD_KEY_FILE: {path} cannot be read: {error.strerror}",
            field="payload_key_file",
        ) from error
    if len(key) < KEY_BYTES:
        raise UsageError(
            f"HEART_PAYLOAD_KEY_FILE: {path} must hold at least {KEY_BYTES} bytes, got {len(key)}",
            field="payload_key_file",
        )
    return key


def patient_id(scope: Scope) -> bytes | None:
    """The X-Patient-ID of a request, None without one."""
    for name, value in scope["headers"]:
        if name == PATIENT_HEADER:
            return bytes(value)
    return None


def _where(error: Exception) -> str:
    """An unexpected exception without its message, which may hold a patient's values."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno} {frame.name}"


if __name__ == "__main__":
    from serve_app.replay import main

    sys.exit(run_main(main))
