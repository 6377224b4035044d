"""Files of a folder elsewhere, over HTTP or from S3, copied into a folder here.

`transfer` starts this module as a process of its own. A process can be ended by a timer
whatever it waits for: a server that drips a byte a second outlasts any time-out of a socket.
And S3's client, 40 MB, is gone from memory when the files are here.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import IO, Final
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit

from heart.errors import BundleError, run_main

LIMIT_MB: Final = 256
"""Of all files together."""
CHUNK_BYTES: Final = 1 << 20
HTTP: Final = ("http", "https")
S3: Final = "s3"

Opener = Callable[[str], IO[bytes]]


def transfer(uri: str, names: Sequence[str], folder: Path, *, seconds: float) -> None:
    """Copy the files ``names`` of the folder ``uri``; raises `BundleError`, one line.

    ``uri`` goes in by stdin: it may hold a password, and arguments are for all to see.
    """
    process = subprocess.run(
        [sys.executable, "-m", "heart.transfer", str(folder), str(seconds)],
        input=json.dumps({"uri": uri, "names": list(names)}),
        # A replica may have found this package by a path that Ray added to its own.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode == -signal.SIGALRM:
        raise BundleError(f"not whole within {seconds:g} s (HEART_DOWNLOAD_TIMEOUT_S)")
    if process.returncode:
        reason = (process.stderr.splitlines() or [f"ended with {process.returncode}"])[-1]
        raise BundleError(reason.removeprefix("error: "))


def copy(uri: str, names: Sequence[str], folder: Path) -> None:
    """Copy the files here and now, at most `LIMIT_MB`; raises `BundleError`."""
    parts = urlsplit(uri)
    open_file = _s3(parts) if parts.scheme == S3 else _http(parts)
    left = LIMIT_MB << 20
    for name in names:
        try:
            with open_file(name) as source, (folder / name).open("wb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    left -= len(chunk)
                    if left < 0:
                        raise BundleError(f"{name}: the files are larger than {LIMIT_MB} MB")
                    target.write(chunk)
        except HTTPError as error:
            raise BundleError(f"{name}: the server answers {error.code} {error.reason}") from error
        except URLError as error:
            raise BundleError(f"{name}: cannot be reached: {error.reason}") from error
        except (OSError, HTTPException) as error:
            text = " ".join(str(error).split())
            raise BundleError(f"{name}: {type(error).__name__}: {text[:200]}") from error


def _http(parts: SplitResult) -> Opener:
    """Basic authentication goes to the server that the URI names, and not where it redirects."""
    opener = urllib.request.OpenerDirector()  # build_opener's would read file:// and ftp:// too
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    user, _, host = parts.netloc.rpartition("@")

    def open_file(name: str) -> IO[bytes]:
        path = f"{parts.path.rstrip('/')}/{name}"
        address = parts._replace(netloc=host, path=path, fragment="").geturl()
        request = urllib.request.Request(address)  # noqa: S310 (no other scheme is handled)
        if user:
            encoded = base64.b64encode(unquote(user).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {encoded}")
        opened: IO[bytes] = opener.open(request)
        return opened

    return open_file


def _s3(parts: SplitResult) -> Opener:
    """Keys, region and endpoint are those of the ``AWS_*`` variables or of the AWS profile."""
    from pyarrow.fs import S3FileSystem  # 40 MB that no other fetching needs

    # Arrow's own reading of these two depends on how the file system is made.
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    store = S3FileSystem(endpoint_override=endpoint)
    prefix = unquote(parts.path.rstrip("/"))
    return lambda name: store.open_input_stream(f"{parts.netloc}{prefix}/{name}")


def main() -> int:
    """Copy, in the process that `transfer` starts."""
    folder, seconds = sys.argv[1:]
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    wanted = json.load(sys.stdin)
    copy(wanted["uri"], wanted["names"], Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
