"""The service's log: one JSON object a line, on stderr, with no value of any attribute."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Final, TextIO

LOGGER = "heart.service"
FLUSH_S: Final = 0.1
"""How long the line of a request may wait for those after it: a write each would be dearer than
the line."""


class JsonLines(logging.Formatter):
    """Time, level, message, and the fields that were passed as ``extra={"fields": …}``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without spaces of its own.

        Ray's driver drops a line that resembles another replica's; what it compares are the
        words that hold no digit, and one long word with digits is never dropped.
        """
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return json.dumps(line, separators=(",", ":"))


def open_log(level: str) -> logging.Logger:
    """The service's logger with a handler of its own.

    It writes to the process's first stderr: where Serve's own log does not go to stderr,
    it replaces `sys.stderr` by that log, and buffers it.
    """
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level)
    return logger


class RequestLog:
    """A line for each request, written some at a time; nothing where the level is above INFO.

    The lines are made here and not by `logging`, whose records cost as much as an answer.
    """

    def __init__(self, level: str, stream: TextIO | None = None) -> None:
        self._on = logging.getLevelNamesMapping()[level] <= logging.INFO
        self._stream = stream
        self._lines: list[str] = []

    def keep(
        self,
        *,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        key: str | None,
        version: str | None,
        run_id: str | None,
    ) -> None:
        """Note one request; needs a running event loop, which writes the line soon.

        ``key`` is the name of the API key that it bore.
        """
        if not self._on:
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        at = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        self._lines.append(
            f'{{"time":"{at}","level":"INFO","message":"request","request_id":"{request_id}",'
            f'"method":{json.dumps(method)},"path":{json.dumps(path)},"status_code":{status},'
            f'"duration_ms":{seconds * 1000:.3f},"model_version":{json.dumps(version)},'
            f'"run_id":{json.dumps(run_id)}{_member("key", key)}}}\n'
        )

    def flush(self) -> None:
        """Write what has been noted."""
        stream = self._stream or sys.__stderr__
        if stream is not None:
            stream.write("".join(self._lines))
            stream.flush()
        self._lines.clear()


def _member(name: str, value: str | None) -> str:
    return "" if value is None else f',"{name}":{json.dumps(value)}'
