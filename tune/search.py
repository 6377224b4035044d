"""``python -m tune.search``: find a model, track the way, register the winner."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from heart import lineage
from heart.bundle import Lineage, save_bundle
from heart.errors import HeartError, TrackingError, UsageError, run_main
from heart.files import sha256, write_json, write_whole
from heart.registry import Registry
from heart.settings import Settings, keep_private
from tune import report, winner
from tune.journal import Header, Journal, TrialRecord
from tune.leaderboard import Entry, as_csv, rank
from tune.options import Options, read_options
from tune.plan import Plan, make_plan
from tune.result import Result, make_result, metrics, print_summary
from tune.runner import Ending, connected, fit
from tune.tracking import Tracker
from tune.view import View
from tune.winner import Decision, Winner

RESULT_FILE: Final = "result.json"
INTERRUPTED_EXIT: Final = 130
CLOSE_S: Final = 1.5
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a search from the command line; the exit code."""
    keep_private()
    options, overrides = read_options(arguments)
    settings = Settings.from_environment().model_copy(update=overrides)
    try:
        result = run(options, settings)
    except KeyboardInterrupt:
        print("interrupted; what has ended is in the journal", file=sys.stderr)
        return INTERRUPTED_EXIT
    if result is None:
        return INTERRUPTED_EXIT
    print_summary(result, settings.searches / result.run)
    if options.json_output:
        print(result.model_dump_json())
    return 0


def run(options: Options, settings: Settings, *, plan: Plan | None = None) -> Result | None:
    """Search, choose, register; None where the user interrupted it.

    ``plan`` replaces the one that the options make, for rows of one's own. Raises
    `UsageError`, `DataError`, `TrackingError` or `StorageError`.
    """
    search = _resumed(options, settings) if options.resume else None
    if search is None:
        search = Search(plan or make_plan(options), settings, _run_name())
    tracker = Tracker(
        settings, search=search.name, tags=_parent_tags(search), folds=search.plan.options.folds
    )
    with ThreadPoolExecutor(1) as aside:
        # MLflow takes as long to open as Ray to start.
        opened = aside.submit(tracker.open)
        with connected(search.plan.options.address) as cores:
            opened.result()
            return _search(search, tracker, cores)


def _search(search: Search, tracker: Tracker, cores: int) -> Result | None:
    if search.resumed:
        search.journal.repair()
    else:
        search.journal.begin(_header(search))
    for record in search.records:
        tracker.add(record)
    try:
        ending = _fit(search, tracker, cores)
        return _conclude(search, tracker, ending)
    except HeartError as error:
        _close(tracker, "FAILED", error.message)
        raise


def _fit(search: Search, tracker: Tracker, cores: int) -> Ending:
    journal = search.journal
    with View(total=search.plan.number, cores=cores, known=search.records) as view:
        view.say(f"search {search.name}")
        if tracker.away:
            view.say("MLflow does not answer: the journal keeps the trials, and is written later")

        def on_record(record: TrialRecord) -> None:
            journal.append(record)
            search.records.append(record)
            tracker.add(record)
            view.add(record)

        return fit(
            search.plan,
            known=tuple(search.records),
            cores=cores,
            deadline=search.deadline,
            on_record=on_record,
            on_tick=view.tick,
        )


def _conclude(search: Search, tracker: Tracker, ending: Ending) -> Result | None:
    board = rank(search.plan, tuple(search.records))
    write_whole(search.folder / "leaderboard.csv", as_csv(board).encode())
    if ending == "interrupted":
        _tell_interrupted(search, board)
        _close(tracker, "KILLED", "interrupted")
        return None
    won = winner.choose(search.plan, board)
    unwritten = tracker.drain()
    result = make_result(
        search.plan,
        board,
        won,
        _register(search, tracker, won),
        run=search.name,
        run_id=tracker.run_id,
        ending=ending,
        unwritten=unwritten,
        wall_seconds=time.time() - search.started,
    )
    return _finish(search, tracker, result, board)


def _finish(search: Search, tracker: Tracker, result: Result, board: Sequence[Entry]) -> Result:
    """Write the report and close the parent run; ``result.json`` comes last."""
    figures = report.draw(search.plan, board)
    for name, svg in (figures.families | figures.parameters).items():
        write_whole(search.folder / f"{name}.svg", svg.encode())
    write_whole(search.folder / "report.html", report.html(result, board, figures).encode())
    artifacts = sorted(path for path in search.folder.iterdir() if path.is_file())
    tags = {"winner": result.winner.family, "champion": result.champion}
    try:
        tracker.end("FINISHED", metrics=metrics(result), tags=tags, artifacts=artifacts)
    except TrackingError:
        result = result.model_copy(update={"tracked": False})
    write_json(search.folder / RESULT_FILE, result.model_dump(mode="json"))
    return result


def _register(search: Search, tracker: Tracker, won: Winner) -> Decision:
    plan = search.plan
    if not plan.registers or won.graph is None:
        by = "--no-register" if plan.space.registers else f"space {plan.space.name}"
        return Decision(None, False, f"not registered: {by}")
    try:
        registry = Registry(tracker.client(), search.settings)
        folder = search.folder / "bundle"
        save_bundle(folder, won.graph, winner.metadata(plan, won, _lineage(search, tracker)))
        version = registry.register(tracker.run_id, folder)
        decision = winner.decide(plan, won, search.records, registry.champion(), version)
        if decision.champion:
            registry.promote(version, reason=decision.reason)
    except TrackingError as error:
        return Decision(None, False, f"not registered: {error.message}", postponed=True)
    return decision


def _resumed(options: Options, settings: Settings) -> Search:
    """A search that was cut off, as its journal tells it; raises `UsageError`."""
    name = str(options.resume)
    header, records = Journal(settings.searches / name).read()
    result = settings.searches / name / RESULT_FILE
    if result.exists() and Result.model_validate_json(result.read_bytes()).tracked:
        raise UsageError(f"--resume: search {name} is finished", field="resume")
    kept = {option: getattr(options, option) for option in OVERRIDDEN_ON_RESUME}
    search = Search(
        make_plan(header.options.model_copy(update=kept)),
        settings,
        name,
        records=records,
        resumed=True,
        started=header.started,
    )
    for what in ("data_sha256", "code_sha256", "space_sha256"):
        was, now = getattr(header, what), getattr(_header(search), what)
        if was != now:
            raise UsageError(
                f"--resume: search {name} had {what} {was}, which is {now} now", field="resume"
            )
    return search


def _close(tracker: Tracker, status: str, message: str) -> None:
    """Close the parent run of a search that found nothing, if the store answers at once."""
    tracker.drain(within=CLOSE_S)
    try:
        tracker.end(status, metrics={}, tags={"message": message}, artifacts=[])
    except TrackingError as error:
        print(f"the parent run stays open: {error.message}", file=sys.stderr)


def _tell_interrupted(search: Search, board: Sequence[Entry]) -> None:
    print(
        f"interrupted after {len(search.records)} of {search.plan.number} trials; "
        f"`python -m tune.search --resume {search.name}` goes on",
        file=sys.stderr,
    )
    for entry in board[:5]:
        if entry.rank is not None:
            told = f"{entry.rank}. {entry.record.mean:.4f} {entry.record.family}"
            print(f"{told} {entry.record.params}", file=sys.stderr)


def _lineage(search: Search, tracker: Tracker) -> Lineage:
    plan = search.plan
    return Lineage(
        run_id=tracker.run_id,
        search=search.name,
        cohort=plan.cohort,
        space=plan.space.name,
        data_sha256=plan.train.sha256,
        code_version=lineage.code_version(),
        seed=plan.options.seed,
        split_seed=plan.options.split_seed,
        test_size=plan.options.test_size,
        packages=lineage.packages(),
    )


def _header(search: Search) -> Header:
    return Header(
        run=search.name,
        options=search.plan.options,
        data_sha256=search.plan.train.sha256,
        code_sha256=lineage.code_sha256(),
        space_sha256=sha256(repr(search.plan.space).encode()),
        started=search.started,
    )


def _parent_tags(search: Search) -> dict[str, Any]:
    plan = search.plan
    return {
        "cohort": plan.cohort,
        "space": plan.space.name,
        "algorithm": plan.algorithm,
        "scheduler": plan.scheduler,
        "data_sha256": plan.train.sha256,
        "code_sha256": lineage.code_sha256(),
        "code_version": lineage.code_version(),
        "seed": plan.options.seed,
        "options": plan.options.model_dump_json(exclude_none=True),
    }


def _run_name() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


if __name__ == "__main__":
    sys.exit(run_main(main))
