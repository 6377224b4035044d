"""The files of the payload log: Parquet by day, written whole, the oldest removed.

Only a replica whose payload log is on imports this module: pyarrow takes 35 MB.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heart.attributes import NAMES
from heart.bundle import Bundle
from heart.errors import DataError
from heart.files import storage_errors, write_whole
from serve_app.answers import Verdict

FILE_ROWS: Final = 50_000
"""Rows after which a replica begins another file; until then each flush writes the file anew."""
FILES_IN_BOUND: Final = 8
"""A file ends at this part of the folder's bound, so that what is removed is a part of it."""
DAY_US: Final = 86_400_000_000
TEXTS: Final = ("request_id", "model_version", "run_id", "metadata_sha256", "recalibration")
SCHEMA: Final = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("index", pa.int32(), nullable=False),
        *(pa.field(name, pa.string(), nullable=name == TEXTS[-1]) for name in TEXTS),
        *(pa.field(name, pa.float64()) for name in NAMES),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("prediction", pa.int8(), nullable=False),
        pa.field("patient", pa.string()),
    ]
)

Floats = npt.NDArray[np.float64]


class Entry(NamedTuple):
    """What one request asked and was answered.

    ``us`` are microseconds since 1970, ``patient`` a hash, ``places`` the positions in the
    request of those who could be judged. (A dataclass would cost the request four times this.)
    """

    us: int
    request_id: str
    patient: str | None
    bundle: Bundle
    rows: Sequence[Sequence[float]]
    verdicts: Sequence[Verdict]
    places: Sequence[int]

    @property
    def day(self) -> int:
        """Days since 1970, in UTC."""
        return self.us // DAY_US

    def same_day(self, other: Entry) -> bool:
        """Whether two entries belong into one folder."""
        return self.day == other.day


class Files:
    """The files that one replica writes into a folder that it shares with others."""

    def __init__(self, folder: Path, *, replica: str, limit_mb: float) -> None:
        self._folder, self._replica = folder, replica
        self._limit = round(limit_mb * 1e6)
        self._number = 0
        self._day: int | None = None
        self._table = SCHEMA.empty_table()

    def write(self, entries: Sequence[Entry]) -> None:
        """Write the rows of one day; raises `StorageError`, with none of them written."""
        day = entries[0].day
        if day != self._day:
            self._number, self._day, self._table = self._number + 1, day, SCHEMA.empty_table()
        date = datetime.fromtimestamp(day * DAY_US / 1e6, UTC).date()
        path = self._folder / f"day={date}" / f"{self._replica}-{self._number}.parquet"
        table = pa.concat_tables([self._table, to_table(entries)]).combine_chunks()
        content = to_parquet(table)
        self._make_room(path, len(content))
        write_whole(path, content, mode=0o600)
        self._table = table
        if len(table) >= FILE_ROWS or len(content) >= self._limit // FILES_IN_BOUND:
            self._day = None

    def _make_room(self, own: Path, size: int) -> None:
        """Keep the folder within its bound; other replicas do the same at the same time."""
        with storage_errors(own):
            for made in (self._folder, own.parent):
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What replicas that died left half written counts too.
            others = [path for path in self._folder.glob("day=*/*") if path != own]
            files = [(path, found) for path in others if (found := _stat(path))]
            files.sort(key=lambda file: (file[0].parent.name, file[1].st_mtime))
            size += sum(found.st_size for _, found in files)
            for path, found in files:
                if size <= self._limit:
                    return
                path.unlink(missing_ok=True)
                size -= found.st_size
                if path.parent != own.parent and not any(path.parent.iterdir()):
                    path.parent.rmdir()


def to_table(entries: Sequence[Entry]) -> Any:
    """One row a patient, as `SCHEMA` says."""
    counts = [len(entry.places) for entry in entries]
    rows = np.array([row for entry in entries for row in entry.rows], dtype=np.float64)
    missing = np.isnan(rows)
    verdicts = [verdict for entry in entries for verdict in entry.verdicts]
    columns: dict[str, Any] = {
        "time": np.repeat([entry.us for entry in entries], counts),
        "index": [place for entry in entries for place in entry.places],
        "request_id": _repeated([entry.request_id for entry in entries], counts),
        **_versions(entries, counts),
        **{name: pa.array(rows[:, i], mask=missing[:, i]) for i, name in enumerate(NAMES)},
        "probability": [verdict["probability"] for verdict in verdicts],
        "prediction": [verdict["prediction"] for verdict in verdicts],
        "patient": _repeated([entry.patient for entry in entries], counts),
    }
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _versions(entries: Sequence[Entry], counts: Sequence[int]) -> dict[str, Any]:
    """The columns about the model, of which a batch of entries has few."""
    bundles = list(dict.fromkeys(entry.bundle for entry in entries))
    places = {bundle: place for place, bundle in enumerate(bundles)}
    which = np.repeat([places[entry.bundle] for entry in entries], counts)
    values = {
        "model_version": [bundle.version for bundle in bundles],
        "run_id": [bundle.metadata.lineage.run_id for bundle in bundles],
        "metadata_sha256": [bundle.metadata_sha256 for bundle in bundles],
        "recalibration": [bundle.recalibration for bundle in bundles],
    }
    return {name: pa.array(found, pa.string()).take(which) for name, found in values.items()}


def _repeated(values: Sequence[str | None], counts: Sequence[int]) -> Any:
    which = np.repeat(np.arange(len(values)), counts)
    return pa.array(values, pa.string()).take(which)


def to_parquet(table: Any) -> bytes:
    """A file's content; every float as it is, to the last bit."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=[*TEXTS, "patient"])
    return bytes(sink.getvalue())


def from_parquet(path: Path) -> Any:
    """A file's table; raises `DataError` where it is none of the payload log."""
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {type(error).__name__}", field="file") from error
    if table.schema != SCHEMA:
        raise DataError(f"{path} has other columns than the payload log", field="file")
    return table


def attributes(table: Any) -> Floats:
    """The patients of a table, shape (n, 13), NaN where missing."""
    columns = [table.column(name).to_numpy(zero_copy_only=False) for name in NAMES]
    return np.column_stack(columns).astype(np.float64)


def files(folder: Path, *, day: str | None = None) -> list[Path]:
    """The payload log's files, of one day or of all; those that are being written are hidden."""
    return sorted(folder.glob(f"day={day or '*'}/[!.]*.parquet"))


def _stat(path: Path) -> os.stat_result | None:
    """None where another replica has just removed the file."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
