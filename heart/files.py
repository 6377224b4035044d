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
from typing import Any, TextIO

from heart.errors import HeartError, StorageError


def sha256(content: bytes) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file or leave it as it was; raises `StorageError` where the disk says no."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).chmod(mode)
            Path(beside).replace(path)
        except BaseException:
            Path(beside).unlink()
            raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people and machines: indented, keys in the order given, no NaN."""
    text = json.dumps(content, indent=2, allow_nan=False)
    write_whole(path, f"{text}\n".encode())


@contextmanager
def locked(path: Path, *, taken: HeartError | None = None) -> Iterator[None]:
    """Hold an advisory lock on a file, across processes of one machine.

    Waits for another that holds it, or raises ``taken`` at once.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        if taken is None:
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            _lock_at_once(file, taken)
        yield


def _lock_at_once(file: TextIO, taken: HeartError) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise taken from None


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what a disk can raise into one `StorageError` that names the file or the folder."""
    try:
        yield
    except OSError as error:
        # What mkdir says of a file that stands where a folder should is "File exists".
        misled = isinstance(error, FileExistsError)
        reason = os.strerror(errno.ENOTDIR) if misled else error.strerror or error
        raise StorageError(f"{path} cannot be written: {reason}", field=str(path)) from error
