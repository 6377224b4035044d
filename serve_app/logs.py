"""The service's log: one JSON object a line, on stderr, with no value of any attribute."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

LOGGER = "heart.service"


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
