"""The end of a search: choose the winner, register it, write the report."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from heart import lineage
from heart.bundle import Bundle, save_bundle
from heart.errors import PromotionError, TrackingError
from heart.files import sha256, write_json, write_whole
from heart.gates import Evaluation, evaluation_of
from heart.metadata import Lineage
from heart.registry import Registry
from tune import report, winner
from tune.leaderboard import Entry, as_csv, rank
from tune.promotion import SERVED_COHORT, Decision, decide, evaluate
from tune.result import Result, make_result, metrics
from tune.runner import Ending
from tune.searches import RESULT_FILE, Search
from tune.tracking import Tracker
from tune.winner import Winner

CLOSE_S: Final = 2.0
CLOSE_DRAIN_S: Final = 1.0


def tracker_of(search: Search) -> Tracker:
    """The search in MLflow, not open yet."""
    return Tracker(
        search.settings,
        search=search.name,
        tags=_parent_tags(search),
        folds=search.plan.options.folds,
    )


def conclude(search: Search, tracker: Tracker, ending: Ending) -> Result | None:
    """Choose, register, report; None where the user interrupted the search."""
    board = rank(search.plan, tuple(search.records))
    write_whole(search.folder / "leaderboard.csv", as_csv(board).encode())
    if ending == "interrupted":
        _tell_interrupted(search, board)
        close(tracker, "KILLED", "interrupted")
        return None
    won = winner.choose(search.plan, board, search.settings)
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


def close(tracker: Tracker, status: str, message: str) -> None:
    """Close the parent run of a search that found nothing, if the store answers at once."""
    # One that stalls holds every request for seconds; a thread of its own can be left behind.
    closing = threading.Thread(target=_close, args=(tracker, status, message), daemon=True)
    closing.start()
    closing.join(CLOSE_S)
    if unwritten := tracker.unwritten:
        told = f"{unwritten} trials are in the journal alone; --resume writes them"
        print(f"MLflow did not answer in time: {told}", file=sys.stderr)
    elif closing.is_alive():
        print("the parent run stays open: MLflow did not answer in time", file=sys.stderr)


def _close(tracker: Tracker, status: str, message: str) -> None:
    try:
        tracker.drain(within=CLOSE_DRAIN_S)
        tracker.end(status, metrics={}, tags={"message": message}, artifacts=[])
    except TrackingError as error:
        print(f"the parent run stays open: {error.message}", file=sys.stderr)


def _finish(search: Search, tracker: Tracker, result: Result, board: Sequence[Entry]) -> Result:
    """Write the report and close the parent run; ``result.json`` comes last."""
    figures = report.draw(search.plan, board, threshold=search.settings.threshold)
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
        before = registry.champion()
        if before is not None and _is_winner(before, tracker, won.graph):
            return _champion_already(before)
        evaluation = evaluate(plan, won, before, search.settings)
        folder = search.folder / "bundle"
        _save(search, tracker, won, won.graph, evaluation, folder)
        version = registry.register(tracker.run_id, folder)
        decision = decide(plan, evaluation, version)
        if decision.champion:
            registry.promote(
                version, reason=decision.reason, over=before.version if before else None
            )
        elif plan.cohort == SERVED_COHORT:
            registry.challenge(version)
    except TrackingError as error:
        return Decision(None, False, f"not registered: {error.message}", postponed=True)
    except PromotionError as error:
        return replace(decision, champion=False, reason=error.message)
    return decision


def _is_winner(champion: Bundle, tracker: Tracker, graph: bytes) -> bool:
    """Whether this search made the champion before it was cut off: it does not meet itself."""
    metadata = champion.metadata
    return metadata.lineage.run_id == tracker.run_id and metadata.onnx_sha256 == sha256(graph)


def _champion_already(champion: Bundle) -> Decision:
    gates = evaluation_of(champion).gates
    return Decision(champion.version, True, f"passed {len(gates)} gates", gates=gates)


def _save(
    search: Search,
    tracker: Tracker,
    won: Winner,
    graph: bytes,
    evaluation: Evaluation,
    folder: Path,
) -> None:
    content = evaluation.model_dump_json(indent=2).encode()
    metadata = winner.metadata(
        search.plan,
        won,
        _lineage(search, tracker),
        threshold=search.settings.threshold,
        evaluation=content,
    )
    save_bundle(folder, graph, metadata, evaluation=content)


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
