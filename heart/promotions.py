"""The log of promotions: appended and synced, each line bound to the one before it.

A line holds the SHA-256 of the line before, so that a log that was cut, changed or put in
another order is seen to be.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from heart.errors import RegistryError, StorageError
from heart.files import sha256

Action = Literal["promote", "rollback"]
BEGINNING: Final = "0" * 64


class Promotion(BaseModel):
    """A change of champion: when, to which version, from which, why, and by force or not."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    action: Action
    version: str
    before: str | None
    reason: str
    forced: bool
    line_before: str = BEGINNING


def append(path: Path, promotion: Promotion) -> None:
    """Add a line; raises `RegistryError` for a damaged log, `StorageError` for a full disk."""
    lines = _lines(path)
    read(path)
    last = sha256(lines[-1]) if lines else BEGINNING
    line = promotion.model_copy(update={"line_before": last}).model_dump_json().encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}", field=str(path)
        ) from error


def read(path: Path) -> list[Promotion]:
    """All promotions, oldest first; raises `RegistryError` where a line does not fit."""
    found: list[Promotion] = []
    last = BEGINNING
    for number, line in enumerate(_lines(path), 1):
        try:
            promotion = Promotion.model_validate_json(line)
        except ValidationError as error:
            raise _damaged(path, number, "is no promotion") from error
        if promotion.line_before != last:
            raise _damaged(path, number, "does not follow the line before it")
        found.append(promotion)
        last = sha256(line)
    return found


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", field=str(path)) from error


def _damaged(path: Path, number: int, what: str) -> RegistryError:
    return RegistryError(f"{path} was changed: line {number} {what}", field=str(path))
