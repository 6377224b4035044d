"""``python -m tune.search``: find a model, track the way, register the winner."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NoReturn

from heart.errors import HeartError, run_main
from heart.settings import Settings, keep_private
from tune.gauges import Gauges
from tune.journal import Journal, TrialRecord
from tune.options import LOCAL, Options, read_options
from tune.plan import Plan, make_plan
from tune.result import Result, print_summary
from tune.runner import Ending, connected, fit
from tune.searches import Search, header_of, resumed, run_name
from tune.view import View

if TYPE_CHECKING:
    from tune.tracking import Tracker

INTERRUPTED_EXIT: Final = 130
AWAY: Final = "MLflow does not answer: the journal keeps the trials, and is written later"


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
    if options.resume:
        with Journal(settings.searches / options.resume).alone():
            return _run(resumed(options, settings))
    return _run(Search(plan or make_plan(options), settings, run_name()))


def _run(search: Search) -> Result | None:
    address = search.plan.options.address
    with ThreadPoolExecutor(1) as aside:
        # To import and open MLflow takes as long as to start Ray. A cluster that is joined may
        # not answer, and then nothing is to be written.
        tracker = aside.submit(_tracker, search, opened=address == LOCAL)
        with connected(address) as cores, Gauges(search):
            if address != LOCAL:
                tracker.result().open()
            return _search(search, tracker.result(), cores)


def _tracker(search: Search, *, opened: bool) -> Tracker:
    from tune import conclusion

    tracker = conclusion.tracker_of(search)
    if opened:
        tracker.open()
    return tracker


def _search(search: Search, tracker: Tracker, cores: int) -> Result | None:
    if search.resumed:
        search.journal.repair()
        return _fit_and_conclude(search, tracker, cores)
    search.journal.begin(header_of(search))
    with search.journal.alone():
        return _fit_and_conclude(search, tracker, cores)


def _fit_and_conclude(search: Search, tracker: Tracker, cores: int) -> Result | None:
    from tune import conclusion

    for record in search.records:
        tracker.add(record)
    try:
        ending = _fit(search, tracker, cores)
        return conclusion.conclude(search, tracker, ending)
    except HeartError as error:
        conclusion.close(tracker, "FAILED", error.message)
        raise


def _fit(search: Search, tracker: Tracker, cores: int) -> Ending:
    journal = search.journal
    with View(total=search.plan.number, cores=cores, known=search.records) as view:
        view.say(f"search {search.name}")

        def on_record(record: TrialRecord) -> None:
            journal.append(record)
            search.records.append(record)
            tracker.add(record)
            view.add(record)

        def on_tick(running: int) -> None:
            if tracker.away:
                view.say_once(AWAY)
            view.tick(running)

        return fit(
            search.plan,
            known=tuple(search.records),
            cores=cores,
            deadline=search.deadline,
            on_record=on_record,
            on_tick=on_tick,
        )


def _leave(code: int) -> NoReturn:
    """End the process; after Ctrl-C at once.

    The interpreter's own end waits for a request to a tracking server that stalls.
    """
    if code == INTERRUPTED_EXIT:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _leave(run_main(main))
