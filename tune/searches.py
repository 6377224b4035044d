"""One search on the disk: its plan, its journal, what has ended so far."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from heart import lineage
from heart.errors import UsageError
from heart.files import sha256
from heart.settings import Settings, without_password
from tune.journal import Header, Journal, TrialRecord
from tune.options import Options
from tune.plan import Plan, make_plan
from tune.result import Result

RESULT_FILE: Final = "result.json"
OVERRIDDEN_ON_RESUME: Final = ("time_budget", "max_concurrent", "address", "json_output")


@dataclass
class Search:
    """One search: its plan, its journal, what has ended so far."""

    plan: Plan
    settings: Settings
    name: str
    records: list[TrialRecord] = field(default_factory=list)
    resumed: bool = False
    started: float = field(default_factory=time.time)
    begun: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float | None:
        """When the time budget is used up, on the monotonic clock."""
        budget = self.plan.options.time_budget
        return self.begun + budget if budget else None

    @property
    def folder(self) -> Path:
        """Where everything about this search is written."""
        return self.settings.searches / self.name

    @property
    def journal(self) -> Journal:
        """What is on the disk."""
        return Journal(self.folder)


def resumed(options: Options, settings: Settings) -> Search:
    """A search that was cut off, as its journal tells it; raises `UsageError`."""
    name = str(options.resume)
    header, records = Journal(settings.searches / name).read()
    result = settings.searches / name / RESULT_FILE
    if result.exists() and Result.model_validate_json(result.read_bytes()).tracked:
        raise UsageError(f"--resume: search {name} is finished", field="resume")
    kept = {option: getattr(options, option) for option in OVERRIDDEN_ON_RESUME}
    search = Search(
        make_plan(header.options.model_copy(update=kept)),
        _tracked_as_before(header, settings),
        name,
        records=records,
        resumed=True,
        started=header.started,
    )
    for what in ("data_sha256", "code_sha256", "space_sha256"):
        was, now = getattr(header, what), getattr(header_of(search), what)
        if was != now:
            raise UsageError(
                f"--resume: search {name} had {what} {was}, which is {now} now", field="resume"
            )
    return search


def _tracked_as_before(header: Header, settings: Settings) -> Settings:
    """The settings with the store that the search began with, unless another is named."""
    unnamed = {
        name: value
        for name in ("tracking_uri", "experiment")
        if (value := getattr(header, name)) and name not in settings.model_fields_set
    }
    return settings.model_copy(update=unnamed)


def header_of(search: Search) -> Header:
    """What the journal says of the search itself."""
    return Header(
        run=search.name,
        options=search.plan.options,
        data_sha256=search.plan.train.sha256,
        code_sha256=lineage.code_sha256(),
        space_sha256=sha256(repr(search.plan.space).encode()),
        started=search.started,
        tracking_uri=without_password(search.settings.tracking_uri),
        experiment=search.settings.experiment,
    )


def run_name() -> str:
    """A new search's name: when, and four random digits."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
