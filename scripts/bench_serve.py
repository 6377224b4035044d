"""The service against other ways to serve: the same model, patients, load and machine.

``python scripts/bench_serve.py`` starts one server after the other, each a process tree of its
own, puts load on it with wrk (which must be installed), and prints a table of figures and
ratios; the figures go to a JSON file. The servers:

- ``pickled``: FastAPI and uvicorn, a pickled scikit-learn pipeline, a DataFrame a request
- ``onnx``: FastAPI and uvicorn, the ONNX graph, one process
- ``plain-serve``: Ray Serve with its own proxy, FastAPI, the ONNX graph
- ``mlflow``: ``mlflow models serve``
- ``bentoml``, ``mlserver``: with the pickled pipeline, where their commands are on PATH; each may
  have an environment of its own, with the same scikit-learn
- ``this``: ``serve run serve_app:app`` with validation, logging, metrics and an API key
- ``this-two``: the same with two replicas

At last this one is flooded: ten times the highest number of requests at once, for half a minute.

The model is a logistic regression, the best of a few, or the champion of ``--home``. wrk shares
the cores with the server. Linux alone: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench_loads import Flood, Load, flood, load
from bench_model import BATCH, REPLICAS, THIS, Model, prepare
from machine import machine, say
from processes import adopt_orphans
from rich import box
from rich.console import Console
from rich.table import Column, Table
from servers import ServerError, memory, running

from heart.errors import UsageError, run_main
from heart.files import write_json
from heart.settings import keep_private
from serve_app.environment import free_port

RIVALS: Final = ("pickled", "onnx", "plain-serve", "mlflow", "bentoml", "mlserver")
OPTIONAL: Final = ("bentoml", "mlserver")
PROGRAMS: Final = (*RIVALS, *REPLICAS)
BATCH_CONCURRENCY: Final = 8
FLOOD: Final = 10
ALLOWED: Final = frozenset({"200", "429", "503"})
WIDTH: Final = 160


@dataclass(frozen=True)
class Served:
    """A server: seconds from its start to the first answer, memory of its processes under load.

    ``replica_mb`` is what one replica holds, shared pages counted whole.
    """

    program: str
    first_answer_s: float
    memory_mb: float
    replica_mb: float | None


def measure(
    program: str, model: Model, concurrencies: Sequence[int], seconds: int
) -> tuple[Served, list[Load], Flood | None]:
    """Start a server, warm it up, put every load on it; raises `ServerError`."""
    port, key = free_port(), secrets.token_urlsafe(32)
    with running(program, model, port=port, key=key) as first:
        put = partial(load, program, model, port=port, key=key)
        put(concurrency=8, seconds=2, batch=False)
        loads = [put(concurrency=c, seconds=seconds, batch=False) for c in concurrencies]
        loads.append(put(concurrency=BATCH_CONCURRENCY, seconds=seconds, batch=True))
        total, replica = memory()
        flooded = None
        if program == THIS:
            flooded = flood(model, port=port, key=key, concurrency=FLOOD * max(concurrencies))
    return Served(program, first, total, replica), loads, flooded


def checks(
    loads: Sequence[Load], served: Sequence[Served], flooded: Flood | None
) -> list[dict[str, Any]]:
    """What must show, as far as it was measured."""
    at: Mapping[tuple[str, int, bool], Load] = {
        (x.program, x.concurrency, "batch" in x.path or x.patients_per_s > x.requests_per_s): x
        for x in loads
    }
    found: list[tuple[str, float, str, float]] = []
    this, pickled = at.get((THIS, 1, False)), at.get(("pickled", 1, False))
    if this and pickled:
        ratio = this.p50_ms / pickled.p50_ms
        found.append(("p50 at 1, to the pickled pipeline", ratio, "at most", 0.15))
    for program in REPLICAS:
        this = at.get((program, 32, False))
        for rival, bound in (("pickled", 15.0), ("onnx", 0.6)):
            other = at.get((rival, 32, False))
            if this and other:
                ratio = this.requests_per_s / other.requests_per_s
                what = f"{program}: requests/s at 32, to {rival}"
                found.append((what, ratio, "at least", bound))
    batch = at.get((THIS, BATCH_CONCURRENCY, True))
    if batch:
        found.append(("patients/s in batches", batch.patients_per_s, "at least", 20_000.0))
    for one in served:
        if one.program == THIS:
            found.append(("seconds to the first answer", one.first_answer_s, "at most", 15.0))
            found.append(("MB of a replica", one.replica_mb or float("nan"), "at most", 300.0))
    if flooded:
        strange = sum(n for status, n in flooded.statuses.items() if status not in ALLOWED)
        found.append(("flooded: answers but 200, 429, 503", strange, "at most", 0.0))
        found.append(("flooded: requests without an answer", flooded.broken, "at most", 0.0))
        found.append(("flooded: replicas that ended", float(flooded.restarted), "at most", 0.0))
        found.append(("flooded: MB of the replica, the most", flooded.most_mb, "at most", 300.0))
        ratio = flooded.after_p50_ms / flooded.before_p50_ms
        found.append(("flooded: p50 of one client after, to before", ratio, "at most", 2.0))
    return [
        {
            "what": what,
            "found": value,
            "must_be": side,
            "bound": bound,
            "holds": value <= bound if side == "at most" else value >= bound,
        }
        for what, value, side, bound in found
    ]


def show(
    loads: Sequence[Load],
    served: Sequence[Served],
    flooded: Flood | None,
    held: Sequence[Mapping[str, Any]],
) -> None:
    """Print the tables, in Markdown."""
    console = Console(width=WIDTH, highlight=False)
    base = {(x.path.count("batch"), x.concurrency): x for x in loads if x.program == "pickled"}
    columns = ("server", "request", "at once", "requests/s", "to pickled", "p50 ms", "p99 ms")
    table = _table(*columns, "not 2xx", "broken")
    for x in loads:
        batch = x.patients_per_s > x.requests_per_s
        other = base.get((int(batch), x.concurrency))
        ratio = f"{x.requests_per_s / other.requests_per_s:.1f}" if other else ""
        table.add_row(
            x.program,
            f"{BATCH} patients" if batch else "1 patient",
            str(x.concurrency),
            f"{x.requests_per_s:,.0f}",
            ratio,
            f"{x.p50_ms:.2f}",
            f"{x.p99_ms:.1f}",
            str(x.bad_status),
            str(x.broken),
        )
    console.print(table)
    table = _table("server", "s to first answer", "MB, all processes", "MB, a replica")
    for one in served:
        replica = "" if one.replica_mb is None else f"{one.replica_mb:.0f}"
        table.add_row(one.program, f"{one.first_answer_s:.1f}", f"{one.memory_mb:.0f}", replica)
    console.print(table)
    if flooded:
        table = _table("flooded: at once", "seconds", "answers by status", "none", "MB", "most MB")
        answers = ", ".join(f"{n:,} x {status}" for status, n in sorted(flooded.statuses.items()))
        numbers = (flooded.before_mb, flooded.most_mb)
        table.add_row(
            str(flooded.concurrency),
            f"{flooded.seconds:.0f}",
            answers,
            str(flooded.broken),
            *(f"{mb:.0f}" for mb in numbers),
        )
        console.print(table)
    table = _table("what must show on two cores", "found", "bound", "holds")
    for row in held:
        bound = f"{row['must_be']} {row['bound']:g}"
        table.add_row(row["what"], f"{row['found']:.3g}", bound, "yes" if row["holds"] else "NO")
    console.print(table)


def _table(*columns: str) -> Table:
    return Table(*(Column(name, no_wrap=True) for name in columns), box=box.MARKDOWN)


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="bench_serve.py",
        description="Time the service against FastAPI, plain Ray Serve and mlflow models serve.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    here = [name for name in PROGRAMS if name not in OPTIONAL or shutil.which(name)]
    p.add_argument("--rivals", default=",".join(here), help="servers to measure")
    p.add_argument("--concurrency", default="1,8,32,128", help="requests at a time")
    p.add_argument("--seconds", type=int, default=10, help="of load at each concurrency")
    p.add_argument("--home", type=Path, help="a HEART_HOME with a champion; else one is made")
    p.add_argument("--out", type=Path, default=Path("artifacts/bench_serve.json"))
    return p


def main() -> int:
    """Measure, print, write; exit code 1 where a server failed."""
    keep_private()
    given = _parser().parse_args()
    programs = given.rivals.split(",")
    for word in programs:
        if word not in PROGRAMS:
            raise UsageError(f'--rivals takes {", ".join(PROGRAMS)}, got "{word}"', field="rivals")
    if shutil.which("wrk") is None:
        raise UsageError("wrk is needed for the load, none is installed", field="wrk")
    adopt_orphans()
    # Also where this was started in the background, and must not hear of Ctrl-C: what is started
    # here has to.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    loads: list[Load] = []
    served: list[Served] = []
    failures: dict[str, str] = {}
    flooded: Flood | None = None
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as folder:
        model = prepare(Path(folder), given.home)
        for program in programs:
            say(f"{program} ...")
            try:
                one, found, last = measure(
                    program, model, [int(c) for c in given.concurrency.split(",")], given.seconds
                )
            except ServerError as error:
                failures[program] = str(error)
                say(f"  failed: {error}")
                continue
            served.append(one)
            loads += found
            flooded = last or flooded
    held = checks(loads, served, flooded)
    write_json(
        given.out,
        {
            "machine": machine(),
            "options": {"seconds": given.seconds, "home": str(given.home or "")},
            "loads": [asdict(x) for x in loads],
            "served": [asdict(x) for x in served],
            "flood": asdict(flooded) if flooded else None,
            "checks": held,
            "failures": failures,
        },
    )
    show(loads, served, flooded, held)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(run_main(main))
