"""The data set as UCI serves it today, compared with the known table.

`refresh` is the entry. Run as ``python -m heart.download BASE_URL FOLDER SECONDS`` this module
only fetches, in the process of its own that `refresh` starts: ucimlrepo has no time-out and no
way to name another server, and a server that drips a byte a second outlasts any time-out of a
socket. A process can be ended by a timer whatever it waits for, and leaves its parent as it was.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.error import HTTPError, URLError

from heart.attributes import NAMES
from heart.errors import DownloadError, run_main
from heart.files import sha256, write_whole

if TYPE_CHECKING:
    # Pydantic would make up most of the fetching process's start.
    from heart.settings import Settings

SITES = ("cleveland", "hungarian", "switzerland", "va")
COLUMNS = (*NAMES, "num")
UCI_ID = 45
UCI_FOLDER = "ml/machine-learning-databases/heart-disease"

CLEVELAND_FILE = "cleveland.csv"
CLEVELAND_SHA256 = "fbd8e872af527dd3544a47b52cb3ce38f2f94b19082a40a1e20904a80d8377d6"
"""Of the table that ucimlrepo gives, as pandas writes it with ``to_csv(index=False)``: floats
in ca and thal, for the sake of their missing values, and num under the name of target."""
FLOATS = ("oldpeak", "ca", "thal")

Row = tuple[str, ...]


@dataclass(frozen=True)
class Refresh:
    """What UCI serves: the good table, or its rows in another order (``reordered``).

    ``confirmed`` where the table at hand is the good one too, ``restored`` where it was not.
    """

    outcome: Literal["confirmed", "restored", "reordered"]
    message: str


def refresh(settings: Settings, *, table: Path, expected: str) -> Refresh:
    """Fetch the data set, check it, and put the table back where ``table`` is damaged.

    ``expected`` is the SHA-256 of the good table. Raises `DownloadError`, with ``table`` as it
    was, where UCI cannot be reached, does not answer within ``settings.download_timeout_s``,
    or serves anything but the known data set; `StorageError` where the disk says no.
    """
    with tempfile.TemporaryDirectory() as folder:
        _fetch_apart(settings, folder)
        sites = {site: _read_rows(Path(folder, _file_name(site))) for site in SITES}
        cleveland = _read_rows(Path(folder, CLEVELAND_FILE), header=COLUMNS)
    good = _content_if_good(table, expected)
    content = canonical_table(sites)
    same = [
        _same_order("the four processed files", content, expected, known=good),
        _same_order(
            "the table of ucimlrepo",
            cleveland_table(cleveland),
            CLEVELAND_SHA256,
            known=cleveland_table(sites["cleveland"]),
        ),
    ]
    if not all(same):
        message = f"UCI serves the same rows in another order; {table} is kept as it is"
        return Refresh("reordered", message)
    if good is not None:
        return Refresh("confirmed", f"UCI serves the table of {table}, SHA-256 {expected}")
    write_whole(table, content)
    return Refresh("restored", f"{table} is restored from UCI, SHA-256 {expected}")


def canonical_table(sites: Mapping[str, Sequence[Row]]) -> bytes:
    """The bundled table's text: site, the attributes, num; empty where missing, LF at the end."""
    rows = [(site, *row) for site in SITES for row in sites[site]]
    return _text(("site", *COLUMNS), rows)


def cleveland_table(rows: Sequence[Row]) -> bytes:
    """Cleveland's rows in the text that `CLEVELAND_SHA256` is the checksum of."""
    floats = [name in FLOATS for name in COLUMNS]
    as_floats = [
        tuple(str(float(cell)) if f and cell else cell for f, cell in zip(floats, row, strict=True))
        for row in rows
    ]
    return _text((*NAMES, "target"), as_floats)


def _text(header: Row, rows: Sequence[Row]) -> bytes:
    return "".join(",".join(row) + "\n" for row in (header, *rows)).encode()


def _same_order(what: str, content: bytes, expected: str, *, known: bytes | None) -> bool:
    """Whether it is the known text, rather than its lines in another order; raises otherwise."""
    found = sha256(content)
    if found == expected:
        return True
    if known is not None and sorted(content.splitlines()) == sorted(known.splitlines()):
        return False
    raise DownloadError(
        f"the SHA-256 of {what} is {found}, expected {expected}: the data set is another one at "
        "UCI, or did not come whole; nothing was changed",
        field="uci_url",
    )


def _content_if_good(table: Path, expected: str) -> bytes | None:
    """The table's content, None where it is absent or not the known one."""
    content = table.read_bytes() if table.exists() else b""
    return content if sha256(content) == expected else None


def _file_name(site: str) -> str:
    return f"processed.{site}.data"


def _read_rows(path: Path, *, header: Row | None = None) -> list[Row]:
    """The rows of a file in the spelling of the bundled table."""
    # Whatever is no ASCII is no number either, and is refused as such below.
    lines = path.read_text("ascii", errors="replace").splitlines()
    if header is not None and tuple(lines.pop(0).split(",")) != header:
        raise DownloadError(f"{path.name} has other columns than {', '.join(header)}")
    return [_read_row(line, f"{path.name} line {i}") for i, line in enumerate(lines, 1) if line]


def _read_row(line: str, where: str) -> Row:
    cells = line.split(",")
    try:
        return tuple(_cell(name, cell) for name, cell in zip(COLUMNS, cells, strict=True))
    except ValueError:
        raise DownloadError(
            f"{where} must be {len(COLUMNS)} numbers or question marks, got "
            f'"{line[:60]}"; nothing was changed',
            field="uci_url",
        ) from None


def _cell(name: str, text: str) -> str:
    """A number as the bundled table spells it, empty where UCI says missing: ?, -9, nothing."""
    if text.strip() in ("", "?") or float(text) == -9:
        return ""
    value = float(text)
    return repr(value) if name == "oldpeak" or not value.is_integer() else str(int(value))


def _fetch_apart(settings: Settings, folder: str) -> None:
    """Run this module in another process; its last line on stdout names what it waits for."""
    seconds = settings.download_timeout_s
    base_url = settings.uci_url.rstrip("/")
    process = subprocess.run(
        [sys.executable, "-m", "heart.download", base_url, folder, str(seconds)],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode == 0:
        return
    address = (process.stdout.splitlines() or [base_url])[-1]
    reason = (process.stderr.splitlines() or [f"ended with {process.returncode}"])[-1]
    if process.returncode == -signal.SIGALRM:
        reason = f"no whole answer within {seconds:g} s (HEART_DOWNLOAD_TIMEOUT_S)"
    raise DownloadError(
        f"{address}: {reason.removeprefix('error: ')}; nothing was changed", field="uci_url"
    )


def _fetch(base_url: str, folder: Path, seconds: float) -> None:
    """All that UCI has on the four hospitals, by both of its ways, into a folder."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for site in SITES:
        address = f"{base_url}/{UCI_FOLDER}/{_file_name(site)}"
        _allow(seconds, address)
        (folder / _file_name(site)).write_bytes(_get(address))
    signal.setitimer(signal.ITIMER_REAL, 0)
    _fetch_cleveland(base_url, folder, seconds)


def _allow(seconds: float, address: str) -> None:
    """Say what is asked for, and end this process if that takes longer than it may."""
    print(address, flush=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _get(address: str) -> bytes:
    if not address.startswith(("http://", "https://")):
        raise DownloadError("HEART_UCI_URL must begin with http:// or https://")
    try:
        with urllib.request.urlopen(address) as response:  # noqa: S310 (just looked at)
            content: bytes = response.read()
            return content
    except HTTPError as error:
        raise DownloadError(f"the server answers {error.code} {error.reason}") from error
    except URLError as error:
        raise DownloadError(f"cannot be reached: {error.reason}") from error
    except IncompleteRead as error:
        raise DownloadError(f"the answer ends early: {error}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise DownloadError(f"no answer to use: {error}") from error


def _fetch_cleveland(base_url: str, folder: Path, seconds: float) -> None:
    """The table that ucimlrepo gives, whose server is a constant of its module."""
    from ucimlrepo import fetch

    fetch.API_BASE_URL = f"{base_url}/api/dataset"
    _allow(seconds, f"{fetch.API_BASE_URL}?id={UCI_ID}")
    try:
        patients = fetch.fetch_ucirepo(id=UCI_ID).data.original[list(COLUMNS)]
    except (OSError, HTTPException, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _refusal(error) from error
    except fetch.DatasetNotFoundError as error:
        raise _refusal(error) from error
    patients.to_csv(folder / CLEVELAND_FILE, index=False)


def _refusal(error: Exception) -> DownloadError:
    """One line for what ucimlrepo raises; where it hides what the server said, that instead."""
    cause = error.__context__ or error
    text = " ".join(str(cause).split())
    return DownloadError(f"ucimlrepo gives no table: {type(cause).__name__}: {text[:200]}")


def main() -> int:
    """Fetch, in the process that `refresh` starts."""
    base_url, folder, seconds = sys.argv[1:]
    _fetch(base_url, Path(folder), float(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
