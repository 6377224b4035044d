"""What the tests of the payload log share: a log on a clock of their own, and reading it back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from heart.settings import Settings
from serve_app.payload_files import files, from_parquet
from serve_app.payloads import PayloadLog

NOON_NS = 1_767_268_800 * 10**9
"""2026-01-01 12:00 UTC."""
DAY_NS = 86_400 * 10**9


@dataclass
class Clock:
    """Nanoseconds since 1970, as the test says."""

    ns: int = NOON_NS

    def __call__(self) -> int:
        return self.ns


@dataclass
class Told:
    """What a payload log counted as dropped, and what it logged."""

    dropped: list[int] = field(default_factory=list)
    lines: list[tuple[str, Any]] = field(default_factory=list)

    def logger(self) -> logging.Logger:
        logger = logging.Logger("payloads")
        handler = logging.Handler()
        handler.emit = self._emit  # type: ignore[method-assign]
        logger.addHandler(handler)
        return logger

    def _emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.getMessage(), getattr(record, "fields", None)))


def open_log(
    settings: Settings,
    told: Told,
    *,
    replica: str = "one",
    clock: Callable[[], int] | None = None,
) -> PayloadLog:
    return PayloadLog(
        settings, told.logger(), told.dropped.append, replica=replica, clock=clock or Clock()
    )


def read_back(folder: Path) -> list[dict[str, Any]]:
    """All rows, in the order of the files' names."""
    tables = [from_parquet(path) for path in files(folder)]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
    return rows
