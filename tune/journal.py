"""What a search has done so far: a line of JSON for each finished trial, synced as it ends.

The first line is the header: the options and the checksums. A search that was killed is
resumed from here, with nothing lost but the trials that were under way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from heart.errors import StorageError, UsageError
from heart.files import locked
from tune.candidates import Candidate
from tune.options import Options
from tune.trial import decode

JOURNAL_FILE = "journal.jsonl"
Status = Literal["finished", "stopped", "failed"]


class FoldRecord(BaseModel):
    """What one fold gave; ``probabilities`` is base64 of float32."""

    model_config = ConfigDict(frozen=True)

    scores: dict[str, float]
    fit_seconds: float
    score_seconds: float = 0.0
    started: float
    probabilities: str


class TrialRecord(BaseModel):
    """One trial that has ended: finished, stopped early by the scheduler, or failed."""

    # A parameter may be infinite: logistic regression takes that for no penalty.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    family: str
    params: dict[str, Any]
    status: Status
    message: str | None
    worker: str
    started: float
    ended: float
    folds: tuple[FoldRecord, ...]

    @property
    def candidate(self) -> Candidate:
        """What was fitted."""
        return Candidate(self.family, self.params)

    @property
    def fold_scores(self) -> list[float]:
        """ROC-AUC of each fold that was run."""
        return [fold.scores["roc_auc"] for fold in self.folds]

    @property
    def mean(self) -> float:
        """Mean ROC-AUC over the folds that were run; NaN for none."""
        return float(np.mean(self.fold_scores)) if self.folds else float("nan")

    @property
    def fit_seconds(self) -> float:
        """Seconds of one core spent in fits."""
        return sum(fold.fit_seconds for fold in self.folds)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """Predicted probabilities of the rows each fold left out, fold after fold."""
        return np.concatenate([decode(fold.probabilities) for fold in self.folds])


class Header(BaseModel):
    """What must be the same for a search to be resumed, and where it is tracked.

    The tracking URI is kept without user and password; empty for the database of the home.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    options: Options
    data_sha256: str
    code_sha256: str
    space_sha256: str
    started: float
    tracking_uri: str = ""
    experiment: str = ""


def record_of(
    config: Mapping[str, Any], result: Mapping[str, Any], *, folds: int, ended: float
) -> TrialRecord:
    """The record of a trial from Tune's last result."""
    candidate = config["candidate"]
    done = result.get("folds", ())
    message = result.get("error_message")
    status: Status = "failed" if message else "finished" if len(done) == folds else "stopped"
    return TrialRecord(
        family=candidate["family"],
        params=candidate["params"],
        status=status,
        message=message,
        worker=result.get("worker", ""),
        started=min((fold["started"] for fold in done), default=ended),
        ended=ended,
        folds=tuple(FoldRecord(**fold) for fold in done),
    )


class Journal:
    """An append-only file; a line is on the disk before `append` returns."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL_FILE

    def begin(self, header: Header) -> None:
        """Write the header; raises `StorageError`."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=False)
        except OSError as error:
            raise StorageError(
                f"{self.path.parent} cannot be made: {error.strerror}", field=str(self.path)
            ) from error
        self._write(header.model_dump_json())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the search to this process: two would run each trial twice.

        Raises `UsageError` where another process has it, or there is none.
        """
        if not self.path.is_file():
            raise self._absent()
        name = self.path.parent.name
        taken = UsageError(f"--resume: another process is running search {name}", field="resume")
        with locked(self.path, taken=taken):
            yield

    def append(self, record: TrialRecord) -> None:
        """Write a record; raises `StorageError` where the disk is full."""
        self._write(record.model_dump_json())

    def read(self) -> tuple[Header, list[TrialRecord]]:
        """The header and the whole records; a last line cut off by a kill is dropped."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise self._absent() from error
        whole = content.split(b"\n")[:-1]
        try:
            return (
                Header.model_validate_json(whole[0]),
                [TrialRecord.model_validate_json(line) for line in whole[1:]],
            )
        except (IndexError, ValidationError) as error:
            raise UsageError(f"--resume: {self.path} is damaged", field="resume") from error

    def repair(self) -> None:
        """Cut off a last line that was not written whole."""
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.truncate(self.path, end)

    def _absent(self) -> UsageError:
        return UsageError(f"--resume: there is no search in {self.path.parent}", field="resume")

    def _write(self, line: str) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(f"{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be written: {error.strerror}", field=str(self.path)
            ) from error
