"""``python -m serve_app.payloads replay``: what was answered, computed again from the payload log.

The same input and the same version give the same probability to the last bit, with the same
onnxruntime on the same kind of processor. What was one request is judged as one again: sums
over more rows are taken in another order by some families.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from pyarrow import compute

from heart.bundle import METADATA_FILE, Bundle, load_bundle
from heart.errors import BundleError, DataError, UsageError
from heart.files import sha256
from heart.hospital import load_recalibration
from heart.recalibration import FOLDER as RECALIBRATIONS
from heart.settings import Settings
from serve_app.payload_files import attributes, files, from_parquet

SHOWN: Final = 20
"""Answers that differ are listed up to this many."""


@dataclass
class Outcome:
    """What a replay found; ``unknown`` are the answers of each version that is not here."""

    same: int = 0
    different: list[str] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """All answers that were looked at."""
        return self.same + len(self.different) + sum(self.unknown.values())


class Versions:
    """The versions that this machine has: published bundles, and those that were fetched."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[tuple[str, str | None], Bundle | str] = {}

    def load(self, checksum: str, recalibration: str | None) -> Bundle | str:
        """The bundle by the SHA-256 of its metadata, recalibrated; or why it cannot be had."""
        key = (checksum, recalibration)
        if key not in self._loaded:
            try:
                self._loaded[key] = self._load(checksum, recalibration)
            except BundleError as error:
                self._loaded[key] = error.message
        return self._loaded[key]

    def _load(self, checksum: str, recalibration: str | None) -> Bundle:
        folder = self._find(checksum)
        bundle = load_bundle(folder, version=folder.name, metadata_sha256=checksum)
        if recalibration is not None:
            own = load_recalibration(self._recalibration(recalibration), bundle)
            if own.name != recalibration:
                raise BundleError(f"the recalibration is {own.name}, not {recalibration}")
            bundle.recalibrate(own.calibration, name=own.name)
        return bundle

    def _find(self, checksum: str) -> Path:
        for parent in (self._settings.bundles, self._settings.cache):
            for path in parent.glob(f"*/{METADATA_FILE}"):
                if sha256(path.read_bytes()) == checksum:
                    return path.parent
        raise BundleError(
            f"no bundle with metadata of SHA-256 {checksum} under {self._settings.bundles} or "
            f"{self._settings.cache}"
        )

    def _recalibration(self, name: str) -> Path:
        site, _, number = name.rpartition(".")
        made = self._settings.bundles / RECALIBRATIONS / site / f"{number}.json"
        return made if made.exists() else self._settings.recalibration or made


def replay(settings: Settings, *, request_id: str | None = None, day: str | None = None) -> Outcome:
    """Compute again what was kept, all of it, of one day, or of one request.

    Raises `DataError` for a file that is damaged.
    """
    versions, outcome = Versions(settings), Outcome()
    for path in files(settings.payloads, day=day):
        for answers in _requests(from_parquet(path), request_id):
            _compare(answers, versions, outcome)
    return outcome


def _requests(table: Any, request_id: str | None) -> Iterator[Any]:
    """The table in parts, each what one request was answered."""
    if request_id is not None:
        table = table.filter(compute.equal(table.column("request_id"), request_id))
    keys = list(
        zip(
            table.column("request_id").to_pylist(),
            table.column("time").cast("int64").to_pylist(),
            strict=True,
        )
    )
    begins = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
    for begin, end in pairwise([*begins, len(keys)]):
        yield table.slice(begin, end - begin)


def _compare(answers: Any, versions: Versions, outcome: Outcome) -> None:
    """Judge one request's patients again."""
    first = answers.slice(0, 1).to_pylist()[0]
    bundle = versions.load(first["metadata_sha256"], first["recalibration"])
    if isinstance(bundle, str):
        outcome.unknown[bundle] = outcome.unknown.get(bundle, 0) + len(answers)
        return
    answered = answers.column("probability").to_numpy()
    computed = bundle.predict(attributes(answers))
    same = answered.view(np.int64) == computed.view(np.int64)
    outcome.same += int(same.sum())
    for i in np.flatnonzero(~same):
        row = answers.slice(int(i), 1).to_pylist()[0]
        outcome.different.append(
            f"{row['request_id']}[{row['index']}] at {row['time'].isoformat()}, version "
            f"{row['model_version']}: {answered[i]!r} was answered, {computed[i]!r} is computed"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay, and say how many answers are the same: exit code 0 where all are, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.payloads", description="Compute kept answers again."
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("replay", help="compute again, and compare to the last bit")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--request-id", help="one request; all unless this or --day is given")
    which.add_argument("--day", help="one day in UTC, as 2026-01-31")
    options = parser.parse_args(arguments)
    settings = Settings.from_environment()
    outcome = replay(settings, request_id=options.request_id, day=_day(options.day))
    if not outcome.rows:
        raise DataError(f"nothing of that is kept in {settings.payloads}")
    _tell(outcome)
    return int(outcome.same < outcome.rows)


def _day(text: str | None) -> str | None:
    try:
        return text if text is None else date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f'--day must be a date as 2026-01-31, got "{text}"') from None


def _tell(outcome: Outcome) -> None:
    for line in outcome.different[:SHOWN]:
        print(line)
    if len(outcome.different) > SHOWN:
        print(f"and {len(outcome.different) - SHOWN:,} more")
    for reason, rows in outcome.unknown.items():
        print(f"{rows:,} answers cannot be computed again: {reason}")
    print(f"{outcome.same:,} of {outcome.rows:,} probabilities are the same to the last bit")
