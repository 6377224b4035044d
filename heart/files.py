"""Writing files whole: beside, synced, then renamed, so that a reader never meets a half."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heart.errors import StorageError


def sha256(content: bytes) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file or leave it as it was; raises `StorageError` where the disk says no."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).chmod(0o644)
            Path(beside).replace(path)
        except BaseException:
            Path(beside).unlink()
            raise
    except OSError as error:
        raise _refusal(path, error) from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people and machines: indented, keys in the order given, no NaN."""
    text = json.dumps(content, indent=2, allow_nan=False)
    write_whole(path, f"{text}\n".encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock on a file, across processes of one machine."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise _refusal(path, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refusal(path: Path, error: OSError) -> StorageError:
    # What mkdir says of a file that stands where a folder should is "File exists".
    misled = isinstance(error, FileExistsError)
    reason = os.strerror(errno.ENOTDIR) if misled else error.strerror or error
    return StorageError(f"{path} cannot be written: {reason}", field=str(path))
